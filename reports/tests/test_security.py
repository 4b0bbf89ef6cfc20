"""The page by classes of attack."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Sequence

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


def test_a_class_is_not_withstood_while_one_of_its_cases_has_no_verdict(tmp_path: Path) -> None:
    records = [record for record in s.whole() if (record["t"], record.get("case")) != ("verdict", s.WARN)]
    records[2] = records[2] | {"attacks": ATTACKS}
    found = {row.id: row for row in security.table_of(judged_stream(s.write(tmp_path, records))).rows}
    assert (found["storms"].result, found["storms"].counts) == ("incomplete", "1 pass, 1 no verdict")


def session(**changes: Any) -> security.Session:
    return security.Session(**{"target": "guest-frontend", "role": "frontend", "peer": "some-frontend", "bed": "qemu", "executions": 12345, "seconds": 60.0,
                               "findings": ("BUG <x>",), **changes})


def table(folder: Path, expectations: s.Records, fuzz: Sequence[security.Session] = (), **run: Any) -> security.Table:
    records = s.whole(expectations, **run)
    records[2] = records[2] | {"attacks": ATTACKS}
    return security.table_of(judged_stream(s.write(folder, records)), fuzz)


def test_each_class_has_its_result(tmp_path: Path) -> None:
    found = table(tmp_path, [s.KNOWN[1]])
    assert {row.id: row.result for row in found.rows} == {
        "leaks": "known", "storms": "withstood", "checks": "broken", "skipped": "not judged", "gone": "not judged", "quota": "no case"}
    (case, seen, repro), = next(row.evidence for row in found.rows if row.id == "checks")
    assert case == s.BAD and "saw id 8" in seen and repro.endswith(f"--case {s.BAD}")


def test_text_and_page(tmp_path: Path) -> None:
    sessions = [session(), session(role="backend", executions=99)]
    tables = [table(tmp_path, [s.KNOWN[1]], sessions)]
    said, page = security.text(tables, sessions), security.html(tables, sessions)
    for wanted in ("XSA-216", "12345 fuzz executions", "withstood", f"--case {s.BAD}", "not yet"):
        assert wanted in said and wanted in page
    assert "99 fuzz" not in said and "nobody trusts &lt;anybody&gt;" in page and "BUG &lt;x&gt;" in page


def test_peers_and_places_stand_side_by_side_with_what_fuzzing_was_spent_on_each(tmp_path: Path) -> None:
    """Two runs, of one peer on two beds, and four sessions of fuzzing: two on the first, one where nothing ran, one of an older suite."""
    sessions = [session(), session(executions=55, findings=()), session(target="linux-frontend", peer="linux-user-space", bed="in process", executions=7_000_000),
                session(target="backend", role="backend", peer="", bed="", executions=3, findings=())]
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    tables = [table(folders[0], [s.KNOWN[1]], sessions), table(folders[1], s.KNOWN, sessions, bed="loopback")]
    columns = security.columns_of(tables, sessions)
    assert [(column.peer, column.place, column.executions, column.findings) for column in columns] == [
        ("some-frontend 6.1.176-1", "qemu bed, pv guest", 12400, 1), ("some-frontend 6.1.176-1", "loopback bed, pv guest", 0, 0),
        ("linux-user-space", "in process", 7_000_000, 1), ("backend", "", 3, 0)]
    assert columns[0].results["checks"] == ("broken", "bad") and columns[2].results == {}
    lines = {line.split()[0]: line.split()[1:] for line in security.text(tables, sessions).splitlines()[4:13]}
    assert lines["class"] == ["A", "B", "C", "D"] and lines["checks"] == ["broken", "broken", "-", "-"]  # expectations are those of qemu
    assert lines["fuzz"] == ["executions", "12400", "0", "7000000", "3"]
    page = security.html(tables, sessions)
    assert "12,400" in page and "7,000,000" in page and "Sessions of fuzzing: 4" in page


def test_a_stream_without_classes_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(security.SecurityError, match="run again"):
        security.table_of(judged_stream(s.write(tmp_path, s.whole())))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"target": "x", "role": "frontend", "executions": "many", "seconds": 1, "findings": []}'])
def test_what_is_no_fuzzing_session(tmp_path: Path, text: str) -> None:
    (tmp_path / "f.json").write_text(text)
    with pytest.raises(security.SecurityError, match="no summary of a fuzzing session"):
        security.read_fuzz(tmp_path / "f.json")
    assert security.read_fuzz(_written(tmp_path, {"target": "t", "role": "frontend", "executions": 1, "seconds": 1, "findings": []})).executions == 1


def _written(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "good.json"
    path.write_text(json.dumps(content))
    return path
