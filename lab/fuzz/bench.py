"""`bench fuzz`: executions per second of each target replaying its committed corpus, next to an empty target's.

Both with the smallest engine (fuzzers/input/replay.cc): it holds the corpus in memory and executes it again and again, so
that no reading of files is measured, which an engine does not do either while it fuzzes.
"""
from __future__ import annotations

import os
import re
import statistics
import subprocess
import tempfile
from pathlib import Path

from lab.errors import INFRASTRUCTURE, Stop
from lab.progress import Progress

from .builds import Built, build_target
from .corpus import load
from .engine import environment
from .guest_bench import guest_row
from .sockets import sockets_folder
from .targets import EMPTY, IN_PROCESS, Target

AT_LEAST = 2.0  # seconds of processor time that one measurement takes
QUICK_AT_LEAST = 0.3
_REPLAYED = re.compile(r"^replayed (\d+) executions in ([0-9.]+) s of processor time$", re.MULTILINE)


def command(quick: bool, progress: Progress) -> int:
    empty = build_target(EMPTY, progress, replay=True)
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores; processor time of one process, sanitizers on")
    print(f"{'target':<16} {'inputs':>6} {'actions':>8} {'executions/s':>13} {'actions/s':>11} {'of the empty target':>20}")
    for target in IN_PROCESS:
        with tempfile.TemporaryDirectory() as name:
            _row(build_target(target, progress, replay=True), empty, Path(name), QUICK_AT_LEAST if quick else AT_LEAST)
    guest_row(quick, progress)
    return 0


def _row(built: Built, empty: Built, folder: Path, least: float) -> None:
    count = load(built, built.target.corpus, folder / "corpus")
    actions = _actions(built.target)
    rate = _rate(built, folder / "corpus", least)
    # Inputs that are no actions the empty target refuses by their first octets.
    reference = _rate(empty, folder / "corpus", least)
    per_input = f"{statistics.median(actions):.0f}" if actions else "-"
    per_second = f"{rate * statistics.mean(actions):.0f}" if actions else "-"
    print(f"{built.target.name:<16} {count:>6} {per_input:>8} {rate:>13.0f} {per_second:>11} {rate / reference:>20.3g}", flush=True)


def _actions(target: Target) -> list[int]:
    """Of each committed input, where inputs are text."""
    if not target.typed:
        return []
    return [sum(1 for line in path.read_text(encoding="utf-8").splitlines()[1:] if line.strip() and not line.startswith("#"))
            for path in target.corpus.iterdir()]


def _replayed(built: Built, corpus: Path, runs: int) -> tuple[int, float]:
    """Executions of a process that plays each input `runs` times, and once before that uncounted; their processor time."""
    with sockets_folder() as sockets:
        done = subprocess.run([str(built.replay), f"-runs={1 + runs}", str(corpus)], capture_output=True, text=True, errors="replace",
                              check=False, env=environment("all") | sockets)
    found = _REPLAYED.search(done.stdout)
    if done.returncode != 0 or found is None:
        raise Stop(INFRASTRUCTURE, f"{built.replay.name} does not replay its corpus (status {done.returncode})",
                   f"./displif-cts fuzz {built.target.name} --runs 1")
    return int(found[1]), float(found[2])


def _rate(built: Built, corpus: Path, least: float) -> float:
    """Executions per second of processor time."""
    runs = 8
    while True:
        executions, seconds = _replayed(built, corpus, runs)
        if seconds >= least:
            return executions / seconds
        runs *= 4 if seconds < least / 8 else 2
