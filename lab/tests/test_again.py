"""A case that fails by surprise is run again alone, and every report says how that went."""
from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lab import run as lab_run
from lab.run import RunOptions
from lab.suite import Selection, select
from lab.tests import fakes
from reports.expectations import from_json
from reports.tests import streams as s
from reports.write import FORMATS, judged_stream, render

A, B = "frontend.a.flaky", "frontend.b.good"


def executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bed: fakes.FakeBed, ids: tuple[str, ...] = (A, B), again: int = 2,
             entries: s.Records = []) -> Any:
    suite = fakes.suite(*ids)
    options = RunOptions(jobs=1, again=again)
    peer = lab_run.load_peer(options.peer, options.role)
    prepared = lab_run.Prepared(options, peer, [from_json(entry) for entry in entries], None,
                                lab_run.Programs(tmp_path), suite, select(suite, Selection()))
    lab_run.execute(prepared, bed, bed.facts(), tmp_path, lambda *_: None)
    return judged_stream(tmp_path / "stream.jsonl")


class Script:
    """The case fails the given times, then passes."""

    def __init__(self, failures: int) -> None:
        self.left = Counter({A: failures})

    def __call__(self, case: str) -> list[Any]:
        self.left[case] -= 1
        return fakes.bad(case) if self.left[case] >= 0 else fakes.good(case)


def test_a_case_that_fails_once_is_red_and_told_as_flaky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bed = fakes.FakeBed(Script(1))
    judged = executed(tmp_path, monkeypatch, bed)
    assert bed.started == [A, B, A, A] and len(bed.machines) == 4  # the failure ended its machine, and each new attempt has its own
    assert judged.exit_status == 1 and judged.again == [A] and judged.trouble == []
    assert [result.outcome for result in judged.results] == ["unexpected-fail", "expected"]
    for form in ("human", "junit", "markdown"):
        assert "bad in 1 of 3 runs, 2 of them alone in a fresh machine" in render(judged, form, tmp_path)
    assert "flaky_rate: 0.33" in judged.results[0].action
    for form in FORMATS:
        render(judged, form, tmp_path)


def test_a_case_that_always_fails_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = executed(tmp_path, monkeypatch, fakes.FakeBed(Script(9)))
    assert "bad in 3 of 3 runs" in render(judged, "human", tmp_path) and "flaky_rate" not in judged.results[0].action


def test_a_known_failure_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bed = fakes.FakeBed(Script(9))
    judged = executed(tmp_path, monkeypatch, bed, entries=[s.expectation(A, bed="*", versions="*")])
    assert bed.started == [A, B] and judged.exit_status == 0


def test_a_peer_that_fails_much_is_not_flaky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = tuple(f"frontend.many.case-{number:02}" for number in range(12))
    bed = fakes.FakeBed(fakes.bad)
    judged = executed(tmp_path, monkeypatch, bed, ids)
    assert sorted(bed.started) == sorted(ids) and judged.exit_status == 1
