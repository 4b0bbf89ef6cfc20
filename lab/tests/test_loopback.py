"""The loopback bed: a backend under test as a process, however it behaves."""
from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from lab.build import ROOT, LoopbackPrograms, build_loopback
from lab.loopback import LoopbackBed, PeerCommand
from lab.loopback.command import KEPT_OCTETS, Output
from lab.progress import Progress
from lab.qemu.errors import BedError
from lab.witness import Witness
from lab.schedule import Settings, Scheduler, batches_for
from lab.recording import Recording
from lab.selftest import Bench, Fault, Line, mutants_of, parse_faults, table
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
    Scheduler(LoopbackBed(programs, command, "backend"), programs.carried, recording, settings).run(batches_for([chosen], 1, 1), 1)
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
        with LoopbackBed(programs, PeerCommand(argv, ready), "backend"):
            pass


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs as somebody else builds them, against Xen's own libraries: `absent` calls what loopback lacks and ends,
    `lost` needs a library that is no more."""
    folder = tmp_path_factory.mktemp("foreign")
    sources = {"gone.c": "int gone(void) { return 1; }", "lost.c": "int gone(void); int main(void) { return gone(); }",
               "absent.c": "#include <stddef.h>\n#include <xenctrl.h>\n"
                           "int main(void) { xc_interface *x = xc_interface_open(NULL, NULL, 0);"
                           " return xc_domain_unpause(x, 1) ? 4 : xc_hvm_inject_trap(x, 1, 0, 0, 0, 0, 0, 0) != 0 ? 5 : 0; }"}
    for name, text in sources.items():
        (folder / name).write_text(text)
    compiler = ["gcc", "-o"]
    subprocess.run([*compiler, folder / "libgone.so", "-shared", "-fPIC", folder / "gone.c"], check=True)
    subprocess.run([*compiler, folder / "lost", folder / "lost.c", f"-L{folder}", "-lgone"], check=True)
    subprocess.run([*compiler, folder / "absent", folder / "absent.c", "-lxenctrl"], check=True)
    (folder / "libgone.so").unlink()
    return folder


@pytest.mark.parametrize("program, message", [
    ("lost", "ended with status 127 before it was ready: .*libgone.so: cannot open shared object file"),
    ("absent", r"before it was ready: .*\(it uses xc_\w+\(\), which loopback lacks: try --bed qemu\)"),
])
def test_what_a_foreign_program_lacks_is_named(programs: LoopbackPrograms, foreign: Path, program: str, message: str) -> None:
    with pytest.raises(BedError, match=message):
        with LoopbackBed(programs, PeerCommand([str(foreign / program)], "^ready"), "backend"):
            pass


def test_a_descriptor_takes_its_program_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    descriptor = {"name": "theirs", "command": ["$THEIR_BACKEND", "-v"]}
    monkeypatch.setenv("THEIR_BACKEND", "/opt/theirs")
    command = PeerCommand.of(descriptor, None)
    assert command.argv == ["/opt/theirs", "-v"] and command.shown() == "$THEIR_BACKEND -v"  # no path of this machine in a stream
    monkeypatch.delenv("THEIR_BACKEND")
    with pytest.raises(BedError, match="THEIR_BACKEND does not name the program of theirs"):
        PeerCommand.of(descriptor, None)


WESTON = shutil.which("weston")


@pytest.mark.skipif(WESTON is None, reason="weston is not installed")
def test_a_compositor_is_there_for_a_backend_that_wants_one(programs: LoopbackPrograms, tmp_path: Path) -> None:
    mark = f"displif-cts-mark-{os.getpid()}-{time.monotonic_ns()}"
    text = f": {mark}; [ -S $XDG_RUNTIME_DIR/$WAYLAND_DISPLAY ] && echo there; sleep 60"
    one_verdict(programs, PeerCommand(["sh", "-c", text], "^there", compositor=True), tmp_path)
    assert not processes_with(mark)


class Gone:
    """A compositor that has ended, and a backend that ended over that."""

    def trouble(self) -> str:
        return "it ended with status 1"

    def complaints(self) -> str:
        return ""

    def said(self) -> str:
        return ""


def test_the_end_of_the_compositor_is_not_the_backends_fault() -> None:
    lines: list[dict[str, Any]] = []
    witness = Witness(Gone(), Gone(), lambda raw: lines.append(json.loads(raw)))
    for record in ({"v": 1, "t": "begin", "ns": 1, "case": "c", "requirements": [], "timeout_ms": 1},
                   {"v": 1, "t": "verdict", "ns": 2, "case": "c", "verdict": "pass", "reason": "", "attempt": 1}):
        witness.line(json.dumps(record).encode())
    assert (lines[-1]["verdict"], lines[-1]["reason"]) == ("infra-error", "it ended with status 1")


def test_no_weston_is_said_once(programs: LoopbackPrograms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(BedError, match="weston is not installed"):
        with LoopbackBed(programs, PeerCommand(["true"], None, compositor=True), "backend"):
            pass


DISPL_BE = os.environ.get("DISPLIF_DISPL_BE")


@pytest.mark.skipif(not DISPL_BE, reason="DISPLIF_DISPL_BE does not name displ_be: an independent backend is not run")
def test_displ_be_keeps_what_is_expected_of_it(tmp_path: Path) -> None:
    done = subprocess.run([ROOT / "displif-cts", "run", "--role", "backend", "--peer", "displ-be-wayland", "--out", tmp_path / "run",
                           "--case", "backend.pg-flip.*", "--case", "backend.fb-attach.*", "--case", "backend.dbuf-create.zero-cookie"],
                          capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("text, verdict, reason", [
    # mark, then: dies under the case
    ("sleep 0.3; kill -SEGV $$", "crash", "the peer ended by SIGSEGV"),
    ("sleep 0.3; exit 5", "crash", "the peer ended with status 5"),
    ("echo '==7==ERROR: AddressSanitizer: heap-use-after-free on address 0x1'; sleep 60", "crash",
     "the peer's sanitizer reports ERROR: AddressSanitizer: heap-use-after-free"),
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
    assert mutants_of(parse_faults(text)) == [Fault("backend.deviation.response-duplicate", "twice", "response.one-per-request")]


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
    line = Line(fault, (), 2, "every case passes or is skipped")
    text = table([line], [], {})
    assert "survivor: backend.omission.leaks" in text and "0 of 1 faults caught, 0 false alarms, 0 known survivors" in text
    assert "known survivor: backend.omission.leaks: nobody looks" in table([line], [], {fault.id: "nobody looks"})
    caught = Line(fault, ("some.case",), 1)
    assert "caught, and still in selftest.yaml: backend.omission.leaks" in table([caught], [], {fault.id: "nobody looks"})
