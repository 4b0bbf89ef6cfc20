"""`bench fuzz`: executions per second of each target replaying its committed corpus, next to an empty target's."""
from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
from pathlib import Path

from lab.errors import INFRASTRUCTURE, Stop
from lab.progress import Progress

from .builds import Built, build_target
from .corpus import load
from .engine import environment
from .sockets import sockets_folder
from .targets import EMPTY, IN_PROCESS, Target

AT_LEAST = 2.0  # seconds of processor time that one measurement takes
QUICK_AT_LEAST = 0.3


def command(quick: bool, progress: Progress) -> int:
    empty = build_target(EMPTY, progress)
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores; processor time of one process, sanitizers on")
    print(f"{'target':<16} {'inputs':>6} {'actions':>8} {'executions/s':>13} {'actions/s':>11} {'of the empty target':>20}")
    for target in IN_PROCESS:
        with tempfile.TemporaryDirectory() as name:
            _row(build_target(target, progress), empty, Path(name), QUICK_AT_LEAST if quick else AT_LEAST)
    return 0


def _row(built: Built, empty: Built, folder: Path, least: float) -> None:
    count = load(built, built.target.corpus, folder / "corpus")
    files = sorted((folder / "corpus").iterdir())
    actions = _actions(built.target)
    rate = _rate(built, files, least)
    # Inputs that are no actions the empty target refuses by their first octets.
    reference = _rate(empty, files, least)
    per_input = f"{statistics.median(actions):.0f}" if actions else "-"
    per_second = f"{rate * statistics.mean(actions):.0f}" if actions else "-"
    print(f"{built.target.name:<16} {count:>6} {per_input:>8} {rate:>13.0f} {per_second:>11} {rate / reference:>20.3f}", flush=True)


def _actions(target: Target) -> list[int]:
    """Of each committed input, where inputs are text."""
    if not target.typed:
        return []
    return [sum(1 for line in path.read_text(encoding="utf-8").splitlines()[1:] if line.strip() and not line.startswith("#"))
            for path in target.corpus.iterdir()]


def _seconds(built: Built, files: list[Path], runs: int) -> float:
    """Processor time of a process that executes each input `runs` times."""
    with sockets_folder() as sockets:
        child = subprocess.Popen([str(built.program), f"-runs={runs}", "-detect_leaks=0", *map(str, files)], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment("all") | sockets)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise Stop(INFRASTRUCTURE, f"{built.program.name} does not replay its corpus (status {child.returncode})",
                   f"./displif-cts fuzz {built.target.name} --runs 1")
    return usage.ru_utime + usage.ru_stime


def _rate(built: Built, files: list[Path], least: float) -> float:
    """Executions per second of processor time, without the start: the difference of two lengths."""
    start = _seconds(built, files, 1)
    runs = 8
    while True:
        seconds = _seconds(built, files, 1 + runs) - start
        if seconds >= least:
            return runs * len(files) / seconds
        runs *= 4 if seconds < least / 8 else 2
