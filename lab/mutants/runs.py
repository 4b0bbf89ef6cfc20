"""The runs that mutants are judged by: one machine each, ended as soon as the mutant is caught."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from lab.errors import Stop
from lab.kernel import build_driver
from lab.progress import Progress
from lab.qemu.errors import BedError
from lab.run import USER_SPACE_PEER, CaseLines, Prepared, RunOptions, command_line, default_jobs, execute, make_folder, open_bed, prepare
from lab.schedule import Scheduler
from lab.suite import Selection, Suite, select

from .bed import MutantBed

# caught(stream so far): whether the rest of the run can be left out.
Caught = Callable[[Path], bool]
# run(name, modules, case globs, caught) -> the run's stream. No modules: the guest's own.
Run = Callable[[str, Sequence[Path], Sequence[str], Caught], Path]
In = TypeVar("In")
Out = TypeVar("Out")


def to_the_end(_stream: Path) -> bool:
    return False


@dataclass
class Runs:
    """Prepared once: packages, template, disk. `run` and `modules_of` may be called from several threads."""

    prepared: Prepared
    bed: Any
    folder: Path
    work: Path
    progress: Progress
    jobs: int
    _building: threading.Lock = field(default_factory=threading.Lock)
    _running: set[Scheduler] = field(default_factory=set)

    @property
    def suite(self) -> Suite:
        return self.prepared.suite

    def modules_of(self, source: Path) -> list[Path]:
        """The driver's modules, built from a tree that differs little from the last one; on loopback none, but the guest
        itself, which replaces the one that the bed's next machine starts. Raises BedError."""
        with self._building:
            if not self.in_user_space:
                return build_driver(source, self.progress.bed, workshop=self.work / "build")
            from lab.fuzz.guest import build_linux_guest

            try:
                build_linux_guest(self.progress, source)
            except Stop as error:
                raise BedError(error.message, error.hint) from None
            return []

    @property
    def in_user_space(self) -> bool:
        return self.prepared.options.bed == "loopback"

    def run(self, name: str, modules: Sequence[Path], globs: Sequence[str], caught: Caught = to_the_end) -> Path:
        """Into a folder of its own; without modules in as many machines as there are jobs, else in one."""
        selection = Selection(globs=tuple(globs))
        mine = replace(self.prepared, plan=select(self.suite, selection),
                       options=replace(self.prepared.options, modules=tuple(modules), selection=selection, jobs=1 if modules else self.jobs))
        bed = MutantBed(self.bed, modules) if modules else self.bed
        if self.in_user_space:
            bed = open_bed(mine, self.progress)
        target = self.folder / name
        target.mkdir()
        stream = target / "stream.jsonl"
        schedulers: list[Scheduler] = []
        lines = CaseLines(self.progress, len(mine.plan.runnable))

        def on_start(scheduler: Scheduler) -> None:
            schedulers.append(scheduler)
            self._running.add(scheduler)

        def on_verdict(case: str, attempt: int, verdict: str, reason: str) -> None:
            lines(case, attempt, verdict, reason)
            if caught(stream):
                schedulers[-1].stop()

        try:
            execute(mine, bed, bed.facts(), target, on_verdict, on_start=on_start)
        finally:
            self._running.difference_update(schedulers)
        return stream

    def side_by_side(self, work: Callable[[In], Out], items: Sequence[In]) -> list[Out]:
        """`work` on each item, as many at a time as there are jobs (one where each replaces the guest's program); in the order
        of the items. What one raises ends all."""
        with ThreadPoolExecutor(1 if self.in_user_space else self.jobs) as threads:
            futures = [threads.submit(work, item) for item in items]
            try:
                return [future.result() for future in futures]
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                for scheduler in tuple(self._running):
                    scheduler.stop()
                raise


@contextmanager
def open_runs(jobs: int | None, progress: Progress, bed_name: str = "qemu") -> Iterator[Runs]:
    """Brings the bed up. Raises BedError."""
    peer = {"peer": USER_SPACE_PEER} if bed_name == "loopback" else {}
    prepared = prepare(command_line(RunOptions(jobs=jobs or default_jobs(), bed=bed_name, **peer)), progress)
    with open_bed(prepared, progress) as bed, tempfile.TemporaryDirectory(prefix="displif-cts-mutants-") as work:
        yield Runs(prepared, bed, make_folder(None), Path(work), progress, prepared.options.jobs)
