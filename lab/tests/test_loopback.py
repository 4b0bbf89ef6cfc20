"""The loopback bed: a backend under test as a process, however it behaves."""
from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from lab.build import LoopbackPrograms, build_loopback
from lab.loopback import LoopbackBed, PeerCommand
from lab.loopback.command import KEPT_OCTETS, Output
from lab.progress import Progress
from lab.qemu.errors import BedError
from lab.schedule import Settings, Scheduler, batches_for
from lab.recording import Recording
from lab.selftest import Bench, Fault, parse_faults, table, Line
from lab.run import RunOptions, prepare
from reports.judge import judge
from reports.model import read_run

FAKE = ["displif-fake-backend", "--follow", "--quiet", "--edid", "+"]


@pytest.fixture(scope="module")
def programs() -> LoopbackPrograms:
    return build_loopback(Progress(quiet=True))


def processes_with(word: str) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in entry.read_bytes() and int(entry.parent.name) != os.getpid():
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


def one_verdict(programs: LoopbackPrograms, command: PeerCommand, folder: Path, case: str = "") -> Any:
    prepared = prepare(RunOptions(role="backend", bed="loopback", peer="displif-fake-backend"), Progress(quiet=True))
    chosen = next(c for c in prepared.plan.runnable if c.id == case or (not case and c.id.startswith("backend.bus.")))
    recording = Recording(folder, [])
    recording.write("run", {"suite": "displif-cts", "bed": "loopback", "peer": {"name": "x"}, "seed": 1,
                            "started": "2026-01-01T00:00:00+00:00", "repeat": 1})
    recording.write("plan", {"cases": [chosen.to_plan()], "count": 1, "sha256": "", "known": [], "requirements": []})
    settings = Settings("backend", "loopback", prepared.peer.descriptor, 1)
    Scheduler(LoopbackBed(programs, command), programs.carried, recording, settings).run(batches_for([chosen], 1, 1), 1)
    recording.close()
    return judge(read_run(recording.stream)).results[0]


def test_the_reference_passes(programs: LoopbackPrograms, tmp_path: Path) -> None:
    result = one_verdict(programs, PeerCommand(FAKE, "^following"), tmp_path)
    assert result.verdict == "pass", result.reason


@pytest.mark.parametrize("argv, ready, message", [
    ("no-such-program-here", None, "ended with status 127 before it was ready"),
    (["/no/such/program"], None, "cannot be started: /no/such/program: No such file or directory"),
    ("exit 3", None, "ended with status 3 before it was ready"),
    ("kill -SEGV $$", None, "ended by SIGSEGV before it was ready"),
    ("echo starting; exit 0", "^ready", "ended with status 0 before it was ready"),
])
def test_a_command_that_does_not_start_is_said_once(programs: LoopbackPrograms, argv: Any, ready: str | None, message: str) -> None:
    with pytest.raises(BedError, match=message):
        with LoopbackBed(programs, PeerCommand(argv, ready)):
            pass


@pytest.mark.parametrize("text, verdict, reason", [
    # mark, then: dies under the case
    ("sleep 0.3; kill -SEGV $$", "crash", "the backend ended by SIGSEGV"),
    ("sleep 0.3; exit 5", "crash", "the backend ended with status 5"),
    ("echo '==7==ERROR: AddressSanitizer: heap-use-after-free on address 0x1'; sleep 60", "crash",
     "the backend's sanitizer reports ERROR: AddressSanitizer: heap-use-after-free"),
    ("sleep 60", "fail", ""),                                       # runs, and serves nothing
    ("trap '' TERM; while :; do sleep 0.2; done", "fail", ""),      # ignores SIGTERM
    ("sleep 61 & sleep 60", "fail", ""),                            # forks a child
    ("yes flood", "fail", ""),                                      # floods its output
])
def test_whatever_the_backend_does_there_is_one_verdict_and_nothing_is_left(
        programs: LoopbackPrograms, tmp_path: Path, text: str, verdict: str, reason: str) -> None:
    mark = f"displif-cts-mark-{os.getpid()}-{time.monotonic_ns()}"
    result = one_verdict(programs, PeerCommand(f": {mark}; {text}"), tmp_path)
    assert result.verdict == verdict, result.reason
    assert reason in result.reason
    assert not processes_with(mark)


def test_the_output_is_evidence_and_bounded(programs: LoopbackPrograms, tmp_path: Path) -> None:
    one_verdict(programs, PeerCommand("echo here I am; sleep 60"), tmp_path)
    logs = [record["fields"]["text"] for record in map(json.loads, (tmp_path / "stream.jsonl").read_text().splitlines())
            if record["t"] == "msg" and record["kind"] == "log" and record["fields"].get("source") == "backend"]
    assert logs == ["here I am\n"]
    output = Output()
    for _ in range(100):
        output.add(b"x" * KEPT_OCTETS)
    assert len(output.octets()) < 2 * KEPT_OCTETS + 100 and b"octets left out" in output.octets()


def test_the_faults_of_a_fake_are_read_without_stress() -> None:
    text = ("backend.stress.flips-late                event late\n"
            "backend.deviation.response-duplicate     twice [response.one-per-request]\n")
    assert parse_faults(text) == [Fault("backend.deviation.response-duplicate", "twice", "response.one-per-request")]


def test_a_fault_is_caught_by_a_check_of_its_own_requirement_only(programs: LoopbackPrograms) -> None:
    prepared = prepare(RunOptions(role="backend", bed="loopback", peer="displif-fake-backend"), Progress(quiet=True))
    bench = Bench(prepared)
    fault = Fault("backend.deviation.response-duplicate", "a response comes twice", "response.one-per-request")
    cases = prepared.suite.citing(fault.requirement)
    assert bench.line(fault, cases, full=False).by
    other = Fault(fault.id, fault.title, "bus.backend-closes")
    line = bench.line(other, cases[:1], full=False)
    assert not line.by and line.why


def test_a_survivor_shows_in_the_table() -> None:
    fault = Fault("backend.omission.leaks", "leaks", "health.grants-released")
    text = table([Line(fault, (), 2, "every case passes or is skipped")], [])
    assert "survivor: backend.omission.leaks" in text and "0 of 1 faults caught, 0 false alarms" in text
