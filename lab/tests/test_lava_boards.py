"""Jobs for boards, run by LAVA's own lava-run; the board is a script that says on its console what a dom0 says there."""
from __future__ import annotations

import base64
import gzip
import hashlib
from pathlib import Path
from typing import Sequence

import pytest
import yaml

from lab.cli_lab import run_job
from lab.lava import images, job, lint, results, tools
from lab.lava.job import JobOptions
from lab.progress import Progress
from lab.qemu.cache import Cache
from lab.qemu.errors import BedError
from reports.tests import streams as s


@pytest.fixture(scope="module")
def lava() -> tools.LavaTools:
    try:
        tools.as_root()
    except BedError as error:
        pytest.skip(error.message)
    return tools.obtain(Cache(None), lambda *_: None)


def signal(name: str, result: str, seconds: str = "1.500") -> str:
    return f"<LAVA_SIGNAL_TESTCASE TEST_CASE_ID={name} RESULT={result} MEASUREMENT={seconds} UNITS=seconds>"


GOOD, BAD = signal(s.GOOD, "pass"), signal(s.BAD, "fail")


def console(folder: Path, signals: Sequence[str] = (GOOD, BAD), status: int = 1) -> list[str]:
    """What lab/lava/dom0 prints of a run of two cases."""
    stream = s.write(folder, [*s.head((s.GOOD, s.BAD)), *s.good(), *s.bad()]).read_bytes()
    (folder / "stream.jsonl").unlink()
    packed = base64.b64encode(gzip.compress(stream)).decode()
    return ["Xen 4.17", "<LAVA_SIGNAL_TESTSET START displif-cts>", "displif-cts: 2 planned", *signals, "displif-cts: 2 told", "<LAVA_SIGNAL_TESTSET STOP>",
            "displif-cts: results end", f"displif-cts: stream {hashlib.sha256(stream).hexdigest()}",
            *(f"displif-cts> {packed[i:i + 76]}" for i in range(0, len(packed), 76)), f"displif-cts: end, status {status}"]


def run(lava: tools.LavaTools, folder: Path, lines: Sequence[str], then: str = "sleep 100", seconds: int = 120, start: str | None = None) -> tuple[int, results.JobResults]:
    """A job on a board that prints the lines, at once or when `start` is typed, and then does what `then` says."""
    text = folder / "console"
    text.write_text("\n".join(lines) + "\n")
    board = folder / "board"
    board.write_text(f"#!/bin/sh\ncat {text}\n{then}\n" if start is None else "#!/bin/sh\nPS1='board# ' exec sh -i\n")
    board.chmod(0o755)
    written = job.running_job(JobOptions(start=start, prompts=("board# $",), minutes=60))
    (folder / "job.yaml").write_text(written.replace("minutes: 60", f"seconds: {seconds}"))
    (folder / "device.yaml").write_text(job.board_device(str(board)))
    return run_job(lava, folder, Progress(quiet=True)), results.read(folder / "lava.log")


def test_a_board_whose_dom0_starts_the_suite(lava: tools.LavaTools, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = run(lava, tmp_path, console(tmp_path))
    assert status == 0, capsys.readouterr()
    assert found.job == "pass" and found.cases == {s.GOOD: "pass", s.BAD: "fail"} and found.stream() == (tmp_path / "stream.jsonl").read_bytes()


def test_a_board_at_whose_prompt_the_suite_is_started(lava: tools.LavaTools, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = run(lava, tmp_path, console(tmp_path), start=f"echo displif-cts: starting; cat {tmp_path / 'console'}")
    assert status == 0, capsys.readouterr()
    assert found.cases == {s.GOOD: "pass", s.BAD: "fail"}


def test_garbage_in_the_middle_of_a_signal(lava: tools.LavaTools, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line of the kernel's in a signal: LAVA does not see the verdict, and its loss is named."""
    status, found = run(lava, tmp_path, console(tmp_path, (GOOD, BAD[:40] + "[   12.345678] xen:balloon: cannot add\n" + BAD[40:])))
    said = capsys.readouterr().out
    assert status == 3 and found.job == "pass" and "planned 2, LAVA has 1 results" in said and f"{s.BAD}: the stream says fail (fail), LAVA nothing" in said


def test_a_board_that_goes_away(lava: tools.LavaTools, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The results that came before it stay; the job is an infrastructure error."""
    status, found = run(lava, tmp_path, console(tmp_path)[:4], then="exit 1")
    assert status == 3 and (found.job, found.error, found.cases) == ("fail", "Infrastructure", {s.GOOD: "pass"})
    assert "the job: fail (Infrastructure)" in capsys.readouterr().out


def test_a_board_that_hangs(lava: tools.LavaTools, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = run(lava, tmp_path, console(tmp_path)[:4], seconds=20)
    assert status == 3 and found.job == "fail" and found.cases == {s.GOOD: "pass"}, capsys.readouterr()


def test_trouble_that_is_not_the_peers_raises(lava: tools.LavaTools, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 3 of the suite: an infrastructure error of LAVA's, with whatever results there were."""
    status, found = run(lava, tmp_path, console(tmp_path, status=3))
    assert status == 3 and (found.job, found.error) == ("fail", "Infrastructure") and len(found.cases) == 2, capsys.readouterr()
    nothing = ["displif-cts: cannot run: no disk with the suite", "displif-cts: results end", "displif-cts: end, status 3"]
    folder = tmp_path / "nothing"
    folder.mkdir()
    status, found = run(lava, folder, nothing)
    assert status == 3 and (found.job, found.error, found.cases) == ("fail", "Infrastructure", {})


@pytest.mark.parametrize("start", [None, "displif-cts-dom0 --format lava"])
def test_lavas_schema_takes_the_jobs_for_boards(lava: tools.LavaTools, tmp_path: Path, start: str | None) -> None:
    made = {name: tmp_path / name for name in images.IMAGES}
    for path in made.values():
        path.write_text("")
    options = JobOptions(base_url="http://lab", start=start, tags=("xen",), device_type="board", cases=("frontend.bus.*",))
    for text in (job.running_job(options), job.network_job(made, options)):
        (tmp_path / "job.yaml").write_text(text)
        assert lava.schema_complaints(tmp_path / "job.yaml") == "" and lint.lint_job(text) == []
    commands = yaml.safe_load(job.network_job(made, options))["actions"][0]["boot"]["commands"]
    assert commands[1].startswith("kernel http://lab/xen console=com1") and "displif-cts.case=frontend.bus.*" in commands[2]
    assert lint.lint_device(job.board_device("telnet lab 7001", "pdu off")) == []
