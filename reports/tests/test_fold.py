"""The fold agrees with harness/runner/fold_test.cc, row by row."""
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from reports.fold import Fold

Records = list[dict[str, Any]]
ERROR = {"t": "error", "text": "could not open the store"}
SKIP = {"t": "skip", "reason": "no EDID"}


def begin(*ids: str) -> dict[str, Any]:
    return {"t": "begin", "requirements": list(ids)}


def check(name: str, ok: bool, level: str = "must", timed: bool = False) -> dict[str, Any]:
    return {"t": "check", "requirement": name, "level": level, "expected": ["x"], "seen": "y", "ok": ok, "timed": timed}


def health(state: str, own_gap_ms: int = 0) -> dict[str, Any]:
    return {"t": "health", "state": state, "reason": "why", "own_gap_ms": own_gap_ms, "tolerance_ms": 1000}


def process(status: int, number: int, timed_out: bool) -> dict[str, Any]:
    return {"t": "process", "exit_status": status, "signal": number, "timed_out": timed_out}


TABLE: dict[str, tuple[Records, str]] = {
    "all_checks_kept": ([begin("a"), check("a", True)], "pass"),
    "must_broken": ([begin("a"), check("a", False)], "fail"),
    "robust_broken": ([begin("a"), check("a", False, "robust")], "fail"),
    "should_broken": ([begin("a"), check("a", False, "should")], "warn"),
    "may_branch": ([begin("a"), check("a", False, "may")], "pass"),
    "nothing_checked": ([begin()], "infra-error"),
    "requirement_unchecked": ([begin("a", "b"), check("a", True)], "infra-error"),
    "failure_outweighs_unchecked": ([begin("a", "b"), check("a", False)], "fail"),
    "error_outweighs_pass": ([begin("a"), check("a", True), ERROR], "infra-error"),
    "failure_outweighs_error": ([begin("a"), check("a", False), ERROR], "fail"),
    "crash_outweighs_all": ([begin("a"), check("a", False), ERROR, health("crashed")], "crash"),
    "hang_outweighs_failure": ([begin("a"), check("a", False), health("hung")], "hang"),
    "hung_once_is_hung": ([begin("a"), check("a", True), health("hung"), health("ok")], "hang"),
    "late_ourselves_is_no_hang": ([begin("a"), check("a", True), health("hung", 5000)], "infra-error"),
    "late_ourselves_is_no_timed_failure":
        ([begin("a"), check("a", False, "must", True), health("ok", 5000)], "infra-error"),
    "late_ourselves_does_not_excuse_a_wrong_value": ([begin("a"), check("a", False), health("ok", 5000)], "fail"),
    "timed_failure_in_time": ([begin("a"), check("a", False, "must", True), health("ok", 5)], "fail"),
    "health_unknown": ([begin("a"), check("a", True), health("unknown")], "infra-error"),
    "case_process_killed": ([begin("a"), check("a", True), process(0, 11, False)], "infra-error"),
    "case_process_too_slow": ([begin("a"), check("a", True), process(0, 0, True)], "infra-error"),
    "skipped": ([begin("a"), SKIP], "skip"),
}


@pytest.mark.parametrize("name", TABLE)
def test_verdict_is_the_strongest_cause(name: str) -> None:
    records, wanted = TABLE[name]
    fold = Fold()
    for record in records:
        fold.add(record)
    judgement = fold.judge()
    assert judgement.verdict == wanted
    assert bool(judgement.reason) == (wanted != "pass")


def test_every_row_of_the_cpp_table_is_here() -> None:
    source = Path(__file__).parents[2] / "harness" / "runner" / "fold_test.cc"
    rows = dict(re.findall(r'FoldCase\{\s*"(\w+)",.*?Verdict::(\w+)\}', source.read_text(), re.DOTALL))
    assert {name: verdict.replace("_", "-") for name, verdict in rows.items()} == \
        {name: verdict for name, (_, verdict) in TABLE.items()}


def test_monitor_without_checks_saw_nothing() -> None:
    assert Fold().judge_monitor().verdict == "skip"


def test_monitor_fails_on_one_bad_check_among_good_ones() -> None:
    fold = Fold()
    for ok in (True, False, True):
        fold.add(check("a", ok))
    assert fold.judge_monitor().verdict == "fail"
