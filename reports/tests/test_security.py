"""The page by classes of attack."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reports import security
from reports.tests import streams as s
from reports.write import judged_stream

ATTACKS = {"trust": "nobody trusts <anybody>", "classes": [
    {"id": "leaks", "title": "Padding", "advisories": ["XSA-216"], "cases": [s.MONITOR, s.GOOD]},
    {"id": "storms", "title": "Events", "advisories": ["XSA-332"], "cases": [s.GOOD, s.WARN]},
    {"id": "checks", "title": "Checks", "advisories": [], "cases": [s.BAD]},
    {"id": "skipped", "title": "Skipped", "advisories": [], "cases": [s.SKIP]},
    {"id": "gone", "title": "Not selected", "advisories": [], "cases": ["frontend.not.selected"]},
    {"id": "quota", "title": "Quota", "advisories": ["XSA-349"], "cases": [], "why": "not yet"},
]}


def table(folder: Path, expectations: s.Records, fuzz: list[dict[str, Any]] = []) -> security.Table:
    records = s.whole(expectations)
    records[2] = records[2] | {"attacks": ATTACKS}
    return security.table_of(judged_stream(s.write(folder, records)), fuzz)


def test_each_class_has_its_result(tmp_path: Path) -> None:
    found = table(tmp_path, [s.KNOWN[1]])
    assert {row.id: row.result for row in found.rows} == {
        "leaks": "known", "storms": "withstood", "checks": "broken", "skipped": "not judged", "gone": "not judged", "quota": "no case"}
    (case, seen, repro), = next(row.evidence for row in found.rows if row.id == "checks")
    assert case == s.BAD and "saw id 8" in seen and repro.endswith(f"--case {s.BAD}")


def test_text_and_page(tmp_path: Path) -> None:
    session = {"target": "linux-frontend", "role": "frontend", "executions": 12345, "seconds": 60.0, "findings": ["BUG <x>"]}
    tables = [table(tmp_path, [s.KNOWN[1]], [session, session | {"role": "backend", "executions": 99}])]
    said, page = security.text(tables), security.html(tables)
    for wanted in ("XSA-216", "12345 fuzz executions", "withstood", f"--case {s.BAD}", "not yet"):
        assert wanted in said and wanted in page
    assert "99 fuzz" not in said and "nobody trusts &lt;anybody&gt;" in page and "BUG &lt;x&gt;" in page


def test_a_stream_without_classes_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(security.SecurityError, match="run again"):
        security.table_of(judged_stream(s.write(tmp_path, s.whole())))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"target": "x", "role": "frontend", "executions": "many", "seconds": 1, "findings": []}'])
def test_what_is_no_fuzzing_session(tmp_path: Path, text: str) -> None:
    (tmp_path / "f.json").write_text(text)
    with pytest.raises(security.SecurityError, match="no summary of a fuzzing session"):
        security.read_fuzz(tmp_path / "f.json")
    assert security.read_fuzz(_written(tmp_path, {"target": "t", "role": "frontend", "executions": 1, "seconds": 1, "findings": []}))["executions"] == 1


def _written(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "good.json"
    path.write_text(json.dumps(content))
    return path
