"""Runs every selected case in a machine of its own, several at a time."""
from __future__ import annotations

import json
import queue
import threading
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Protocol, Sequence

from lab.qemu.errors import AgentTimeout, BedError, InstanceDied
from lab.qemu.template import XEN_BUILD_ID_COMMAND, same_build_id
from lab.recording import CaseRecorder, Recording
from lab.suite import Case


RUNNER = "/carried/bin/displif-cts-runner"
AGENT_SOCKET = "/run/displif-cts/agent.sock"
PEER_FILE = "/run/displif-cts/peer.json"
# What the runner may take beyond the case's own limit: its health checks, on a busy machine.
GRACE_SECONDS = 90.0
ANSWER_SECONDS = 60.0


class AgentLike(Protocol):
    def require(self, verb: str, timeout: float = ..., payload: bytes | None = ..., **arguments: object) -> dict[str, Any]: ...
    def call(self, verb: str, timeout: float = ..., payload: bytes | None = ..., **arguments: object) -> dict[str, Any]: ...
    def put(self, path: str, data: bytes, mode: int = ...) -> None: ...


class InstanceLike(Protocol):
    agent: Any  # AgentLike

    def run(self, argv: Sequence[str], on_line: Callable[[bytes], None], timeout: float) -> int: ...
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


class Stopped(Exception):
    """The run is being stopped; the case is left without a verdict."""


def jobs_for(cases: Sequence[Case], repeat: int) -> list[Job]:
    """Cases with the longest limits first, so that none of them is left alone at the end."""
    ordered = sorted(cases, key=lambda case: (-case.timeout_ms, case.id))
    return [Job(case, attempt) for attempt in range(1, repeat + 1) for case in ordered]


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

    def run(self, jobs: Sequence[Job], workers: int) -> None:
        """Runs all jobs. Whatever interrupts it (Ctrl-C, a full disk) ends every machine and is raised."""
        waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
        for job in jobs:
            waiting.put(job)
        threads = [threading.Thread(target=self._work, args=(waiting,), name=f"case-{i}", daemon=True)
                   for i in range(max(1, min(workers, len(jobs))))]
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

    def _work(self, waiting: queue.SimpleQueue[Job]) -> None:
        while not self._stopping.is_set():
            try:
                job = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                self.run_job(job)
            except Stopped:
                return
            except BaseException as error:  # the disk is full, or a mistake of ours: the run ends
                with self._lock:
                    self._failure = self._failure or error
                self.stop()
                return

    def run_job(self, job: Job, afterwards: Callable[[Any], None] | None = None) -> None:
        """One case in a fresh machine, which is handed to `afterwards` before it goes."""
        recorder = CaseRecorder(self._recording, job.case.id, job.case.requirements, job.attempt)
        try:
            with self._bed.instance(self._disk) as machine:
                self._attend(machine, job, recorder)
                if afterwards is not None:
                    self._conclude(job, recorder)
                    afterwards(machine)
        except InstanceDied as error:
            self._raise_if_stopping()
            recorder.error(f"the machine ended under the case: {error.message}")
        except BedError as error:
            self._raise_if_stopping()
            recorder.error(error.message)
        self._conclude(job, recorder)

    def _raise_if_stopping(self) -> None:
        if self._stopping.is_set():
            raise Stopped

    def _conclude(self, job: Job, recorder: CaseRecorder) -> None:
        if recorder.concluded:
            return
        self._raise_if_stopping()
        recorder.conclude()
        self._on_verdict(job.case.id, job.attempt, recorder.verdict or "", recorder.reason)

    def _attend(self, machine: Any, job: Job, recorder: CaseRecorder) -> None:
        with self._lock:
            self._machines.add(machine)
        try:
            self._raise_if_stopping()
            self._run_in(machine, job, recorder)
        finally:
            with self._lock:
                self._machines.discard(machine)

    def _run_in(self, machine: Any, job: Job, recorder: CaseRecorder) -> None:
        hello = machine.agent.require("hello", timeout=ANSWER_SECONDS)
        machine.agent.put(PEER_FILE, json.dumps(self._settings.peer).encode())
        recorder.host_record("instance", identity(machine, self._settings.facts))
        limit = job.case.timeout_ms / 1000 + self._settings.grace
        try:
            status = machine.run(self._argv(job, int(hello["guest_domid"])), on_line=recorder.line, timeout=limit)
        except AgentTimeout:
            recorder.error(f"no verdict within {limit:.0f} s of wall clock; the machine was ended")
            return
        if recorder.verdict is None:
            said = machine.stderr.strip()
            recorder.error(f"the runner ended with status {status} before its verdict" + (f": {said}" if said else ""))

    def _argv(self, job: Job, domain: int) -> list[str]:
        settings = self._settings
        return [RUNNER, "run", "--role", settings.role, "--bed", settings.bed, "--agent", AGENT_SOCKET,
                "--domain", str(domain), "--case", job.case.id, "--peer", PEER_FILE, "--format", "jsonl",
                "--seed", str(settings.seed), "--attempt", str(job.attempt), "--part"]
