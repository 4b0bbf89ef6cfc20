"""The command line on a fake bed: what it prints, writes and returns."""
from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Callable

import pytest

from lab import cli, cli_run, run as lab_run
from lab.build import ROOT, Programs
from lab.progress import Progress
from lab.qemu.errors import BedError
from lab.tests import fakes

A, B = "frontend.ring.a", "frontend.ring.b"
MONITOR = "frontend.monitor.reserved-zero"
EXPECTED = """\
- {case: frontend.ring.b, bed: qemu, versions: "*", verdict: fail, reason: known, reference: here, owner: me, expires: 2999-01-01}
"""


@pytest.fixture
def bed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> fakes.FakeBed:
    """`displif-cts run` on a fake bed, with a suite of two cases and a monitor."""
    bed = fakes.FakeBed()
    monkeypatch.setattr(lab_run, "build_carried", lambda progress, arch=None: Programs(tmp_path))
    monkeypatch.setattr(lab_run, "load_suite", lambda runner, role: fakes.suite(A, B, monitors=(MONITOR,)))
    monkeypatch.setattr(cli_run, "fetching", nullcontext)
    monkeypatch.setattr(cli_run, "open_bed", lambda prepared, progress: bed)
    monkeypatch.setattr(cli_run, "build_carried", lambda progress, arch=None: Programs(tmp_path))
    monkeypatch.setattr(cli_run, "load_suite", lambda runner, role: fakes.suite(A, B, monitors=(MONITOR,)))
    return bed


def nothing_expected(tmp_path: Path) -> str:
    """The peer's own expectations are about cases that the fake bed does not have."""
    tmp_path.mkdir(exist_ok=True)
    file = tmp_path / "nothing-expected.yaml"
    file.write_text("[]\n")
    return str(file)


def run(tmp_path: Path, *options: str) -> int:
    return cli.main(["run", "--out", str(tmp_path / "out"), "--expectations", nothing_expected(tmp_path), *options])


def test_a_good_run(bed: fakes.FakeBed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("AS EXPECTED") and str(tmp_path / "out" / "report.html") in shown.out
    assert "2/2 pass" in shown.err and "cases     done in" in shown.err
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["junit.xml", "report.html", "stream.jsonl"]
    head = json.loads((tmp_path / "out" / "stream.jsonl").read_text().splitlines()[0])
    assert head["argv"][0] == "./displif-cts"
    assert head["peer"]["name"] == "linux-drm-xen-front" and head["seed"] == 1


def test_a_surprise_and_its_expectation(bed: fakes.FakeBed, tmp_path: Path) -> None:
    bed.script = lambda case: fakes.bad(case) if case == B else fakes.good(case)
    file = tmp_path / "expected.yaml"
    file.write_text("")
    assert run(tmp_path / "1", "--expectations", str(file)) == 1
    file.write_text(EXPECTED)
    assert run(tmp_path / "2", "--expectations", str(file)) == 0
    bed.script = fakes.good
    assert run(tmp_path / "3", "--expectations", str(file)) == 1


@pytest.mark.parametrize("options, status, wanted", [
    (["--case", "frontend.rign.a"], 3, "--case frontend.rign.a matches no case; nothing ran\n  near: frontend.ring.a"),
    (["--case", "*", "--case", "frontend.x.*"], 3, "--case frontend.x.* matches no case"),
    (["--exclude", "*"], 3, "the selection leaves no case"),
    (["--case", "frontend.monitor.*"], 3, "monitors judge other cases"),
    (["--shard", "3/3"], 3, "the shard is empty"),
    (["--case", "Frontend"], 2, "case ids are made of"),
    (["--case", ""], 2, "case ids are made of"),
    (["--shard", "0/3"], 2, "is no shard"),
    (["--shard", "x"], 2, "is no shard"),
    (["--jobs", "0"], 2, "invalid positive number value: '0'"),
    (["--jobs", "many"], 2, "invalid positive number"),
    (["--jobs", "100000"], 2, "at most 256"),
    (["--repeat", "-1"], 2, "invalid positive number"),
    (["--seed", "-1"], 2, "invalid natural number"),
    (["--bed", "moon"], 2, "invalid choice: 'moon'"),
    (["--role", "kernel"], 2, "invalid choice: 'kernel'"),
    (["--role", "backend", "--keep"], 2, "--keep is for the qemu bed"),
    (["--role", "backend", "--module", "/bin/true"], 2, "--module is for the qemu bed"),
    (["--role", "backend", "--kernel", "/bin/true", "--modules", "/"], 2, "--kernel is for the qemu bed"),
    (["--role", "backend", "--processors", "2"], 2, "--processors is for the qemu bed"),
    (["--role", "backend", "--paranoid"], 2, "--paranoid is for the qemu bed"),
    (["--role", "backend", "--bed", "qemu", "--module", "/bin/true"], 2, "the suite plays the frontend"),
    (["--role", "frontend", "--bed", "loopback", "--peer", "linux-drm-xen-front"], 2, "the loopback bed runs commands only"),
    (["--peer", "displif-fake-frontend", "--bed", "qemu", "--module", "/bin/true"], 2, "peer displif-fake-frontend is a program"),
    (["--peer", "displif-fake-frontend", "--arch", "arm64"], 2, "is a program of this machine"),
    (["--peer-command", "./x"], 2, "--peer-command is for --role backend"),
    (["--role", "backend", "--peer", "linux-drm-xen-front"], 2, "is a frontend, and --role is backend"),
    (["--format", "pdf"], 2, "invalid choice"),
    (["--peer", "linux-drm-xen-frnt"], 2, "there is: linux-drm-xen-front"),
    (["--peer", "/nowhere/x.yaml"], 2, "peer descriptor /nowhere/x.yaml: No such file"),
    (["--peer", "/dev/null"], 2, "not a mapping"),
    (["--expectations", "/nowhere.yaml"], 2, "expectations /nowhere.yaml: No such file"),
    (["--expectations", "/proc/self/mem"], 2, "expectations /proc/self/mem: "),
    (["--expectations", "/bin/true"], 2, "not a text file"),
    (["--module", "/nowhere.ko"], 2, "--module /nowhere.ko: No such file"),
    (["--driver-source", "/nowhere"], 2, "--driver-source /nowhere: No such file"),
    (["--driver-source", "/bin/true"], 2, "Not a directory"),
    (["--kernel", "/bin/true"], 2, "--kernel and --modules belong together"),
    (["--xen", "/bin/true"], 2, "--xen and --xen-tools belong together"),
    (["--module", "/bin/true", "--driver-source", "/"], 2, "exclude each other"),
    (["--keep"], 2, "select one with --case"),
    (["--unknown"], 2, "unrecognized arguments: --unknown"),
])
def test_bad_input_is_one_clear_message(bed: fakes.FakeBed, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                        options: list[str], status: int, wanted: str) -> None:
    assert run(tmp_path, *options) == status
    shown = capsys.readouterr()
    assert wanted in shown.err and "Traceback" not in shown.err and shown.out == ""
    assert not (tmp_path / "out").exists() and bed.started == []


def test_out_that_is_a_file(bed: fakes.FakeBed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("")
    assert run(tmp_path) == 2
    assert "not a folder" in capsys.readouterr().err


def test_a_second_run_into_the_same_folder_is_refused(bed: fakes.FakeBed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path) == 0
    kept = (tmp_path / "out" / "stream.jsonl").read_bytes()
    assert run(tmp_path) == 2
    assert "a run is never written over another" in capsys.readouterr().err
    assert (tmp_path / "out" / "stream.jsonl").read_bytes() == kept


def test_two_runs_at_once_keep_apart(bed: fakes.FakeBed, tmp_path: Path) -> None:
    options = lab_run.RunOptions(jobs=2, expectations=Path(nothing_expected(tmp_path)))

    def one(name: str) -> None:
        prepared = lab_run.prepare(options, Progress(quiet=True))
        folder = lab_run.make_folder(tmp_path / name)
        lab_run.execute(prepared, bed, bed.facts(), folder, lambda *_: None)

    threads = [threading.Thread(target=one, args=(name,)) for name in ("1", "2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in ("1", "2"):
        assert cli.main(["report", str(tmp_path / name)]) == 0


def test_folders_of_runs_in_the_same_second_differ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(lab_run, "ROOT", tmp_path)
    folders = {lab_run.make_folder(None) for _ in range(5)}
    assert len(folders) == 5


def test_list_and_shards_cover_everything_once(bed: fakes.FakeBed, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [MONITOR, A, B]
    seen = []
    for shard in ("1/2", "2/2"):
        assert cli.main(["run", "--list", "--shard", shard]) == 0
        seen += [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert sorted(seen) == sorted([MONITOR, MONITOR, A, B])


@pytest.mark.parametrize("form, start", [("jsonl", '{"v":1,"t":"run"'), ("ktap", "KTAP version 1"), ("junit", "<?xml")])
def test_format_goes_to_stdout_alone(bed: fakes.FakeBed, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, start: str) -> None:
    assert run(tmp_path, "--format", form) == 0
    assert capsys.readouterr().out.startswith(start)


def test_a_bed_that_does_not_come_up(bed: fakes.FakeBed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*_: Any) -> Any:
        raise BedError("the packages cannot be downloaded", "is the network there?")

    monkeypatch.setattr(cli_run, "fetching", nullcontext)
    monkeypatch.setattr(cli_run, "open_bed", broken)
    assert run(tmp_path) == 3
    assert "displif-cts: the packages cannot be downloaded\n  is the network there?\n" in capsys.readouterr().err


def test_a_disk_without_room(bed: fakes.FakeBed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Usage:
        free = 1 << 20

    monkeypatch.setattr(lab_run.shutil, "disk_usage", lambda _: Usage)
    assert run(tmp_path) == 3
    assert "MiB free" in capsys.readouterr().err


def test_a_disk_that_fills_up_during_the_run(bed: fakes.FakeBed, tmp_path: Path) -> None:
    """A limit on file sizes behaves as a full disk does, in a process of its own."""
    done = driver(tmp_path, """
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))
    """, "fakes.FakeBed(lambda c: [fakes.begin(c)] + [fakes.check(c, True)] * 200 + [fakes.verdict(c)])")
    assert done.returncode == 3, done.stderr
    assert "cannot write" in done.stderr and "File too large" in done.stderr and "Traceback" not in done.stderr
    assert done.stdout.startswith("INCOMPLETE")


DRIVER = """\
import sys
from contextlib import nullcontext
sys.path.insert(0, {root!r})
from pathlib import Path
from lab import cli, cli_run, run
from lab.build import Programs
from lab.tests import fakes
run.build_carried = lambda progress, arch=None: Programs(Path("."))
run.load_suite = lambda runner, role: fakes.suite("frontend.ring.a", "frontend.ring.b")
cli_run.fetching = nullcontext
cli_run.open_bed = lambda prepared, progress: {bed}
{more}
sys.exit(cli.main(["run", "--out", {out!r}, "--expectations", {expected!r}]))
"""


def program(tmp_path: Path, more: str, bed: str) -> list[str]:
    text = DRIVER.format(root=str(ROOT), bed=bed, more=textwrap.dedent(more), out=str(tmp_path / "out"),
                         expected=nothing_expected(tmp_path))
    return [sys.executable, "-c", text]


def driver(tmp_path: Path, more: str, bed: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(program(tmp_path, more, bed), capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_quickly_and_readably(tmp_path: Path, number: int, status: int) -> None:
    child = subprocess.Popen(program(tmp_path, "", "fakes.FakeBed(lambda c: [fakes.begin(c), fakes.hang_until_killed])"),
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))  # as a script's `&` does
    wait_for(lambda: (tmp_path / "out" / "stream.jsonl").exists() and (tmp_path / "out" / "stream.jsonl").stat().st_size > 0)
    time.sleep(0.3)
    start = time.monotonic()
    child.send_signal(number)
    out, err = child.communicate(timeout=20)
    assert time.monotonic() - start < 3
    assert child.returncode == status and "Traceback" not in err
    assert out.startswith("INCOMPLETE")
    assert (tmp_path / "out" / "junit.xml").exists() and "INCOMPLETE" in (tmp_path / "out" / "report.html").read_text()


def wait_for(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_keep_gives_a_shell_in_the_cases_machine(bed: fakes.FakeBed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(cli_run, "console", lambda machine: seen.append((machine, machine.killed.is_set())))
    assert run(tmp_path, "--keep", "--case", A) == 0
    assert len(seen) == 1 and not seen[0][1] and seen[0][0].killed.is_set()


@pytest.mark.parametrize("target, status, wanted", [
    ("/nowhere", 2, "No such file"), ("/etc/passwd", 3, "not JSON"), ("/dev/null", 3, "no plan"),
])
def test_report_of_what_is_no_run(target: str, status: int, wanted: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", target]) == status
    shown = capsys.readouterr()
    assert wanted in shown.out + shown.err and "Traceback" not in shown.err


def test_report_makes_every_format_again(bed: fakes.FakeBed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path) == 0
    (tmp_path / "out" / "report.html").unlink()
    assert cli.main(["report", str(tmp_path / "out"), "--format", "all"]) == 0
    assert (tmp_path / "out" / "report.html").exists() and (tmp_path / "out" / "report.ktap").exists()


def test_no_command_prints_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "run" in capsys.readouterr().out
