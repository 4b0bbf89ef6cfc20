"""`./displif-cts mutants`: builds each mutant, runs the cases that check its requirement, and says which caught it."""

from __future__ import annotations

import argparse
import fnmatch
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Callable, Sequence

from lab.errors import INFRASTRUCTURE, USAGE, Stop
from lab.kernel import build_driver, stock_driver_source
from lab.progress import Progress
from lab.qemu.errors import BedError
from lab.suite import Selection, Suite, select

from . import mechanical
from .patches import Mutant, MutantError, apply, list_mutants
from .verdicts import Checks, Judgement, judge, mechanical_table, read_checks, read_verdicts, table

# run(name, modules, case globs) -> the run's stream. No modules: the guest's own.
Run = Callable[[str, Sequence[Path], Sequence[str]], Path]
# modules_of(mutant) -> the mutant's modules, built.
Modules = Callable[[Mutant], Sequence[Path]]
STOCK = "stock"
WATCHED = ("frontend.pg-flip.fields",)
# A little of everything that the driver does, in a minute or less: what a mechanical mutant is tried with.
SMOKE = ("frontend.bus.*", "frontend.xenstore.*", "frontend.dbuf-create.fields.640x480x32", "frontend.dbuf-create.size.*",
         "frontend.dbuf-create.error-status*", "frontend.dbuf-destroy.*", "frontend.fb-attach.*", "frontend.fb-detach.*",
         "frontend.set-config.*", "frontend.pg-flip.fields", "frontend.pg-flip.contents", "frontend.pg-flip.event-never",
         "frontend.pg-flip.not-before-event", "frontend.event-page.wraps", "frontend.ring.of-operation.4",
         "frontend.ring.notifies", "frontend.be-alloc.*", "frontend.recovery.restarts")


def main(arguments: argparse.Namespace) -> int:
    if arguments.mechanical:
        return _mechanical(arguments)
    mutants = chosen(list_mutants(), arguments.mutant)
    if arguments.list:
        print("\n".join(f"{m.name:<32} {m.kind:<20} {m.requirement:<40} {m.description}" for m in mutants))
        return 0
    progress = Progress()
    try:
        suite, run, folder = _real_run(arguments.jobs, progress, arguments.bed)
        source = stock_driver_source(progress=progress.bed)
        with tempfile.TemporaryDirectory(prefix="displif-cts-mutants-") as work:

            def modules_of(mutant: Mutant) -> Sequence[Path]:
                return _built(apply(mutant, source, Path(work) / mutant.name), arguments.bed, progress)

            judgements = kill_all(mutants, {m.requirement: _cases_for(m.requirement, suite) for m in mutants}, modules_of, run, progress)
    except BedError as error:
        raise Stop(INFRASTRUCTURE, error.message, error.hint) from None
    survivors = sum(judgement.by is None for judgement in judgements)
    print(table(judgements))
    rate = 100 * (len(judgements) - survivors) // len(judgements)
    print(f"{len(judgements) - survivors} of {len(judgements)} mutants caught ({rate} %); the streams are in {folder}")
    return 1 if survivors else 0


def _cases_for(requirement: str, suite: Suite) -> list[str]:
    """Where only a monitor judges, a case that it watches."""
    citing = [case.id for case in suite.citing(requirement)]
    watched = any(case.monitor and requirement in case.requirements for case in suite.cases)
    return citing or (list(WATCHED) if watched else [])


def _mechanical(arguments: argparse.Namespace) -> int:
    """A seeded sample of small changes. Survivors are printed, and no failure: some change nothing that anybody can see."""
    progress = Progress()
    try:
        source = stock_driver_source(progress=progress.bed)
        mutants = mechanical.sample(source, arguments.mechanical, arguments.seed)
        if arguments.list:
            print(mechanical.describe(mutants))
            return 0
        suite, run, folder = _real_run(arguments.jobs, progress, arguments.bed)
        passing = {case for case, verdict in read_verdicts(run(STOCK, (), SMOKE)).items() if verdict == "pass"}
        rows: list[tuple[mechanical.MechanicalMutant, str]] = []
        with tempfile.TemporaryDirectory(prefix="displif-cts-mutants-") as work:
            for number, mutant in enumerate(mutants, 1):
                progress.say("mutants", f"{number}/{len(mutants)} {mutant.name}: {mutant.description}")
                rows.append((mutant, _try(mutant, source, Path(work) / mutant.name, run, passing, arguments.bed, progress)))
                progress.say("mutants", rows[-1][1])
    except BedError as error:
        raise Stop(INFRASTRUCTURE, error.message, error.hint) from None
    print(mechanical_table(rows))
    print(f"the streams are in {folder}")
    return 0


def _built(source: Path, bed: str, progress: Progress) -> Sequence[Path]:
    """The driver of that source: modules for the guest's kernel, or, on loopback, the guest itself, which replaces the one
    that the bed's next machine starts. Raises BedError."""
    if bed == "qemu":
        return build_driver(source, progress.bed)
    from lab.fuzz.guest import build_linux_guest

    try:
        build_linux_guest(progress, source)
    except Stop as error:
        raise BedError(error.message, error.hint) from None
    return ()


def _try(mutant: mechanical.MechanicalMutant, source: Path, dest: Path, run: Run, passing: set[str], bed: str,
         progress: Progress) -> str:
    """What became of it: `caught by CASE: VERDICT`, `does not build`, or `survived`."""
    try:
        modules = _built(mechanical.apply(mutant, source, dest), bed, progress)
    except BedError:
        return "does not build"
    try:
        verdicts = read_verdicts(run(mutant.name, modules, SMOKE))
    except BedError as error:
        return f"caught by the bed: {error.message.splitlines()[0]}"
    caught = [f"{case}: {verdict}" for case, verdict in sorted(verdicts.items())
              if case in passing and verdict not in ("pass", "skip", "infra-error")]
    return f"caught by {caught[0]}" if caught else "survived"


def chosen(mutants: list[Mutant], globs: Sequence[str]) -> list[Mutant]:
    """Raises Stop when a glob matches none."""
    for glob in globs:
        if not any(fnmatch.fnmatchcase(mutant.name, glob) for mutant in mutants):
            raise Stop(USAGE, f"--mutant {glob} matches none", "`./displif-cts mutants --list` prints their names")
    return [m for m in mutants if not globs or any(fnmatch.fnmatchcase(m.name, glob) for glob in globs)]


def kill_all(mutants: Sequence[Mutant], cases: dict[str, list[str]], modules_of: Modules, run: Run,
             progress: Progress) -> list[Judgement]:
    """First the driver as it is, then each mutant. Raises Stop when a run was not completed."""
    for mutant in mutants:
        if not cases.get(mutant.requirement):
            raise MutantError(f"{mutant.name}: no case checks {mutant.requirement}")
    wanted = sorted({case for mutant in mutants for case in cases[mutant.requirement]})
    progress.say("mutants", f"{len(wanted)} cases on the driver as it is")
    stock = _complete(run(STOCK, (), wanted))
    judgements = []
    for number, mutant in enumerate(mutants, 1):
        started = time.monotonic()
        progress.say("mutants", f"{number}/{len(mutants)} {mutant.name}: {mutant.description}")
        seen = _complete(run(mutant.name, modules_of(mutant), cases[mutant.requirement]))
        judgements.append(judge(mutant, seen, stock, time.monotonic() - started))
        last = judgements[-1]
        progress.say("mutants", f"{'caught by ' + last.by if last.by else 'SURVIVED: ' + last.why}")
    return judgements


def _complete(stream: Path) -> Checks:
    checks = read_checks(stream)
    if not checks.complete:
        raise Stop(INFRASTRUCTURE, f"{stream} has no end: its run was not completed")
    return checks


def _real_run(jobs: int | None, progress: Progress, bed: str) -> tuple[Suite, Run, Path]:
    """The runs that `./displif-cts run` makes, each into a folder of its own."""
    from lab.run import USER_SPACE_PEER, CaseLines, RunOptions, command_line, default_jobs, execute, make_folder, open_bed, prepare

    options = RunOptions(jobs=jobs or default_jobs(), bed=bed, **({"peer": USER_SPACE_PEER} if bed == "loopback" else {}))
    prepared = prepare(command_line(options), progress)
    folder = make_folder(None)

    def run(name: str, modules: Sequence[Path], globs: Sequence[str]) -> Path:
        selection = Selection(globs=tuple(globs))
        mine = replace(prepared, options=replace(prepared.options, modules=tuple(modules), selection=selection),
                       plan=select(prepared.suite, selection))
        target = folder / name
        target.mkdir()
        with open_bed(mine, progress) as bed:
            execute(mine, bed, bed.facts(), target, CaseLines(progress, len(mine.plan.runnable)))
        return target / "stream.jsonl"

    return prepared.suite, run, folder
