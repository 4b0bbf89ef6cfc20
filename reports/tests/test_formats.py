"""Each format from one stream, as its consumers read it; one changed verdict changes exactly that case."""
from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from lxml import etree

from reports import junit, sarif
from reports.junit import _clean
from reports.statuses import statuses
from reports.tests import consumers
from reports.tests import streams as s
from reports.write import FORMATS, judged_stream, render, write_reports

SCHEMA = etree.XMLSchema(etree.parse(Path(__file__).with_name("junit.xsd")))


def test_the_table_of_statuses_covers_every_pair_that_can_happen() -> None:
    table = statuses()
    for outcome in table.outcome_exit:
        assert any(key[0] == outcome for key in table.rows)
    for verdict in table.verdicts:
        assert ("missing" if verdict == "infra-error" else "expected", verdict) in table.rows
    assert {row.junit for row in table.rows.values()} <= {"passed", "failure", "error", "skipped"}
    assert {row.lava for row in table.rows.values()} <= {"pass", "fail", "skip", "unknown"}
    assert {row.sarif for row in table.rows.values()} <= {"none", "note", "warning", "error"}
    for (outcome, verdict), row in table.rows.items():
        assert (row.ktap == "ok") == (table.outcome_exit[outcome] == 0)
        assert (row.junit in ("failure", "error")) == (table.outcome_exit[outcome] != 0)
        assert (row.lava == "pass") == (outcome == "expected" and verdict in ("pass", "warn"))


def check_strictly(text: str) -> None:
    """By the schema, and counts that add up."""
    SCHEMA.assertValid(etree.fromstring(text.encode()))
    root = ET.fromstring(text)
    counts = {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}
    for element in (root, *root):
        for name, tag in counts.items():
            assert int(element.get(name, "")) == len(list(element.iter(tag)))


def test_junit_of_a_mixed_run(tmp_path: Path) -> None:
    text = junit.write(judged_stream(s.write(tmp_path, s.whole([s.KNOWN[1]]))))
    check_strictly(text)
    found = {name: word.split()[0] for name, word in consumers.junit(text).items()}
    assert found == {s.GOOD: "passed", s.BAD: "failure", s.WARN: "passed", s.SKIP: "skipped", s.MONITOR: "skipped"}
    assert "Ids &lt;are&gt; kept &amp; echoed." in text and "run again: ./displif-cts run --case" in text


@pytest.mark.parametrize("change", [
    ('tests="5"', 'tests="-5"'), ('time="1.500"', 'time="soon"'), ("<properties>", '<system-out/><properties>'),
    ('classname="frontend.ring"', 'class="frontend.ring"'), ('name="good"', 'name="bad"'), ('message="', 'text="'),
])
def test_the_schema_is_strict(tmp_path: Path, change: tuple[str, str]) -> None:
    text = junit.write(judged_stream(s.write(tmp_path, s.whole([s.KNOWN[1]]))))
    assert change[0] in text
    assert not SCHEMA.validate(etree.fromstring(text.replace(*change, 1).encode()))


@pytest.mark.parametrize("form", FORMATS)
def test_a_reason_of_every_character_is_taken(tmp_path: Path, form: str) -> None:
    reason = "".join(map(chr, range(0x0, 0x180))) + "\ud800\ufffe]]> ``` @all | </details> <b>"
    check = s.check(s.BAD, False) | {"seen": reason}
    bad = [s.begin(s.BAD), check, s.verdict(s.BAD, "fail", reason)]
    text = render(judged_stream(s.write(tmp_path, [*s.head((s.BAD,)), *bad])), form, tmp_path)
    text = text.encode(errors="replace").decode()
    assert s.BAD in consumers.ALL[form](text)
    if form == "junit":
        check_strictly(text)
    if form == "markdown":
        outside = re.sub(r"(`+) .*? \1", "", text)
        assert "@all" not in outside and "<b>" not in outside and "</details>" not in outside


def test_no_control_character_enters_junit() -> None:
    assert "\x00" not in _clean("\x00\x1b[31m")


def change(records: s.Records, how: str, case: str) -> s.Records:
    at = next(i for i, r in enumerate(records) if r["t"] == "verdict" and r["case"] == case)
    if how == "delete":
        return records[:at] + records[at + 1:]
    if how == "duplicate":
        return records[:at + 1] + records[at:]
    now = "fail" if records[at]["verdict"] in ("pass", "warn") else "pass"
    flipped = [r | {"ok": now == "pass"} if r["t"] == "check" and r["case"] == case else r for r in records]
    flipped[at] = records[at] | {"verdict": now, "reason": "flipped"}
    return flipped


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("how, status, case", [
    *((how, 3, case) for how in ("delete", "duplicate") for case in (s.GOOD, s.BAD, s.WARN, s.SKIP, s.MONITOR)),
    *(("flip", 1, case) for case in (s.GOOD, s.BAD, s.WARN, s.MONITOR)),  # in the skipped one nothing was checked that could be flipped
])
def test_one_changed_verdict_changes_exactly_that_case(tmp_path: Path, form: str, how: str, status: int, case: str) -> None:
    read = consumers.ALL[form]
    before = judged_stream(s.write(tmp_path, s.whole(s.KNOWN)))
    plain = read(render(before, form, tmp_path))
    after = judged_stream(s.write(tmp_path, change(s.whole(s.KNOWN), how, case)))
    changed = read(render(after, form, tmp_path))
    assert before.exit_status == 0 and after.exit_status == status
    differing = {name for name in plain.keys() | changed.keys() if plain.get(name) != changed.get(name)}
    about_cases = {name for name in differing if not name.startswith(consumers.TROUBLE) and name != "line"}
    if form == "lava" and how == "flip" and case in (s.BAD, s.MONITOR):
        assert about_cases == set() and differing == {"displif-cts.run"}  # LAVA has one word for a known failure and for one that ended unforeseen
    else:
        assert about_cases == {case}, (plain, changed)


@pytest.mark.parametrize("form", FORMATS)
def test_a_removed_verdict_line_is_red_everywhere(tmp_path: Path, form: str) -> None:
    """Removed behind the suite's back: the hash no longer matches."""
    path = s.write(tmp_path, s.whole(s.KNOWN))
    whole = path.read_bytes()
    for line in [line for line in whole.splitlines(True) if b'"t":"verdict"' in line]:
        path.write_bytes(whole.replace(line, b""))
        judged = judged_stream(path)
        text = render(judged, form, tmp_path)
        assert judged.exit_status == 3
        red = {"junit": "<error", "ktap": "not ok", "lava": "displif-cts.run RESULT=fail", "sarif": '"executionSuccessful": false',
               "markdown": "INCOMPLETE", "human": "INCOMPLETE", "html": '<h1 class="infra">INCOMPLETE'}[form]
        assert red in text


def test_ktap_of_a_mixed_run(tmp_path: Path) -> None:
    text = render(judged_stream(s.write(tmp_path, s.whole([s.KNOWN[1]]))), "ktap", tmp_path)
    assert text.splitlines()[:2] == ["KTAP version 1", "1..5"]
    assert "ok 1 frontend.ring.good" in text
    assert "# unexpected failure: ring.id-echoed: expected id 7; saw id 8\nnot ok 2 frontend.ring.bad" in text
    assert "ok 4 frontend.bus.skipped # SKIP no EDID" in text
    assert "ok 5 frontend.monitor.reserved-zero # XFAIL not zero" in text


def test_repeated_cases_have_names_of_their_own(tmp_path: Path) -> None:
    again = [r | {"attempt": 2} for r in s.good()]
    judged = judged_stream(s.write(tmp_path, [*s.head((s.GOOD,), repeat=2), *s.good(), *again]))
    for form in ("junit", "ktap", "lava"):
        assert len([name for name in consumers.ALL[form](render(judged, form, tmp_path)) if name.startswith(s.GOOD)]) == 2


def test_sarif_points_at_the_requirement_and_the_header(tmp_path: Path) -> None:
    import json

    head = s.head((s.BAD, s.MONITOR), [s.KNOWN[1]])
    head[2]["requirements"] = [{**s.REQUIREMENTS[0], "line": 12, "source": {**s.REQUIREMENTS[0]["source"], "line": 421}}, *s.REQUIREMENTS[1:]]
    judged = judged_stream(s.write(tmp_path, [*head, *s.bad(), *s.monitored()]))
    (run,) = json.loads(sarif.write(judged))["runs"]
    found = {result["properties"]["case"]: result for result in run["results"]}
    place = found[s.BAD]["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "cases/requirements.yaml", "uriBaseId": "SRCROOT"}, "region": {"startLine": 12}}
    assert found[s.BAD]["relatedLocations"][0]["physicalLocation"] == {"artifactLocation": {"uri": "xen/io/displif.h"}, "region": {"startLine": 421}}
    assert found[s.MONITOR]["suppressions"][0]["kind"] == "external" and "suppressions" not in found[s.BAD]
    assert run["invocations"][0]["exitCode"] == 1 and run["invocations"][0]["executionSuccessful"]


def test_a_long_summary_fits_a_comment(tmp_path: Path) -> None:
    ids = [f"frontend.ring.case-{i}" for i in range(400)]
    records = [record for name in ids for record in s.bad(name)]
    text = render(judged_stream(s.write(tmp_path, [*s.head(ids), *records])), "markdown", tmp_path)
    shown = len(consumers.markdown(text))
    assert len(text) < 65_536 and 0 < shown < 400 and f"{400 - shown} more parts" in text


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
