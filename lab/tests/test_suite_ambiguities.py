"""The register of ambiguities on its way into a run's record."""
from __future__ import annotations

from lab.suite import AMBIGUITIES, Plan, Selection, Suite, load_ambiguities


def test_only_those_about_the_requirements_come_along() -> None:
    found = load_ambiguities({"event.id-sequential"})
    assert [entry["id"] for entry in found] == ["event-ids"]
    assert "\n" not in found[0]["linux"] and AMBIGUITIES.is_file()


def test_the_plan_carries_them() -> None:
    register = load_ambiguities({"event.id-sequential"})
    plan = Plan(Suite((), (), register), Selection())
    assert plan.to_record()["ambiguities"] == list(register)
