"""What `coverage` counts, on made-up suites and on the tree's own."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab.coverage import SHIPPED, Coverage, apply_matrix, broken_by_shipped, measure, table
from lab.errors import Stop
from lab.suite import Case, Suite


def requirement(name: str, role: str = "backend", **more: Any) -> dict[str, Any]:
    return {"id": name, "role": role, "level": "must", "source": {"file": "displif.h", "section": "Requests"}, **more}


SUITE = Suite((Case("backend.a.one", requirements=("a.x", "a.y")), Case("backend.b.two", requirements=("b.z",)),
               Case("backend.monitor.m", requirements=("m.w",), monitor=True)))
ALL = [requirement("a.x"), requirement("a.y"), requirement("b.z", "both"), requirement("m.w")]
FAULTS = {"a.x": ["backend.omission.x"], "b.z": ["backend.omission.z"], "m.w": ["backend.deviation.w"]}


def test_all_is_there() -> None:
    coverage = measure("backend", SUITE, ALL, FAULTS)
    assert coverage.complete
    assert [row.requirement for row in coverage.rows] == ["a.x", "a.y", "b.z", "m.w"]
    assert coverage.rows[3].monitors == ("backend.monitor.m",) and coverage.rows[3].judged


def test_a_requirement_without_case_is_missing_unless_it_says_why() -> None:
    coverage = measure("backend", SUITE, [*ALL, requirement("c.new")], FAULTS)
    assert [row.requirement for row in coverage.without_case] == ["c.new"] and not coverage.complete
    coverage = measure("backend", SUITE, [*ALL, requirement("c.new", no_case="Nobody  can\nsee it.")], FAULTS)
    assert coverage.complete and coverage.excused[0].reason == "Nobody can see it."


def test_another_role_does_not_count() -> None:
    assert measure("backend", SUITE, [*ALL, requirement("f.new", "frontend")], FAULTS).complete


def test_a_case_that_nothing_can_break_is_missing() -> None:
    coverage = measure("backend", SUITE, ALL, {"a.x": ["x"], "m.w": ["w"]})
    assert coverage.unbreakable == {"backend.b.two": ("b.z",)} and not coverage.complete
    assert "NO FAULT: backend.b.two: nothing breaks b.z" in table(coverage)


def test_a_reason_excuses_a_case_that_nothing_can_break() -> None:
    coverage = measure("backend", SUITE, ALL, {"a.x": ["x"], "m.w": ["w"]}, reasons={"b.z": "Nobody does."})
    assert coverage.complete and "no fault, with a reason: b.z: Nobody does." in table(coverage)


def test_a_case_that_a_shipped_peer_fails_needs_no_fault() -> None:
    assert measure("backend", SUITE, ALL, {"a.x": ["x"], "m.w": ["w"]}, ["backend.b.*"]).complete


def test_what_is_judged_after_every_case_needs_none_of_its_own() -> None:
    health = requirement("health.alive", source={"file": "docs/requirements.md", "section": "Health"})
    coverage = measure("backend", SUITE, [*ALL, health], FAULTS)
    assert coverage.complete and coverage.rows[-1].cases == ("backend.a.one", "backend.b.two")


def test_what_a_shipped_peer_breaks_needs_no_fault() -> None:
    assert broken_by_shipped(SUITE, ["backend.*"]) == {"b.z": [SHIPPED], "m.w": [SHIPPED]}


def matrix(tmp_path: Path, killed_by: list[str]) -> Path:
    path = tmp_path / "kill-matrix.json"
    path.write_text(json.dumps({"faults": [{"id": "backend.omission.x", "killed_by": killed_by}], "false_alarms": []}))
    return path


def test_a_survivor_of_the_matrix_is_missing(tmp_path: Path) -> None:
    coverage = measure("backend", SUITE, ALL, FAULTS)
    apply_matrix(coverage, matrix(tmp_path, ["backend.a.one"]))
    assert coverage.complete
    apply_matrix(coverage, matrix(tmp_path, []))
    assert coverage.survivors == ["backend.omission.x"] and not coverage.complete
    assert "SURVIVOR: backend.omission.x" in table(coverage)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"faults": [{}]}'])
def test_what_is_no_matrix_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.json"
    path.write_text(text)
    with pytest.raises(Stop, match="no kill matrix"):
        apply_matrix(Coverage("backend"), path)
    with pytest.raises(Stop, match="No such file"):
        apply_matrix(Coverage("backend"), tmp_path / "none.json")


def test_json_has_it_all() -> None:
    data = json.loads(json.dumps(measure("backend", SUITE, ALL, FAULTS).to_json()))
    assert data["complete"] and data["requirements"][0] == {
        "id": "a.x", "level": "must", "cases": ["backend.a.one"], "monitors": [], "faults": ["backend.omission.x"],
        "no_case": None}
