"""A bed without machines, for tests of everything above it."""
from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator

from lab.qemu.errors import AgentTimeout, InstanceDied
from lab.suite import Case, Plan, Selection, Suite

REQUIREMENTS = (
    {"id": "wire.reserved-zero", "role": "frontend", "level": "must", "text": "Reserved bytes are zero.",
     "source": {"file": "displif.h", "section": "Requests"}, "reading": ""},
    {"id": "ring.id-echoed", "role": "frontend", "level": "must", "text": "Ids are kept.",
     "source": {"file": "displif.h", "section": "Responses"}, "reading": ""},
)


def suite(*ids: str, monitors: tuple[str, ...] = (), timeout_ms: int = 1000) -> Suite:
    cases = [Case(name, f"title of {name}", ("ring.id-echoed",), timeout_ms) for name in ids]
    cases += [Case(name, "a monitor", ("wire.reserved-zero",), 0, monitor=True) for name in monitors]
    return Suite(tuple(sorted(cases, key=lambda c: c.id)), REQUIREMENTS)


def whole_plan(of: Suite) -> Plan:
    return Plan(of, Selection(), of.cases)


def record(t: str, case: str, /, ns: int = 1000, **body: Any) -> dict[str, Any]:
    return {"v": 1, "t": t, "ns": ns, "case": case, **body}


def begin(case: str, requirements: tuple[str, ...] = ("ring.id-echoed",)) -> dict[str, Any]:
    return record("begin", case, requirements=list(requirements), timeout_ms=1000, title=f"title of {case}")


def check(case: str, ok: bool, requirement: str = "ring.id-echoed", level: str = "must", **body: Any) -> dict[str, Any]:
    return record("check", case, requirement=requirement, level=level, expected=["7"], seen="7" if ok else "8", ok=ok, **body)


def verdict(case: str, word: str = "pass", reason: str = "", attempt: int = 1) -> dict[str, Any]:
    return record("verdict", case, verdict=word, reason=reason, attempt=attempt, ns_spent=5_000_000)


def good(case: str) -> list[dict[str, Any]]:
    return [begin(case), record("msg", case, kind="req", dir="f2b", hex="00ff", fields={"op": "PG_FLIP", "id": 7}),
            check(case, True), verdict(case)]


def bad(case: str) -> list[dict[str, Any]]:
    return [begin(case), record("msg", case, kind="req", dir="f2b", hex="08", fields={"op": "PG_FLIP", "id": 8}),
            check(case, False), verdict(case, "fail", "ring.id-echoed: expected 7; saw 8")]


class FakeAgent:
    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def require(self, verb: str, timeout: float = 60.0, payload: bytes | None = None, **_: object) -> dict[str, Any]:
        return {"ok": True, "guest_domid": 1}

    call = require

    def put(self, path: str, data: bytes, mode: int = 0o644) -> None:
        self.files[path] = data


class FakeMachine:
    """Prints what the bed's script says for the case; a script entry may be a function instead of a record."""

    runner, agent_socket, peer_file = "/runner", "/agent.sock", "/peer.json"

    def __init__(self, bed: "FakeBed") -> None:
        self.agent = FakeAgent()
        self.bed = bed
        self.killed = threading.Event()
        self.pid = 4711
        self.serial_log = Path("/dev/null")
        self.stderr = ""

    def kill(self) -> None:
        self.killed.set()

    def run(self, argv: list[str], on_line: Callable[[bytes], None], timeout: Any) -> int:
        """As the runner: the cases in their order; with --while-clean, up to the first that does not pass."""
        status = 0
        for case in [argv[i + 1] for i, word in enumerate(argv) if word == "--case"]:
            self.bed.started.append(case)
            clean = True
            for step in self.bed.script(case):
                if self.killed.is_set():
                    raise InstanceDied("the machine ended")
                if callable(step):
                    status = step(self, timeout) or 0
                elif isinstance(step, bytes):
                    on_line(step)
                else:
                    clean = clean and step.get("verdict", "pass") == "pass"
                    on_line(json.dumps(step).encode())
            if status or (not clean and "--while-clean" in argv):
                break
        return status


class FakeBed:
    def __init__(self, script: Callable[[str], list[Any]] = good, machine: type[FakeMachine] = FakeMachine) -> None:
        self.script = script
        self._machine = machine
        self.started: list[str] = []
        self.machines: list[FakeMachine] = []
        self.running = 0
        self.most_running = 0
        self._lock = threading.Lock()

    def __enter__(self) -> "FakeBed":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def facts(self) -> dict[str, Any]:
        return {"guest_type": "pv"}

    def make_disk(self, carried: Path) -> Path:
        return carried

    @contextmanager
    def instance(self, _disk: Path) -> Iterator[FakeMachine]:
        machine = self._machine(self)
        with self._lock:
            self.machines.append(machine)
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        try:
            yield machine
        finally:
            machine.kill()
            with self._lock:
                self.running -= 1


def die(_machine: FakeMachine, _timeout: Any) -> int:
    raise InstanceDied("QEMU was ended by signal 9")


def time_out(_machine: FakeMachine, timeout: Any) -> int:
    raise AgentTimeout("did not end in time")


def hang_until_killed(machine: FakeMachine, _timeout: Any) -> int:
    machine.killed.wait(60)
    raise InstanceDied("the machine ended")


def leave_with(status: int) -> Callable[[FakeMachine, Any], int]:
    return lambda _machine, _timeout: status
