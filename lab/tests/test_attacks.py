"""Classes of attack and the cases that try them."""
from __future__ import annotations

import fnmatch

import pytest
import yaml

from lab.attacks import FILE, attack_classes
from lab.mandatory import mandatory_list

TABLE = yaml.safe_load(FILE.read_text())


@pytest.mark.parametrize("role", ["frontend", "backend"])
def test_a_class_has_cases_of_each_role_or_says_why_not(role: str) -> None:
    for entry in TABLE["classes"]:
        assert set(entry) <= {"id", "title", "advisories", "cases", "why"} and set(entry.get("why", {})) <= {"frontend", "backend"}
    assert [entry["id"] for entry in attack_classes(role, mandatory_list(role))["classes"] if not entry["cases"] and not entry["why"]] == []


def test_every_glob_matches_a_case() -> None:
    ids = [case for role in ("frontend", "backend") for case in mandatory_list(role)]
    lost = [(entry["id"], glob) for entry in TABLE["classes"] for glob in entry["cases"] if not fnmatch.filter(ids, glob)]
    assert lost == []


@pytest.mark.parametrize("role", ["frontend", "backend"])
def test_the_classes_of_a_role_name_its_cases_only(role: str) -> None:
    found = attack_classes(role, mandatory_list(role))
    assert found["trust"] and all(name.startswith(f"{role}.") for entry in found["classes"] for name in entry["cases"])
    assert sum(bool(entry["cases"]) for entry in found["classes"]) == len(TABLE["classes"])
