"""`pytest --bed host --board FILE`, and what is behind it, on a board that is a script of ours."""
from __future__ import annotations

import base64
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from lab import board
from lab.build import ROOT
from lab.errors import Stop
from lab.tests import fakes
from reports.model import read_run

GOOD, BAD = "frontend.ring.good", "frontend.ring.bad"
CONFTEST = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from lab import run
from lab.build import Programs
from lab.tests import fakes
run.build_carried = lambda progress, arch=None: Programs(Path("."))
run.load_suite = lambda runner, role: fakes.suite({GOOD!r}, {BAD!r}, monitors=("frontend.monitor.zero",))
"""


def infra(case: str) -> list[dict[str, Any]]:
    return [fakes.begin(case), fakes.record("error", case, text="no agent"), fakes.verdict(case, "infra-error", "no agent")]


def console(*cases: list[dict[str, Any]], whole: bool = True, end: bool = True) -> str:
    """What a board prints: its own head and its own verdict of the monitor are not the host's."""
    records = [{"v": 1, "t": "run", "ns": 1, "suite": "displif-cts", "bed": "host", "peer": {"name": "board"}, "seed": 1}, *(r for case in cases for r in case),
               fakes.record("check", "frontend.monitor.zero", requirement="wire.reserved-zero", level="must", expected=["0"], seen="0", ok=True, during=GOOD),
               fakes.verdict("frontend.monitor.zero", "fail")]
    stream = "".join(json.dumps(record) + "\n" for record in records).encode()
    packed = base64.b64encode(gzip.compress(stream)).decode()
    lines = ["booting", f"displif-cts: stream {hashlib.sha256(stream).hexdigest()}", *(f"displif-cts> {packed[i:i + 76]}" for i in range(0, len(packed), 76))]
    return "\n".join([*(lines if whole else lines[:-1]), *(["displif-cts: end, status 1", ""] if end else [""])])


def descriptor(folder: Path, *consoles: str, **more: Any) -> Path:
    """A board that prints the first console when it is called first, and so on; and notes what it was asked for."""
    for number, text in enumerate(consoles, 1):
        (folder / f"console.{number}").write_text(text)
    script = folder / "board.sh"
    script.write_text(f'#!/bin/sh\ncd {folder}\necho "$*" >>asked\ncat "console.$(grep -c "" asked)"\n[ -z "$STAY" ] || sleep 100\n')
    script.chmod(0o755)
    file = folder / "board.yaml"
    file.write_text(json.dumps({"name": "one", "connect": f"{script} {{selection}}", **more}))
    return file


@pytest.fixture
def outer(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest(CONFTEST)
    return pytester


def items(outer: pytest.Pytester, file: Path, *words: str) -> pytest.RunResult:
    return outer.runpytest_subprocess("-p", "lab.pytest_plugin", "--bed", "host", "--board", str(file), "--out", "run", *words)


def test_a_boards_cases_are_items_and_its_stream_becomes_the_runs(outer: pytest.Pytester) -> None:
    file = descriptor(Path(outer.path), console(fakes.good(GOOD), fakes.bad(BAD)))
    items(outer, file).assert_outcomes(passed=2, failed=1)  # the monitor is judged here, over what it saw
    found = read_run(Path(outer.path) / "run" / "stream.jsonl")
    assert found.damage.complete, found.damage.notes
    assert found.run["bed"] == "host" and found.env["board"]["name"] == "one"
    assert {name: case.verdict for (name, _), case in found.cases.items()} == {GOOD: "pass", BAD: "fail", "frontend.monitor.zero": "pass"}


def test_only_infrastructure_errors_are_run_again(outer: pytest.Pytester) -> None:
    file = descriptor(Path(outer.path), console(infra(GOOD), fakes.bad(BAD)), console(fakes.good(GOOD)), retries=3)
    items(outer, file).assert_outcomes(passed=2, failed=1)
    asked = (Path(outer.path) / "asked").read_text().splitlines()
    assert asked == [f"--case {BAD} --case {GOOD}", f"--case {GOOD}"]
    assert '"t":"retried","ns":' in (Path(outer.path) / "run" / "stream.jsonl").read_text()  # and it is told


def test_without_retries_an_infrastructure_error_stays_one(outer: pytest.Pytester) -> None:
    result = items(outer, descriptor(Path(outer.path), console(infra(GOOD), fakes.bad(BAD))))
    result.stdout.fnmatch_lines(["*infrastructure error: no agent*"])
    assert len((Path(outer.path) / "asked").read_text().splitlines()) == 1


def test_a_shard_of_a_board(outer: pytest.Pytester) -> None:
    file = descriptor(Path(outer.path), console(fakes.good(GOOD)))
    items(outer, file, "--shard", "2/2").assert_outcomes(passed=2)
    assert (Path(outer.path) / "asked").read_text() == f"--case {GOOD}\n"


@pytest.mark.parametrize("text", [console(fakes.good(GOOD), whole=False), console(fakes.good(GOOD), whole=False, end=False), "no Xen here\n"],
                         ids=("damaged", "damaged-and-cut", "another-console"))
def test_a_stream_that_does_not_come_whole_proves_nothing(outer: pytest.Pytester, text: str) -> None:
    result = items(outer, descriptor(Path(outer.path), text))
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(["*no verdict: *its stream did not come whole*"])


def test_a_board_that_hangs_is_left_after_its_minutes(outer: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAY", "yes")
    items(outer, descriptor(Path(outer.path), "booting\n", minutes=0.02)).assert_outcomes(failed=3)


@pytest.mark.parametrize("words, wanted", [
    (["--bed", "host"], "*belong together*"), (["--bed", "qemu", "--board", "x.yaml"], "*belong together*"), (["--bed", "qemu", "--shard", "3/2"], "*is no shard*"), (["--bed", "host", "--board", "none.yaml"], "*none.yaml*")])
def test_bad_input(outer: pytest.Pytester, words: list[str], wanted: str) -> None:
    result = outer.runpytest_subprocess("-p", "lab.pytest_plugin", *words)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([wanted])


@pytest.mark.parametrize("text, wanted", [("[]", "name and connect"), ("{name: a, connect: b, conect: c}", "conect is no key"), ("{name: a, connect: b, minutes: 0}", "minutes"),
                                          ("{name: a, connect: b, retries: -1}", "retries"), ("{", "board descriptor")])
def test_bad_descriptors(tmp_path: Path, text: str, wanted: str) -> None:
    (tmp_path / "b.yaml").write_text(text)
    with pytest.raises(Stop, match=wanted):
        board.load_board(str(tmp_path / "b.yaml"))
