"""Runs the selected cases in fresh machines, several machines at a time and a few cases in each."""
from __future__ import annotations

import json
import queue
import threading
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Container, Protocol, Sequence

from lab.errors import INFRASTRUCTURE, Stop
from lab.qemu.errors import AgentTimeout, BedError, InstanceDied
from lab.qemu.limit import Limit
from lab.qemu.processor import Lateness
from lab.qemu.template import XEN_BUILD_ID_COMMAND, same_build_id
from lab.recording import CaseRecorder, Recording
from lab.suite import Case


# What the runner may take beyond the case's own limit: its health checks, on a busy machine.
GRACE_SECONDS = 90.0
ANSWER_SECONDS = 60.0


class AgentLike(Protocol):
    def require(self, verb: str, timeout: float = ..., payload: bytes | None = ..., **arguments: object) -> dict[str, Any]: ...
    def call(self, verb: str, timeout: float = ..., payload: bytes | None = ..., **arguments: object) -> dict[str, Any]: ...
    def put(self, path: str, data: bytes, mode: int = ...) -> None: ...


class InstanceLike(Protocol):
    agent: Any  # AgentLike
    runner: Any  # where the runner finds itself, the agent and the peer's descriptor
    agent_socket: Any
    peer_file: Any

    def run(self, argv: Sequence[str], on_line: Callable[[bytes], None], timeout: float | Limit) -> int: ...
    def kill(self) -> None: ...


class BedLike(Protocol):
    def instance(self, disk: Path) -> AbstractContextManager[Any]: ...
    def make_disk(self, carried: Path) -> Path: ...


@dataclass(frozen=True)
class Job:
    case: Case
    attempt: int


@dataclass(frozen=True)
class Settings:
    """What is the same for every case of a run."""

    role: str
    bed: str
    peer: dict[str, Any]
    seed: int
    leaks: bool = False  # the guest's kernel is scanned for lost memory behind each case
    grace: float = GRACE_SECONDS
    facts: dict[str, Any] = field(default_factory=dict)  # the bed's: who runs in each machine is compared with them


def identity(machine: Any, facts: dict[str, Any]) -> dict[str, Any]:
    """Build ids of the hypervisor and the driver, read inside this very machine. Raises BedError when they are not
    those of the files that the bed was made from."""
    modules = {}
    for name, module in facts.get("modules", {}).items():
        seen = machine.agent.require("guest.module", timeout=ANSWER_SECONDS, name=name).get("build_id", "")
        if seen != module["build_id"]:
            raise BedError(f"the guest runs {name} with build id {seen}, the file has {module['build_id']}")
        modules[name] = seen
    xen = facts.get("xen", {}).get("build_id")
    if xen is None:
        return {"modules": modules}
    # In dom0: Xen denies its build id to guests (xen/common/kernel.c, XENVER_build_id).
    seen = machine.agent.require("sh", timeout=ANSWER_SECONDS, command=XEN_BUILD_ID_COMMAND).get("output", "").strip()
    try:
        same = same_build_id(seen, xen)
    except ValueError:  # no hexadecimal digits: the shell's own words
        same = False
    if not same:
        raise BedError(f"the running Xen has build id {seen}, the file {xen}")
    return {"xen": seen, "modules": modules}


def lateness_of(machine: Any) -> Lateness | None:
    """None on a bed whose machines have no virtual processors."""
    shares = getattr(machine, "processors", None)
    return Lateness(shares) if shares is not None else None


class HopelessRun(Stop):
    def __init__(self, trouble: str) -> None:
        super().__init__(INFRASTRUCTURE, f"the first {Beginning.ENOUGH} cases ended by the same trouble, and the others were not begun: {trouble}",
                         "mend the cause; try it with one --case")


class Stopped(Exception):
    """The run is being stopped; the case is left without a verdict."""


# Cases that follow each other in one machine, as long as each leaves it as it was found. A machine that has run a case
# has translated most of the code that the next one needs: emulated, a case costs half of what it costs in a fresh one.
CASES_PER_MACHINE = 32

Batch = tuple[Job, ...]


def batches_for(cases: Sequence[Case], repeat: int, size: int = CASES_PER_MACHINE,
                ending: Container[str] = frozenset()) -> list[Batch]:
    """Neighbours in the list of ids share a machine; which ones depends on selection and expectations alone, so that a
    run can be repeated. `ending` are the ids of cases that are known to crash or wedge theirs: each comes last in its.
    Later batches are shorter, and those with the longest limits come first, so that none is left alone at the end."""
    ordered = sorted(cases, key=lambda case: case.id)
    chunks = _shares([case for case in ordered if case.id not in ending], size)
    for number, case in enumerate(case for case in ordered if case.id in ending):
        if number < len(chunks) and size > 1:
            chunks[number].append(case)
        else:
            chunks.append([case])
    batches = [tuple(Job(case, attempt) for case in chunk) for attempt in range(1, repeat + 1) for chunk in chunks]
    return sorted(batches, key=lambda batch: (batch[0].attempt, -sum(job.case.timeout_ms for job in batch)))


def _shares(cases: Sequence[Case], size: int) -> list[list[Case]]:
    """`cases` in pieces of `size`, towards the end down to half of it."""
    chunks: list[list[Case]] = []
    first = 0
    while first < len(cases):
        length = min(size, max((size + 1) // 2, (len(cases) - first) // 4))
        chunks.append(list(cases[first:first + length]))
        first += length
    return chunks


class BatchRecorder:
    """Leads the runner's lines to the case that is running, and tells of each verdict as it comes."""

    def __init__(self, recording: Recording, batch: Batch, on_verdict: Callable[[Job, CaseRecorder], None]) -> None:
        self._recording, self._batch, self._on_verdict = recording, batch, on_verdict
        self._machine: dict[str, Any] = {}
        self._lateness: Lateness | None = None
        self.done = 0
        self._open()

    def _open(self) -> None:
        job = self._batch[self.done]
        self._introduced = False
        self.current = CaseRecorder(self._recording, job.case.id, job.case.requirements, job.attempt, self._waited_ms)
        if self._lateness is not None:
            self._lateness.restart()

    def _waited_ms(self) -> int:
        return 0 if self._lateness is None else self._lateness.waited_ms()

    def machine(self, facts: dict[str, Any], lateness: Lateness | None = None) -> None:
        """What the host knows of the machine; every case that runs in it has a record of that, and of the cases that
        ran in it before."""
        self._machine, self._lateness = facts, lateness

    def line(self, raw: bytes) -> None:
        if self.done == len(self._batch):
            return
        if not self._introduced:
            self._introduced = True
            self.current.host_record("instance", self._machine | {"after": [job.case.id for job in self._batch[:self.done]]})
        self.current.line(raw)
        if self.current.verdict is not None:
            self.conclude()

    def conclude(self) -> None:
        """The current case has its verdict, or gets the one that follows from what was seen; the next is current."""
        job = self._batch[self.done]
        self.current.conclude()
        self.done += 1
        self._on_verdict(job, self.current)
        if self.done < len(self._batch):
            self._open()

    @property
    def complete(self) -> bool:
        return self.done == len(self._batch)


class Beginning:
    """Notices a run in which nothing can be judged: its first cases all end by the same trouble of the bed."""

    ENOUGH = 4  # cases

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason: str | None = None
        self._number = 0
        self._over = False

    def trouble(self, verdict: str, reason: str) -> str | None:
        """Of a case that has ended; the reason to give up, when it is time to."""
        with self._lock:
            self._over = self._over or verdict != "infra-error" or self._reason not in (None, reason)
            self._reason = reason
            self._number += 1
            return reason if not self._over and self._number == self.ENOUGH else None


class Scheduler:
    """`on_verdict(case id, attempt, verdict, reason)` is called from worker threads."""

    def __init__(self, bed: BedLike, disk: Path, recording: Recording, settings: Settings,
                 on_verdict: Callable[[str, int, str, str], None] = lambda *_: None) -> None:
        self._bed, self._disk, self._recording, self._settings = bed, disk, recording, settings
        self._on_verdict = on_verdict
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._machines: set[Any] = set()
        self._failure: BaseException | None = None
        self._beginning = Beginning()

    def run(self, batches: Sequence[Batch], workers: int) -> None:
        """Runs all batches. Whatever interrupts it (Ctrl-C, a full disk, a bed that lets no case begin) ends every machine and
        is raised."""
        waiting: queue.SimpleQueue[Batch] = queue.SimpleQueue()
        for batch in batches:
            waiting.put(batch)
        threads = [threading.Thread(target=self._work, args=(waiting,), name=f"case-{i}", daemon=True)
                   for i in range(max(1, min(workers, len(batches))))]
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads):
                for thread in threads:
                    thread.join(timeout=0.1)
        finally:
            self.stop()
            for thread in threads:
                thread.join(timeout=10)
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Ends every machine at once; their cases get no verdict."""
        self._stopping.set()
        with self._lock:
            machines = list(self._machines)
        for machine in machines:
            machine.kill()

    def _work(self, waiting: queue.SimpleQueue[Batch]) -> None:
        while not self._stopping.is_set():
            try:
                batch = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                while batch:  # a case that leaves the machine other than it was ends the machine
                    batch = batch[self.run_batch(batch):]
            except Stopped:
                return
            except BaseException as error:  # the disk is full, or a mistake of ours: the run ends
                with self._lock:
                    self._failure = self._failure or error
                self.stop()
                return

    def run_batch(self, batch: Batch, afterwards: Callable[[Any], None] | None = None) -> int:
        """Runs cases in a fresh machine until one does not leave it as it was found; the first always runs. Returns how
        many got their verdicts. The machine is handed to `afterwards` before it goes."""
        recorder = BatchRecorder(self._recording, batch, self._tell)
        try:
            with self._bed.instance(self._disk) as machine:
                self._attend(machine, batch, recorder)
                if afterwards is not None:
                    self._blame(recorder)
                    afterwards(machine)
        except InstanceDied as error:
            self._raise_if_stopping()
            self._blame(recorder, f"the machine ended under the case: {error.message}")
        except BedError as error:
            self._raise_if_stopping()
            self._blame(recorder, error.message)
        self._blame(recorder)
        return recorder.done

    def _raise_if_stopping(self) -> None:
        if self._stopping.is_set():
            raise Stopped

    def _blame(self, recorder: BatchRecorder, trouble: str = "") -> None:
        """Gives the verdict of a case that cannot get its own any more: the one that was running, or the first. A case
        that had not begun when the machine ended goes to the next one."""
        if recorder.complete or (recorder.done > 0 and not recorder.current.begun):
            return
        self._raise_if_stopping()
        if trouble:
            recorder.current.error(trouble)
        recorder.conclude()

    def _tell(self, job: Job, recorder: CaseRecorder) -> None:
        self._on_verdict(job.case.id, job.attempt, recorder.verdict or "", recorder.reason)
        trouble = self._beginning.trouble(recorder.verdict or "", recorder.reason)
        if trouble is not None:
            raise HopelessRun(trouble)

    def _attend(self, machine: Any, batch: Batch, recorder: BatchRecorder) -> None:
        with self._lock:
            self._machines.add(machine)
        try:
            self._raise_if_stopping()
            self._run_in(machine, batch, recorder)
        finally:
            with self._lock:
                self._machines.discard(machine)

    def _run_in(self, machine: Any, batch: Batch, recorder: BatchRecorder) -> None:
        hello = machine.agent.require("hello", timeout=ANSWER_SECONDS)
        machine.agent.put(machine.peer_file, json.dumps(self._settings.peer).encode())
        recorder.machine(identity(machine, self._settings.facts), lateness_of(machine))
        limit = Limit(self._limit(batch[0]))

        def on_line(raw: bytes) -> None:
            done = recorder.done
            recorder.line(raw)
            if done < recorder.done < len(batch):
                limit.restart(self._limit(batch[recorder.done]))

        try:
            status = machine.run(self._argv(machine, batch, int(hello["guest_domid"])), on_line=on_line, timeout=limit)
        except AgentTimeout:
            self._blame(recorder, f"no verdict within {limit.seconds:.0f} s of wall clock; the machine was ended")
            return
        said = machine.stderr.strip()
        self._blame(recorder, f"the runner ended with status {status} before its verdict" + (f": {said}" if said else ""))

    def _limit(self, job: Job) -> float:
        return job.case.timeout_ms / 1000 + self._settings.grace

    def _argv(self, machine: Any, batch: Batch, domain: int) -> list[str]:
        settings = self._settings
        selection = [word for job in batch for word in ("--case", job.case.id)]
        return [str(machine.runner), "run", "--role", settings.role, "--bed", settings.bed,
                "--agent", str(machine.agent_socket), "--domain", str(domain), *selection,
                "--peer", str(machine.peer_file), "--format", "jsonl",
                "--seed", str(settings.seed), "--attempt", str(batch[0].attempt), "--part", "--while-clean",
                *(["--leaks"] if settings.leaks else [])]
