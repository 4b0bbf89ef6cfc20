"""`test` and `doctor`: sums, statuses, and that a broken step is never green."""
from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from lab import build, cli_doctor, cli_test
from lab.errors import Stop
from lab.process import run_grouped, tail
from lab.progress import Progress

JUNIT = """<testsuites><testsuite>
<testcase name="a"/><testcase name="b"><failure/></testcase><testcase name="c"><skipped/></testcase>
<testcase name="d"><error/></testcase><testcase name="e" status="notrun"/></testsuite></testsuites>"""


def test_sums_of_junit(tmp_path: Path) -> None:
    (tmp_path / "x.xml").write_text(JUNIT)
    assert cli_test.count_junit(tmp_path / "x.xml").text() == "1 passed, 2 failed, 2 skipped"


@pytest.mark.parametrize("text", [None, "", "<a>"])
def test_a_step_without_a_readable_result_failed(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "x.xml").write_text(text)
    assert cli_test.count_junit(tmp_path / "x.xml").failed == 1


@pytest.mark.parametrize("counted, status, failed", [
    (cli_test.Sum(passed=3), 0, 0), (cli_test.Sum(passed=3), 1, 1), (cli_test.Sum(), 0, 1), (cli_test.Sum(skipped=2), 0, 1),
    (cli_test.Sum(passed=1, failed=2), 1, 2),
])
def test_a_step_that_ends_badly_or_ran_nothing_failed(counted: cli_test.Sum, status: int, failed: int) -> None:
    assert cli_test.settle(counted, status, "x").failed == failed


def fake_steps(monkeypatch: pytest.MonkeyPatch, unit: cli_test.Sum, python: cli_test.Sum) -> None:
    monkeypatch.setattr(cli_test, "run_ctest", lambda *_: unit)
    monkeypatch.setattr(cli_test, "run_pytest", lambda *_: python)


def test_the_last_line_is_the_sum(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fake_steps(monkeypatch, cli_test.Sum(2, 0, 1), cli_test.Sum(3, 0, 0))
    assert cli_test.test(full=False, only=None) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "5 passed, 0 failed, 1 skipped"


def test_one_failure_is_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_steps(monkeypatch, cli_test.Sum(2), cli_test.Sum(3, 1))
    assert cli_test.test(full=False, only=None) == 1


def test_a_build_that_breaks_is_a_failure_with_its_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(preset: str) -> Path:
        raise Stop(3, "the build failed (status 1); the end of x.log:\nerror: no")

    monkeypatch.setattr(cli_test, "build", broken)
    assert cli_test.run_ctest("test", Progress(quiet=True), tmp_path).failed == 1
    assert "error: no" in capsys.readouterr().err


def test_a_failing_build_step_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="status 7") as caught:
        build._step(["sh", "-c", "echo first; echo 'x.cc:1: error' >&2; exit 7"], tmp_path / "log", "the build")
    assert "x.cc:1: error" in caught.value.message


def test_a_build_folder_that_cannot_be_made_is_one_message() -> None:
    with pytest.raises(Stop, match="cannot build in"), build._locked(Path("/proc/nothing/x")):
        pass


def test_tidy_judges_each_file_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"good.cc": "int one() { return 1; }\n", "bad.cc": "int* none() { return 0; }\n", "gen/made.cc": "int* made() { return 0; }\n"}
    tree = tmp_path / "gen"
    tree.mkdir()
    (tmp_path / ".clang-tidy").write_text((build.ROOT / ".clang-tidy").read_text())
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    commands = [{"directory": str(tmp_path), "file": str(tmp_path / name), "command": f"g++ -c {name}"} for name in files]
    (tree / "compile_commands.json").write_text(json.dumps(commands))
    monkeypatch.setattr(cli_test, "build", lambda preset, targets: tree)
    assert cli_test.run_tidy(Progress(quiet=True)).text() == "1 passed, 1 failed, 0 skipped"
    assert "bad.cc:1:22: error: use nullptr" in capsys.readouterr().err


def test_an_interrupted_program_leaves_nothing_behind(tmp_path: Path) -> None:
    """The whole group goes: a compiler under ninja under cmake."""
    pid_file = tmp_path / "pid"
    code = (f"import signal, os; signal.signal(signal.SIGALRM, signal.default_int_handler); signal.setitimer(signal.ITIMER_REAL, 0.5);"
            f"from lab.process import run_grouped; run_grouped(['sh', '-c', 'sleep 60 & echo $! > {pid_file}; wait'])")
    done = subprocess.run(["/usr/bin/python3", "-c", code], cwd=build.ROOT, capture_output=True, timeout=30)
    assert done.returncode != 0
    state = Path(f"/proc/{pid_file.read_text().strip()}/stat")
    assert not state.exists() or ") Z " in state.read_text()


def test_statuses_of_programs_come_back() -> None:
    assert run_grouped(["sh", "-c", "exit 9"]) == 9
    assert run_grouped(["sh", "-c", "kill -9 $$"]) == -9


def test_the_tail_of_a_log_that_is_not_there() -> None:
    assert tail(Path("/nowhere")) == ""


def test_doctor_says_what_to_do(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli_doctor, "missing", lambda names: ["cmake"])
    assert cli_doctor.doctor() == 3
    shown = capsys.readouterr().out
    assert "BAD  packages for run: missing cmake\n       sudo apt-get install --no-install-recommends cmake" in shown


@pytest.mark.parametrize("free, status", [(1 << 20, 3), (1 << 40, 0)])
def test_doctor_looks_at_the_room(monkeypatch: pytest.MonkeyPatch, free: int, status: int) -> None:
    class Usage:
        pass

    Usage.free = free  # type: ignore[attr-defined]
    monkeypatch.setattr(cli_doctor.shutil, "disk_usage", lambda _: Usage)
    findings = list(cli_doctor._room())
    assert any(not finding.ok and "GiB" in finding.text for finding in findings) == bool(status)
