"""Cases as pytest items, on a fake bed."""
from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from lab.build import ROOT
from reports.model import Run, read_run

CONFTEST = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from lab import pytest_plugin, run
from lab.build import Programs
from lab.tests import fakes
KNOWN, BAD, DEAD, SKIP = "frontend.ring.known", "frontend.ring.bad", "frontend.ring.dead", "frontend.ring.skip"
def script(case):
    if case in (KNOWN, BAD):
        return fakes.bad(case)
    if case == DEAD:
        return [fakes.begin(case), fakes.die]
    if case == SKIP:
        return [fakes.begin(case), fakes.record("skip", case, reason="no EDID"), fakes.verdict(case, "skip", "no EDID")]
    return fakes.good(case)
run.build_carried = lambda progress, arch=None: Programs(Path("."))
run.load_suite = lambda runner, role: fakes.suite("frontend.ring.good", KNOWN, BAD, DEAD, SKIP, monitors=("frontend.monitor.zero",))
pytest_plugin.open_bed = lambda prepared, progress: fakes.FakeBed(script)
"""
EXPECTED = """\
- {case: frontend.ring.known, bed: qemu, versions: "*", verdict: fail, reason: known to fail, reference: here, owner: me, expires: 2999-01-01}
"""


def verdicts(run: Run) -> dict[str, str | None]:
    return {name: case.verdict for (name, _), case in run.cases.items() if case.verdict is not None}


@pytest.fixture
def outer(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest(CONFTEST)
    pytester.makefile(".yaml", expected=EXPECTED)
    pytester.makepyfile(test_other="def test_unrelated(): assert False")
    return pytester


def items(outer: pytest.Pytester, *words: str) -> pytest.RunResult:
    return outer.runpytest_subprocess("-p", "lab.pytest_plugin", "--bed", "qemu", "--out", "run",
                                      "--expectations", "expected.yaml", *words)


def test_each_case_is_an_item_with_its_outcome(outer: pytest.Pytester) -> None:
    result = items(outer, "-v", "-rx")
    result.assert_outcomes(passed=1, failed=2, skipped=2, xfailed=1)
    result.stdout.fnmatch_lines(["qemu::frontend.ring.good PASSED*"])
    result.stdout.fnmatch_lines(["*known to fail*"])
    result.stdout.fnmatch_lines(["*ring.id-echoed*Ids are kept.*", "  expected 7", "  saw      8", "*run again:*--case frontend.ring.bad*"])
    result.stdout.fnmatch_lines(["*infrastructure error: the machine ended under the case*"])
    folder = Path(outer.path) / "run"
    assert sorted(p.name for p in folder.iterdir()) == ["junit.xml", "report.html", "stream.jsonl"]


def test_selection_by_glob_and_by_pytests_own_means(outer: pytest.Pytester) -> None:
    items(outer, "--case", "frontend.ring.good").assert_outcomes(passed=1)
    result = outer.runpytest_subprocess("-p", "lab.pytest_plugin", "--bed", "qemu", "--out", "run2", "-k", "good")
    result.assert_outcomes(passed=1, deselected=5)
    assert '"case":"frontend.ring.bad"' not in (Path(outer.path) / "run2" / "stream.jsonl").read_text()


def test_collect_only_runs_nothing(outer: pytest.Pytester) -> None:
    result = items(outer, "--collect-only", "-q")
    result.stdout.fnmatch_lines(["qemu::frontend.ring.bad"])
    assert not (Path(outer.path) / "run").exists()


def test_stop_at_the_first_failure_ends_the_run(outer: pytest.Pytester) -> None:
    result = items(outer, "-x", "--jobs", "1")
    assert result.ret == 1


@pytest.mark.parametrize("words, wanted", [
    (["--case", "frontend.nothing"], "*matches no case*"), (["--peer", "nosuch"], "*no such descriptor*"),
])
def test_bad_input_is_a_usage_error(outer: pytest.Pytester, words: list[str], wanted: str) -> None:
    result = items(outer, *words)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([wanted])


def test_without_bed_pytest_is_as_always(outer: pytest.Pytester) -> None:
    outer.runpytest_subprocess("-p", "lab.pytest_plugin").assert_outcomes(failed=1)


xdist = pytest.mark.skipif(importlib.util.find_spec("xdist") is None, reason="pytest-xdist is not installed")


@xdist
def test_processes_of_xdist_run_shards_that_become_one_run(outer: pytest.Pytester) -> None:
    """What one process makes of it, two do together; a monitor is an item of each."""
    one = items(outer)
    one.assert_outcomes(passed=1, failed=2, skipped=2, xfailed=1)
    two = outer.runpytest_subprocess("-p", "lab.pytest_plugin", "--bed", "qemu", "--out", "both", "--expectations", "expected.yaml", "-n", "2")
    two.assert_outcomes(passed=1, failed=2, skipped=3, xfailed=1)
    two.stdout.fnmatch_lines(["displif-cts: *both/report.html"])
    alone, together = (read_run(Path(outer.path) / name / "stream.jsonl") for name in ("run", "both"))
    assert together.damage.complete, together.damage.notes
    assert verdicts(together) == verdicts(alone) and len(verdicts(alone)) == 6
    assert together.run["merged"] and (Path(outer.path) / "both" / "junit.xml").exists()


@xdist
def test_pytests_own_selection_is_that_of_all_shards(outer: pytest.Pytester) -> None:
    two = outer.runpytest_subprocess("-p", "lab.pytest_plugin", "--bed", "qemu", "--out", "both", "-n", "2", "-k", "good or dead")
    two.assert_outcomes(passed=1, failed=1)
    assert set(verdicts(read_run(Path(outer.path) / "both" / "stream.jsonl"))) == {"frontend.ring.good", "frontend.ring.dead"}
    half = outer.runpytest_subprocess("-p", "lab.pytest_plugin", "--bed", "qemu", "--out", "half", "-n", "2", "-k", "good")
    half.stdout.fnmatch_lines(["displif-cts: not merged: *shard 2/2 is missing*"])


@xdist
def test_fewer_cases_than_processes(outer: pytest.Pytester) -> None:
    outer.runpytest_subprocess("-p", "lab.pytest_plugin", "--bed", "qemu", "--out", "both", "-n", "3", "--case", "frontend.ring.good",
                               "--case", "frontend.ring.skip").assert_outcomes(passed=1, skipped=1)
    assert len(verdicts(read_run(Path(outer.path) / "both" / "stream.jsonl"))) == 2


@xdist
@pytest.mark.parametrize("words, wanted", [
    (["--case", "frontend.nothing"], "*matches no case*"), (["--shard", "1/2"], "*one of them*"), (["--out", "."], "*"),
])
def test_bad_input_is_said_once_under_xdist(outer: pytest.Pytester, words: list[str], wanted: str) -> None:
    result = outer.runpytest_subprocess("-p", "lab.pytest_plugin", "--bed", "qemu", "-n", "2", *words)
    assert result.ret != pytest.ExitCode.OK
    (result.stderr if result.stderr.lines else result.stdout).fnmatch_lines([wanted])
