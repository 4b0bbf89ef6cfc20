"""`./displif-cts mutants`: builds each mutant, runs the cases that check its requirement, and says which caught it."""

from __future__ import annotations

import argparse
import fnmatch
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Sequence, TypeVar

from lab.errors import INFRASTRUCTURE, USAGE, Stop
from lab.kernel import stock_driver_source
from lab.kernel.errors import DriverBuildError
from lab.progress import Progress
from lab.qemu.errors import BedError
from lab.suite import Suite

from . import mechanical
from .patches import Mutant, MutantError, apply, list_mutants
from .runs import Caught, Run, Runs, open_runs, to_the_end
from .survivors import DRIVER, NOT_BUILT, NOT_JUDGED, SURVIVED, classified, reason_of, status
from .survivors import table as mechanical_table
from .verdicts import Checks, Judgement, by_kind, judge, read_checks, read_verdicts, table

# modules_of(mutant) -> the mutant's modules, built.
Modules = Callable[[Mutant], Sequence[Path]]
# side_by_side(work, items) -> the results, in the items' order.
SideBySide = Callable[[Callable[[Mutant], Judgement], Sequence[Mutant]], "list[Judgement]"]
Named = TypeVar("Named", Mutant, mechanical.MechanicalMutant)
STOCK = "stock"
ATTEMPTS = 3  # of a mutant whose run met with trouble of our own: a machine that was too slow judges nothing
# What monitors see most of: a life without trouble, a backend that leaves, and one that comes back.
WATCHED = ("frontend.pg-flip.fields", "frontend.bus.backend-closes.connected", "frontend.recovery.restarts")
# What few mechanical mutants survive, in seconds; the others are then tried with SMOKE.
FIRST = ("frontend.pg-flip.fields", "frontend.dbuf-create.fields.333x77x32")
# A little of everything that the driver does, in a minute or less: what a mechanical mutant is tried with next.
SMOKE = ("frontend.bus.*", "frontend.xenstore.*", "frontend.dbuf-create.fields.640x480x32", "frontend.dbuf-create.size.*",
         "frontend.dbuf-create.error-status*", "frontend.dbuf-destroy.*", "frontend.fb-attach.*", "frontend.fb-detach.*",
         "frontend.set-config.*", "frontend.pg-flip.fields", "frontend.pg-flip.contents", "frontend.pg-flip.event-never",
         "frontend.pg-flip.not-before-event", "frontend.event-page.wraps", "frontend.ring.of-operation.4",
         "frontend.ring.notifies", "frontend.be-alloc.*", "frontend.recovery.restarts", "frontend.clients.import")
# What survives that, and is not explained, has all cases before it.
EVERYTHING = ("frontend.*",)


def main(arguments: argparse.Namespace) -> int:
    if arguments.mechanical:
        return _mechanical(arguments)
    mutants = chosen(list_mutants(), arguments.mutant)
    if arguments.list:
        print("\n".join(f"{m.name:<32} {m.kind:<20} {m.requirement:<40} {m.description}" for m in mutants))
        return 0
    progress = Progress()
    try:
        with open_runs(arguments.jobs, progress, arguments.bed) as runs:
            source = stock_driver_source(progress=progress.bed)

            def modules_of(mutant: Mutant) -> Sequence[Path]:
                return runs.modules_of(apply(mutant, source, runs.work / mutant.name))

            cases = {m.requirement: _cases_for(m.requirement, runs.suite) for m in mutants}
            judgements = kill_all(mutants, cases, modules_of, runs.run, progress, runs.side_by_side)
    except BedError as error:
        raise Stop(INFRASTRUCTURE, error.message, error.hint) from None
    unjudged = sum(judgement.unjudged for judgement in judgements)
    survivors = sum(judgement.by is None for judgement in judgements) - unjudged
    print(table(judgements), by_kind(judgements), sep="\n\n")
    judged = len(judgements) - unjudged
    print(f"{judged - survivors} of {judged} mutants caught ({100 * (judged - survivors) // max(judged, 1)} %)"
          + (f", {unjudged} not judged" if unjudged else "") + f"; the streams are in {runs.folder}")
    return INFRASTRUCTURE if unjudged else 1 if survivors else 0


def _cases_for(requirement: str, suite: Suite) -> list[str]:
    """Where only a monitor judges, a case that it watches."""
    citing = [case.id for case in suite.citing(requirement)]
    watched = any(case.monitor and requirement in case.requirements for case in suite.cases)
    return citing or (list(WATCHED) if watched else [])


def _mechanical(arguments: argparse.Namespace) -> int:
    """A seeded sample of small changes. A survivor that driver.yaml does not explain is a failure."""
    progress = Progress()
    known = classified(DRIVER)
    try:
        source = stock_driver_source(progress=progress.bed)
        mutants = chosen(mechanical.sample(source, arguments.mechanical, arguments.seed), arguments.mutant)
        if arguments.list:
            print(mechanical.describe(mutants))
            return 0
        with open_runs(arguments.jobs, progress, arguments.bed) as runs:
            stock = read_verdicts(runs.run(STOCK, (), EVERYTHING, to_the_end))
            passing = {case for case, verdict in stock.items() if verdict.verdict == "pass"}

            def try_one(mutant: mechanical.MechanicalMutant) -> tuple[mechanical.MechanicalMutant, str]:
                progress.say("mutants", f"{mutant.name}: {mutant.description}")
                parts = (FIRST, SMOKE) if reason_of(mutant, known) else (FIRST, SMOKE, EVERYTHING)
                what = _try(mutant, source, runs, passing, parts)
                progress.say("mutants", f"{mutant.name}: {what}")
                return mutant, what

            rows = runs.side_by_side(try_one, mutants)
    except BedError as error:
        raise Stop(INFRASTRUCTURE, error.message, error.hint) from None
    print(mechanical_table(rows, known))
    print(f"the streams are in {runs.folder}")
    return status(rows, known)


def _try(mutant: mechanical.MechanicalMutant, source: Path, runs: Runs, passing: set[str], parts: Sequence[Sequence[str]]) -> str:
    """What became of it: `caught by CASE: VERDICT`, `does not build`, `not judged: REASON`, or `survived`."""
    try:
        modules = runs.modules_of(mechanical.apply(mutant, source, runs.work / mutant.name))
    except (BedError, DriverBuildError):
        return NOT_BUILT
    for part, globs in enumerate(parts, 1):
        what = caught_twice(mutant.name, part, globs, set(passing), lambda name, cases, caught: runs.run(name, modules, cases, caught))
        if what is not None:
            return what
    return SURVIVED


def caught_twice(name: str, part: int, globs: Sequence[str], passing: set[str], run: Callable[[str, Sequence[str], Caught], Path]) -> str | None:
    """What caught it, where that case fails a second time, alone: one that a busy machine made late proves nothing, and the
    cases that are left are tried."""
    left = {case for case in passing if any(fnmatch.fnmatchcase(case, glob) for glob in globs)}
    while left:
        attempt = f"{name}-{part}-{len(left)}"
        stream = run(attempt, sorted(left), lambda so_far: _what(so_far, passing) is not None)
        what = _what(stream, passing)
        if what is None or what.case is None:
            return what and what.text
        again = _what(run(f"{attempt}-alone", [what.case], to_the_end), {what.case})
        if again is not None:
            return again.text
        left -= read_verdicts(stream).keys()
    return None


@dataclass(frozen=True)
class What:
    text: str
    case: str | None = None  # that caught it


def _what(stream: Path, passing: set[str]) -> What | None:
    """A driver that the guest's kernel will not even load is caught, too; other trouble of the bed judges nothing."""
    for case, verdict in sorted(read_verdicts(stream).items()):
        if verdict.verdict == "infra-error":
            reason = verdict.reason.splitlines()[0]
            return What(f"caught by the guest's kernel: {reason}" if verdict.unloadable else f"{NOT_JUDGED}: {reason}")
        if case in passing and verdict.verdict not in ("pass", "skip"):
            return What(f"caught by {case}: {verdict.verdict}", case)
    return None


def chosen(mutants: list[Named], globs: Sequence[str]) -> list[Named]:
    """Raises Stop when a glob matches none."""
    for glob in globs:
        if not any(fnmatch.fnmatchcase(mutant.name, glob) for mutant in mutants):
            raise Stop(USAGE, f"--mutant {glob} matches none", "`./displif-cts mutants --list` prints their names")
    return [m for m in mutants if not globs or any(fnmatch.fnmatchcase(m.name, glob) for glob in globs)]


def kill_all(mutants: Sequence[Mutant], cases: dict[str, list[str]], modules_of: Modules, run: Run,
             progress: Progress, side_by_side: SideBySide = lambda work, items: [work(item) for item in items]) -> list[Judgement]:
    """First the driver as it is, then each mutant. Raises Stop when a run was not completed."""
    for mutant in mutants:
        if not cases.get(mutant.requirement):
            raise MutantError(f"{mutant.name}: no case checks {mutant.requirement}")
    wanted = sorted({case for mutant in mutants for case in cases[mutant.requirement]})
    progress.say("mutants", f"{len(wanted)} cases on the driver as it is")
    stock = _complete(run(STOCK, (), wanted, to_the_end))
    for attempt in range(2, ATTEMPTS + 1):
        if stock.troubled:
            stock |= _complete(run(f"{STOCK}-{attempt}", (), sorted(stock.troubled), to_the_end))

    def kill(mutant: Mutant) -> Judgement:
        started = time.monotonic()
        progress.say("mutants", f"{mutants.index(mutant) + 1}/{len(mutants)} {mutant.name}: {mutant.description}")

        def caught(so_far: Path) -> bool:
            return judge(mutant, read_checks(so_far), stock, 0).by is not None

        try:
            modules = modules_of(mutant)
        except (BedError, DriverBuildError, MutantError) as error:  # the others are tried nevertheless
            judgement = Judgement(mutant, None, f"not built: {error.message.splitlines()[0]}", time.monotonic() - started, unjudged=True)
            progress.say("mutants", f"{mutant.name}: {judgement.text}\n{error.message}")
            return judgement
        for attempt in range(1, ATTEMPTS + 1):
            name = mutant.name if attempt == 1 else f"{mutant.name}-{attempt}"
            seen = _complete(run(name, modules, cases[mutant.requirement], caught))
            judgement = judge(mutant, seen, stock, time.monotonic() - started)
            if judgement.by or not seen.troubled:
                break
        progress.say("mutants", f"{mutant.name}: {judgement.text}")
        return judgement

    return side_by_side(kill, mutants)


def _complete(stream: Path) -> Checks:
    checks = read_checks(stream)
    if not checks.complete:
        raise Stop(INFRASTRUCTURE, f"{stream} has no end: its run was not completed")
    return checks
