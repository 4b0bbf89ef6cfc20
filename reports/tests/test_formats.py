"""Each format from one stream; one changed verdict changes exactly that case."""
from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import junitparser
import pytest

from reports import junit, ktap
from reports.junit import _clean
from reports.statuses import statuses
from reports.tests import streams as s
from reports.write import judged_stream, render, write_reports


def test_the_table_of_statuses_covers_every_pair_that_can_happen() -> None:
    table = statuses()
    for outcome in table.outcome_exit:
        assert any(key[0] == outcome for key in table.rows)
    for verdict in table.verdicts:
        assert ("missing" if verdict == "infra-error" else "expected", verdict) in table.rows
    assert {row.junit for row in table.rows.values()} <= {"passed", "failure", "error", "skipped"}
    for (outcome, _), row in table.rows.items():
        assert (row.ktap == "ok") == (table.outcome_exit[outcome] == 0)
        assert (row.junit in ("failure", "error")) == (table.outcome_exit[outcome] != 0)


def junit_results(text: str) -> dict[str, str]:
    """What a consumer reads, by case."""
    found = {}
    for suite in junitparser.JUnitXml.fromstring(text.encode()):
        for case in suite:
            result = case.result[0]._tag if case.result else "passed"
            assert f"{case.classname}.{case.name}" not in found
            found[f"{case.classname}.{case.name}"] = result
    return found


def check_strictly(text: str) -> None:
    """The order and the attributes that Jenkins' schema allows, and counts that add up."""
    root = ET.fromstring(text)
    assert root.tag == "testsuites"
    counts = ("tests", "failures", "errors", "skipped")
    for suite in root:
        assert suite.tag == "testsuite"
        assert set(suite.keys()) <= {"name", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname"}
        assert [child.tag for child in suite] == ["properties"] + ["testcase"] * (len(suite) - 1)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.get("timestamp", "2026-01-01T00:00:00"))
        for case in suite.findall("testcase"):
            assert set(case.keys()) == {"name", "classname", "time"} and float(case.get("time", "")) >= 0
            assert [child.tag for child in case] in ([], ["failure"], ["error"], ["skipped"])
        for name, tag in zip(counts, ("testcase", "failure", "error", "skipped")):
            assert int(suite.get(name, "")) == len(list(suite.iter(tag)))
    for name in counts:
        assert int(root.get(name, "")) == sum(int(suite.get(name, "")) for suite in root)


def test_junit_of_a_mixed_run(tmp_path: Path) -> None:
    text = junit.write(judged_stream(s.write(tmp_path, s.whole([s.KNOWN[1]]))))
    check_strictly(text)
    assert junit_results(text) == {s.GOOD: "passed", s.BAD: "failure", s.WARN: "passed", s.SKIP: "skipped", s.MONITOR: "skipped"}
    assert "Ids &lt;are&gt; kept &amp; echoed." in text and "run again: ./displif-cts run --case" in text


def test_junit_survives_every_character(tmp_path: Path) -> None:
    reason = "".join(map(chr, range(0x0, 0x180))) + "\ud800\ufffe]]>"
    bad = [*s.bad()[:-1], s.verdict(s.BAD, "fail", reason)]
    text = junit.write(judged_stream(s.write(tmp_path, [*s.head((s.BAD,)), *bad])))
    check_strictly(text)
    assert junit_results(text)[s.BAD] == "failure"
    assert "\x00" not in _clean("\x00\x1b[31m")


def change(records: s.Records, how: str) -> s.Records:
    at = next(i for i, r in enumerate(records) if r["t"] == "verdict" and r["case"] == s.GOOD)
    if how == "delete":
        return records[:at] + records[at + 1:]
    if how == "duplicate":
        return records[:at + 1] + records[at:]
    failed = [r | {"ok": False} if r["t"] == "check" and r["case"] == s.GOOD else r for r in records]
    failed[at] = records[at] | {"verdict": "fail", "reason": "flipped"}
    return failed


@pytest.mark.parametrize("how, result, status", [("delete", "error", 3), ("flip", "failure", 1), ("duplicate", "error", 3)])
def test_one_changed_verdict_changes_exactly_that_case(tmp_path: Path, how: str, result: str, status: int) -> None:
    before = judged_stream(s.write(tmp_path, s.whole(s.KNOWN)))
    plain = junit_results(junit.write(before))
    lines = [line for line in ktap.write(before).splitlines() if line.startswith(("ok", "not"))]
    after = judged_stream(s.write(tmp_path, change(s.whole(s.KNOWN), how)))
    assert after.exit_status == status
    changed = junit_results(junit.write(after))
    trouble = {name for name in changed if name.startswith("displif-cts.stream.")}
    assert bool(trouble) == (how == "duplicate")  # a stream that lacks a verdict but is sealed is missing it, no more
    assert {name: value for name, value in changed.items() if name not in trouble} == plain | {s.GOOD: result}
    now = [line for line in ktap.write(after).splitlines() if line.startswith(("ok", "not")) and " stream #" not in line]
    differing = [(a, b) for a, b in zip(lines, now) if re.sub(r"\d+ ", "", a, 1) != re.sub(r"\d+ ", "", b, 1)]
    assert len(lines) == len(now) and len(differing) == 1


def test_ktap_of_a_mixed_run(tmp_path: Path) -> None:
    text = ktap.write(judged_stream(s.write(tmp_path, s.whole([s.KNOWN[1]]))))
    assert text.splitlines()[:2] == ["KTAP version 1", "1..5"]
    assert "ok 1 frontend.ring.good" in text
    assert "# unexpected failure: ring.id-echoed: expected id 7; saw id 8\nnot ok 2 frontend.ring.bad" in text
    assert "ok 4 frontend.bus.skipped # SKIP no EDID" in text
    assert "ok 5 frontend.monitor.reserved-zero # XFAIL not zero" in text


def test_reports_are_written_whole(tmp_path: Path) -> None:
    write_reports(judged_stream(s.write(tmp_path, s.whole())), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["junit.xml", "report.html", "stream.jsonl"]


def test_console_says_what_to_do_next(tmp_path: Path) -> None:
    text = render(judged_stream(s.write(tmp_path, s.whole(s.KNOWN))), "human", tmp_path)
    assert text.startswith("AS EXPECTED, with 2 known deviations")
    assert "requirements  1 kept, 1 not kept (should), 1 broken" not in text  # id-echoed is broken by BAD
    assert "known deviations (2)" in text and "the driver's way [xen_drm_front.c]" in text
    red = render(judged_stream(s.write(tmp_path, s.whole())), "human", tmp_path)
    assert "surprises (2)" in red and "next          ./displif-cts run --case frontend.ring.bad" in red


def test_a_monitors_repro_names_a_case_to_watch(tmp_path: Path) -> None:
    text = render(judged_stream(s.write(tmp_path, s.whole([s.KNOWN[0]]))), "human", tmp_path)
    assert f"--case {s.MONITOR} --case {s.GOOD}" in text
