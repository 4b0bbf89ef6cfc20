"""The page without a browser: what stands in it, what is packed into it, what a guest cannot put into it."""
from __future__ import annotations

import hashlib
import json
import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from reports import html
from reports.details import unpack
from reports.kills import KillMatrixError, read_kills
from reports.tests import streams as s
from reports.write import judged_stream


class Reader(HTMLParser):
    VOID = {"meta", "br", "img", "link", "input"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.packed: list[dict[str, Any]] = []
        self.scripts = 0
        self.pictures = 0
        self._in_packed = False
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        found = dict(attrs)
        self._in_packed = tag == "script" and found.get("class") == "packed"
        self.scripts += tag == "script" and "type" not in found
        self.pictures += (found.get("id") or "").startswith("picture-")
        for key, value in attrs:
            assert not key.startswith("on")
            if key in ("src", "href"):
                self.links.append(value or "")
            if key == "id":
                self.ids.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._in_packed and data.strip():
            self.packed.append(unpack(data.strip()))
        elif self.open[-1:] not in (["script"], ["style"]):
            self.text += data


def png(width: int = 2, height: int = 1, color: bytes = b"\x10\x20\x30") -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\x00" + color * width for _ in range(height))
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


def test_the_page_shows_what_a_reader_needs(tmp_path: Path) -> None:
    shown = page(tmp_path, artifact(tmp_path))
    for wanted in ("SURPRISED: 1 result", "Exit status 1", "Ids <are> kept & echoed.", "displif.h, Response <format>", "id 7", "id <8>",
                   "How this suite reads it: literally", "./displif-cts run --case frontend.ring.bad", "add to lab/peers/x.yaml",
                   "some-frontend 6.1.176-1", "abcd"):
        assert wanted in shown.text, wanted
    assert shown.scripts == 1 and shown.pictures == 1


def test_a_surprise_says_what_decided_beside_the_check_that_failed(tmp_path: Path) -> None:
    late = [s.begin(s.BAD), s.check(s.BAD, False, timed=True), s.rec("health", s.BAD, state="ok", reason="", own_gap_ms=5000, peer_gap_ms=0, tolerance_ms=1000),
            s.verdict(s.BAD, "infra-error", "our own side stood still for 5000 ms; ring.id-echoed: expected id 7 or id 9; saw id <8>")]
    for records, wanted in ((late, True), (s.bad(), False)):
        judged = judged_stream(s.write(tmp_path, [*s.head((s.BAD, s.GOOD)), *records, *s.good()]))
        assert ("our own side stood still for 5000 ms" in Reader(html.write(judged, tmp_path)).text) == wanted


def test_the_page_shows_what_the_header_leaves_open(tmp_path: Path) -> None:
    records = s.whole()
    next(record for record in records if record["t"] == "plan")["ambiguities"] = [
        {"id": "event-ids", "where": "Events", "question": "What is an <id>?", "linux": "Counts.", "displ_be": "Counts, too.",
         "judged": "Both.", "why": "Nobody says.", "requirements": ["ring.id-echoed"]}]
    page = Reader(html.write(judged_stream(s.write(tmp_path, records)), tmp_path))
    assert "ambiguity-event-ids" in page.ids and "What is an <id>?" in page.text and "Counts, too." in page.text


def test_a_case_is_packed_with_its_evidence(tmp_path: Path) -> None:
    log = s.rec("msg", s.BAD, kind="log", dir="-", fields={"source": "guest kernel", "text": "a line\nWARNING: <here>"})
    cited = s.check(s.BAD, False, "wire.reserved-zero") | {"seen": "WARNING: <here>"}
    about = next(case for case in page(tmp_path, log, cited, artifact(tmp_path)).packed if case["id"] == s.BAD)
    assert about["log"] == [["guest kernel", "a line", False], ["guest kernel", "WARNING: <here>", True]]
    assert [message["fields"] for message in about["messages"]] == [{"op": "PG_FLIP", "fb": "0x1"}]
    assert about["checks"][0] | {"ns": 0} == {
        "requirement": "ring.id-echoed", "level": "must", "seen": "id <8>", "expected": ["id 7", "id 9"], "ns": 0, "during": "",
        "mark": {"at": 1, "seq": about["messages"][0]["seq"], "how": "the peer's last step before the check"}}
    assert about["artifacts"][0]["picture"] == hashlib.sha256(png()).hexdigest()


def test_a_monitors_check_marks_a_message_of_the_case_that_ran(tmp_path: Path) -> None:
    many = [s.msg(s.GOOD, fields={"op": "PG_FLIP", "id": i}) for i in range(400)]
    judged_check = s.check(s.MONITOR, False, "wire.reserved-zero", during=s.GOOD) | {"seen": "1 of 400; PG_FLIP id 200, connector 0"}
    records = [*s.head((s.GOOD, s.MONITOR)), s.begin(s.GOOD), *many, s.check(s.GOOD, True), s.verdict(s.GOOD, "pass"),
               judged_check, s.verdict(s.MONITOR, "fail", "not zero")]
    packed = {case["id"]: case for case in Reader(html.write(judged_stream(s.write(tmp_path, records)), tmp_path)).packed}
    mark = packed[s.MONITOR]["checks"][0]["mark"]
    good = packed[s.GOOD]
    assert mark["how"] == "named by the check" and packed[s.MONITOR]["checks"][0]["during"] == f"{s.GOOD}-1"
    assert [m["fields"]["id"] for m in good["messages"] if m["seq"] == mark["seq"]] == [200]
    assert good["total"] == 400 and [first for first, _ in good["indices"]] == [0, 180, 360]
    assert sum(count for _, count in good["indices"]) == len(good["messages"])


def test_the_page_needs_no_network_and_its_links_lead_somewhere(tmp_path: Path) -> None:
    shown = page(tmp_path, artifact(tmp_path))
    assert shown.links
    for link in shown.links:
        assert link.startswith("#") and link[1:] in shown.ids


@pytest.mark.parametrize("change, note", [
    ({"sha256": "0" * 64}, "changed after the run"),
    ({"path": "../outside.png"}, "its path leaves"),
    ({"path": "gone.png"}, "No such file"),
    ({"path": "."}, "Is a directory"),
])
def test_the_page_does_not_show_a_picture_that_is_not_the_recorded_one(tmp_path: Path, change: dict[str, Any], note: str) -> None:
    (tmp_path / "outside.png").write_bytes(png())
    folder = tmp_path / "run"
    folder.mkdir()
    shown = page(folder, artifact(folder, **change))
    assert note in shown.packed[0]["artifacts"][0]["note"] and shown.pictures == 0


@pytest.mark.parametrize("field", ["reason", "seen", "fields", "title"])
def test_whatever_a_guest_can_say_stays_text(tmp_path: Path, field: str) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
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
    shown = Reader(text)
    assert "<script>alert" not in text and "<img" not in text and shown.scripts == 1
    assert evil in json.dumps(shown.packed, ensure_ascii=False) + shown.text


def test_the_policy_lets_only_the_pages_own_script_run(tmp_path: Path) -> None:
    text = html.write(judged_stream(s.write(tmp_path, s.whole())), tmp_path)
    script = text[text.rindex("<script>") + len("<script>"):text.rindex("</script>")]
    policy = text[text.index("default-src"):text.index('">', text.index("default-src"))]
    assert policy.startswith("default-src 'none'; ") and html._hash(script) in policy and "unsafe-inline'; script" in policy


def test_a_kill_matrix_stands_beside_the_run(tmp_path: Path) -> None:
    matrix = tmp_path / "kill-matrix.json"
    fault = {"id": "backend.deviation.x", "kind": "deviation", "requirement": "a.b", "title": "it <lies>", "killed_by": ["backend.c.d"], "why": ""}
    matrix.write_text(json.dumps({"faults": [fault, {**fault, "id": "backend.omission.y", "killed_by": [], "why": "nothing saw it"}], "false_alarms": []}))
    judged = judged_stream(s.write(tmp_path, s.whole()))
    shown = Reader(html.write(judged, tmp_path, read_kills(matrix))).text
    for wanted in ("1 of 2 faults", "it <lies>", "backend.c.d", "not caught: nothing saw it"):
        assert wanted in shown
    assert "Kill matrix" not in Reader(html.write(judged, tmp_path)).text


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"faults": [{}]}', '{"faults": [7]}'])
def test_what_is_no_kill_matrix(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(KillMatrixError, match="no kill matrix"):
        read_kills(tmp_path / "x.json")
