"""`selftest --mechanical N`: small changes that nobody chose in the fakes' source, each played as the peer under test until a
case fails. A survivor that `lab/mutants/fakes.yaml` does not explain makes the exit status 1."""
from __future__ import annotations

import argparse
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path
from typing import Callable, Sequence

from lab.mutants.fakes import Workshop, sample
from lab.mutants.mechanical import MechanicalMutant, describe
from lab.mutants.survivors import FAKES, NOT_BUILT, NOT_JUDGED, SURVIVED, classified, status, table
from lab.progress import Progress
from lab.run import RunOptions, default_jobs, prepare
from lab.selftest import PEERS, Bench, Trial
from lab.suite import LONG, Case

# What few survive.
FIRST = {"backend": ("backend.set-config.shown", "backend.pg-flip.shown"), "frontend": ("frontend.pg-flip.fields", "frontend.bus.connectors.2")}


def mechanical(arguments: argparse.Namespace) -> int:
    progress = Progress()
    rows: list[tuple[MechanicalMutant, str]] = []
    known = classified(FAKES)
    jobs = arguments.jobs or default_jobs()
    for role in [arguments.role] if arguments.role else list(PEERS):
        bench = Bench(prepare(RunOptions(role=role, bed="loopback", peer=PEERS[role]), progress))
        cases = spread(bench.suite_cases(), FIRST[role])
        mutants = sample(role, arguments.mechanical, arguments.seed)
        with (progress.phase("mutants", f"{len(mutants)} small changes of a {role}, {jobs} at a time"),
              tempfile.TemporaryDirectory(prefix="displif-cts-mutants-") as work, ThreadPoolExecutor(jobs) as pool):
            workshop = Workshop(role, bench.programs.build, Path(work))

            def one(mutant: MechanicalMutant) -> tuple[MechanicalMutant, str]:
                program = workshop.program(mutant)
                what = NOT_BUILT if program is None else try_cases(bench.playing(program).attempt, cases)
                progress.say("mutants", f"{mutant.name}: {what}")
                return mutant, what

            rows += pool.map(one, mutants)
    print(describe([mutant for mutant, _ in rows]))
    print(table(rows, known))
    return status(rows, known)


def spread(cases: Sequence[Case], first: Sequence[str]) -> list[Case]:
    """A case of each group, then the next of each: a small change is mostly caught by the first of its group."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        if case.group != LONG:
            groups.setdefault(case.id.split(".")[1], []).append(case)
    ordered = [case for turn in zip_longest(*groups.values()) for case in turn if case is not None]
    return sorted(ordered, key=lambda case: case.id not in first)


def try_cases(attempt: Callable[[Case], Trial], cases: Sequence[Case]) -> str:
    """`caught by CASE: VERDICT: REASON`, `survived`, or `not judged: REASON` where twice something of our own failed."""
    for case in cases:
        trial = attempt(case)
        # Twice: on a busy machine a case may fail once that has seen nothing of the change.
        if bad(trial) and bad(trial := attempt(case)):
            return f"{NOT_JUDGED}: {_first_line(trial)}" if trial.verdict == "infra-error" else _caught(trial)
    return SURVIVED


def bad(trial: Trial) -> bool:
    return trial.verdict not in ("pass", "skip")


def _caught(trial: Trial) -> str:
    failed = next(iter(trial.failed), "")
    return f"caught by {trial.case}: {trial.verdict}: {failed or _first_line(trial)}"


def _first_line(trial: Trial) -> str:
    return trial.reason.splitlines()[0][:120] if trial.reason else ""
