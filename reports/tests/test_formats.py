"""Each format from one stream; one changed verdict changes exactly that case."""
from __future__ import annotations

import hashlib
import re
import struct
import xml.etree.ElementTree as ET
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import junitparser
import pytest

from reports import html, junit, ktap
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


@pytest.mark.parametrize("how, result, status", [("delete", "error", 3), ("flip", "failure", 1), ("duplicate", "passed", 3)])
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
    assert len(lines) == len(now) and len(differing) == (0 if how == "duplicate" else 1)


def test_ktap_of_a_mixed_run(tmp_path: Path) -> None:
    text = ktap.write(judged_stream(s.write(tmp_path, s.whole([s.KNOWN[1]]))))
    assert text.splitlines()[:2] == ["KTAP version 1", "1..5"]
    assert "ok 1 frontend.ring.good" in text
    assert "# unexpected failure: ring.id-echoed: expected id 7; saw id 8\nnot ok 2 frontend.ring.bad" in text
    assert "ok 4 frontend.bus.skipped # SKIP no EDID" in text
    assert "ok 5 frontend.monitor.reserved-zero # XFAIL not zero" in text


class Reader(HTMLParser):
    VOID = {"meta", "br", "img", "link"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        for key, value in attrs:
            if key in ("src", "href"):
                self.links.append(value or "")
            if key == "id":
                self.ids.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def png(width: int = 2, height: int = 1) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\x00" + b"\x10\x20\x30" * width for _ in range(height))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def artifact(folder: Path, name: str = "screen.png", data: bytes | None = None, **changes: Any) -> dict[str, Any]:
    data = png() if data is None else data
    (folder / name).write_bytes(data)
    return s.rec("artifact", s.BAD, name=name, media="image/png",
                 **{"path": name, "sha256": hashlib.sha256(data).hexdigest(), **changes})


def page(folder: Path, *extra: dict[str, Any]) -> Reader:
    bad = s.bad()
    judged = judged_stream(s.write(folder, [*s.head((s.BAD, s.GOOD)), *bad[:-1], *extra, bad[-1], *s.good()]))
    return Reader(html.write(judged, folder))


def test_html_shows_what_a_reader_needs(tmp_path: Path) -> None:
    log = s.rec("msg", s.BAD, kind="log", dir="-", fields={"source": "guest kernel", "text": "a line\nWARNING: <here>"})
    shown = page(tmp_path, log, artifact(tmp_path))
    for wanted in ("SURPRISED: 1 result", "Ids <are> kept & echoed.", "displif.h, Response <format>", "id 7", "id <8>",
                   "op=PG_FLIP  fb=0x1", "0a0b", "guest kernel: WARNING: <here>", "frontend → backend", "How this suite reads it: literally",
                   "./displif-cts run --case frontend.ring.bad", "add to lab/peers/x.yaml", "some-frontend 6.1.176-1", "abcd"):
        assert wanted in shown.text, wanted
    assert sum(link.startswith("data:image/png;base64,") for link in shown.links) == 1


def test_html_needs_no_network_and_its_links_lead_somewhere(tmp_path: Path) -> None:
    shown = page(tmp_path, artifact(tmp_path))
    for link in shown.links:
        assert link.startswith("data:") or (link.startswith("#") and link[1:] in shown.ids)


@pytest.mark.parametrize("change, note", [
    ({"sha256": "0" * 64}, "changed after the run"),
    ({"path": "../outside.png"}, "its path leaves"),
    ({"path": "gone.png"}, "No such file"),
    ({"path": "."}, "Is a directory"),
])
def test_html_does_not_show_a_picture_that_is_not_the_recorded_one(tmp_path: Path, change: dict[str, Any], note: str) -> None:
    (tmp_path / "outside.png").write_bytes(png())
    folder = tmp_path / "run"
    folder.mkdir()
    shown = page(folder, artifact(folder, **change))
    assert note in shown.text and not any(link.startswith("data:") for link in shown.links)


@pytest.mark.parametrize("field", ["reason", "seen", "fields", "title"])
def test_html_escapes_whatever_a_guest_can_say(tmp_path: Path, field: str) -> None:
    evil = "<script>alert(1)</script>"
    head = s.head((s.BAD,))
    records = [*s.bad()]
    if field == "reason":
        records[-1] |= {"reason": evil}
    elif field == "seen":
        records[2] |= {"seen": evil}
    elif field == "fields":
        records[1] |= {"fields": {evil: evil}}
    else:
        head[2]["cases"][0]["title"] = evil
    text = html.write(judged_stream(s.write(tmp_path, [*head, *records])), tmp_path)
    assert "<script" not in text and "&lt;script&gt;" in text


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
