"""`bench fuzz`, the target in the real guest: sessions, actions and messages per second, in the columns of the others."""
from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Sequence

from lab.progress import Progress

from .guest_findings import known_in_guest
from .guest_fuzz import GuestFuzzing, GuestTotals, coverage_bed, input_tool, seeds_in
from .guest_replay import complaints_of_peer
from .targets import find_target

NAME = "guest-frontend"
SESSIONS, QUICK_SESSIONS = 48, 8


def guest_row(quick: bool, progress: Progress) -> None:
    """Wall clock, one machine at a time; the ratio is to sessions in which nothing is played."""
    seeds = seeds_in(input_tool(progress), find_target(NAME).corpus, must_exist=True)
    texts = [text for _, text in (seeds * SESSIONS)[:QUICK_SESSIONS if quick else SESSIONS]]
    actions = [text.count("\n") - 1 for text in texts]
    bed, places = coverage_bed(progress, None)

    def play(texts: Sequence[str], folder: Path) -> tuple[GuestTotals, float, float]:
        """What the sessions came to, and the wall and the processor time that they took, in seconds."""
        named = [(f"b{number}", text) for number, text in enumerate(texts)]
        fuzzing = GuestFuzzing(bed, input_tool(progress), places, complaints_of_peer(), list(known_in_guest()), folder, None, len(named), 1, 1, progress)
        started, before = time.monotonic(), os.times()
        totals = fuzzing.run(named)
        seconds, after = max(time.monotonic() - started, 0.001), os.times()
        processor = after.children_user + after.children_system - before.children_user - before.children_system
        return totals, seconds, max(processor, 0.001)

    with bed, tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        totals, seconds, processor = play(texts, Path(one))
        empty, empty_seconds, _ = play([without_actions(text) for text in texts], Path(other))
    ratio = totals.runs / seconds / (empty.runs / empty_seconds)
    print(f"{NAME:<16} {len(texts):>6} {statistics.median(actions):>8.0f} {totals.runs / seconds:>13.2f} {sum(actions) / seconds:>11.1f} "
          f"{ratio:>20.3g}   {totals.messages / seconds:.1f} messages/s, {totals.runs / processor:.2f} sessions per CPU-second, "
          f"{totals.machines} machines", flush=True)


def without_actions(text: str) -> str:
    """An input's first line alone, which names the format."""
    return text.splitlines()[0] + "\n"
