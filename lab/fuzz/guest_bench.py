"""`bench fuzz`, the target in the real guest: sessions, actions and messages per second, in the columns of the others."""
from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from lab.progress import Progress

from .guest_findings import known_in_guest
from .guest_fuzz import GuestFuzzing, coverage_bed, input_tool, seeds_in
from .guest_replay import complaints_of_peer
from .targets import find_target

NAME = "guest-frontend"
SESSIONS, QUICK_SESSIONS = 48, 8


def guest_row(quick: bool, progress: Progress) -> None:
    """Wall clock, one machine at a time; the last column is sessions per second of the emulator's processor time."""
    seeds = seeds_in(input_tool(progress), find_target(NAME).corpus, must_exist=True)
    seeds = (seeds * SESSIONS)[:QUICK_SESSIONS if quick else SESSIONS]
    actions = [text.count("\n") - 1 for _, text in seeds]
    bed, places = coverage_bed(progress, None)
    with bed, tempfile.TemporaryDirectory() as name:
        named = [(f"b{number}", text) for number, (_, text) in enumerate(seeds)]
        fuzzing = GuestFuzzing(bed, input_tool(progress), places, complaints_of_peer(), list(known_in_guest()), Path(name), None, len(named), 1, 1, progress)
        started, before = time.monotonic(), os.times()
        totals = fuzzing.run(named)
        seconds, after = max(time.monotonic() - started, 0.001), os.times()
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    print(f"{NAME:<16} {len(seeds):>6} {statistics.median(actions):>8.0f} {totals.runs / seconds:>13.2f} {sum(actions) / seconds:>11.1f} "
          f"{'-':>20}   {totals.messages / seconds:.1f} messages/s, {totals.runs / max(processor, 0.001):.2f} sessions per CPU-second, "
          f"{totals.machines} machines", flush=True)
