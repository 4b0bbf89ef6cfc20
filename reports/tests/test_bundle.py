"""Bundles: the same stream gives the same bytes, and no byte can be changed unseen."""
from __future__ import annotations

import hashlib
import io
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from reports import archive, bundle
from reports.statement import Waiver, WaiverError, list_hash, parse_waivers
from reports.tests import streams as s
from reports.tests.test_html import artifact
from reports.write import judged_stream

IDS = [s.GOOD, s.BAD, s.WARN, s.SKIP, s.MONITOR]
CLEAN = {"suite_version": {"commit": "c0ffee", "clean": True}}
WAIVERS = [Waiver(s.BAD, "fail", "old hardware", "issue 7"), Waiver(s.MONITOR, "fail", "the same", "issue 7")]


def run_of(folder: Path, records: s.Records | None = None, **run: Any) -> Any:
    shot = artifact(folder)
    bad = s.bad()
    whole = [*s.good(), *bad[:-1], shot, bad[-1], *s.warned(), *s.skipped(), *s.monitored()] if records is None else records
    return judged_stream(s.write(folder, [*s.head(IDS, **{**CLEAN, **run}), *whole]))


def made(judged: Any, waivers: list[Waiver]) -> tuple[bytes, dict[str, Any]]:
    out = io.BytesIO()
    said = bundle.make(judged, IDS, waivers, out)
    return out.getvalue(), said


def members_of(data: bytes) -> tuple[dict[str, bytes], int]:
    members, seconds = archive.members_of(io.BytesIO(data))
    return {name: member.read() for name, member in members.items()}, seconds


def verified(data: bytes, commit: str = "c0ffee") -> list[str]:
    return bundle.verify(io.BytesIO(data), [list_hash(IDS)], commit).mismatches


def test_a_bundle_verifies_and_says_what_was_shown(tmp_path: Path) -> None:
    data, said = made(run_of(tmp_path), WAIVERS)
    assert verified(data) == [] and said["result"] == "conformant with waivers"
    assert said["levels"]["must"] == {"kept": 0, "not kept": ["ring.id-echoed", "wire.reserved-zero"], "not looked at": []}
    assert said["skipped"] == {s.SKIP: "no EDID"} and said["list"]["sha256"] == list_hash(IDS)
    members, _ = members_of(data)
    assert {"stream.jsonl", "screen.png", "list.txt", "waivers.yaml", "environment.json", "statement.json", "SHA256SUMS",
            "reports/report.html", "reports/junit.xml"} <= members.keys()


def test_the_same_stream_gives_the_same_bytes(tmp_path: Path) -> None:
    bundles = []
    for name in ("one", "another"):
        (tmp_path / name).mkdir()
        bundles.append(made(run_of(tmp_path / name), WAIVERS)[0])
    assert bundles[0] == bundles[1]


def test_any_changed_byte_is_found_and_its_place_named(tmp_path: Path) -> None:
    data, _ = made(run_of(tmp_path), WAIVERS)
    members, _ = members_of(data)
    source = random.Random(7)
    places = {archive.place(members, at) for at in range(0, len(data), archive.BLOCK)}
    # One byte of every part of every member, the end included, and many at random.
    offsets = [*(next(at for at in range(0, len(data), archive.BLOCK // 4) if archive.place(members, at) == place) for place in places),
               *(source.randrange(len(data)) for _ in range(150))]
    for at in offsets:
        changed = bytearray(data)
        changed[at] ^= 1 << source.randrange(8)
        mismatches = verified(bytes(changed))
        where = re.sub(r"^byte \d+ of |^the (header of|padding behind) ", "", archive.place(members, at))
        assert mismatches, archive.place(members, at)
        # A header's own checksum tells of the header; what stands in it may make it another one's.
        assert any(where in text or text.startswith("the archive:") for text in mismatches), (where, mismatches)
        if archive.place(members, at).startswith("byte "):
            assert any(where in text for text in mismatches), (where, mismatches)


# Where the fields of a ustar header begin (POSIX.1-2017, pax, "ustar Interchange Format"), the last octet, which is in none, included.
HEADER_FIELDS = {"name": 0, "mode": 100, "uid": 108, "gid": 116, "size": 124, "mtime": 136, "chksum": 148, "typeflag": 156, "linkname": 157, "magic": 257,
                 "version": 263, "uname": 265, "gname": 297, "devmajor": 329, "devminor": 337, "prefix": 345, "none": 511}


def test_a_changed_byte_is_found_in_every_part_of_every_member(tmp_path: Path) -> None:
    """Of its header each field, of its content the first octet, the middle and the last, and what fills up its last block."""
    data, _ = made(run_of(tmp_path), WAIVERS)
    members = archive.members_of(io.BytesIO(data))[0]
    swept: dict[str, set[str]] = {}
    offset, before = 0, "the first header"
    for name, member in sorted(members.items()):
        size, padding = len(member), -len(member) % archive.BLOCK
        content = offset + archive.BLOCK
        places = {f"the header of {name}": [offset + at for at in HEADER_FIELDS.values()], name: [content, content + size // 2, content + size - 1],
                  f"the padding behind {name}": [content + size, content + size + padding - 1] if padding else []}
        for where, offsets in places.items():
            for at in offsets:
                changed = bytearray(data)
                changed[at] ^= 1
                mismatches = verified(bytes(changed))
                assert where in archive.place(members, at)
                named = (f"the header behind {before}", before, name) if where.startswith("the header") else (name,)
                assert any(word in text for text in mismatches for word in named), (where, at, mismatches)
                swept.setdefault(name, set()).add(where)
        offset, before = content + size + padding, name
    assert swept.keys() == members.keys() and all(len(parts) >= 2 for parts in swept.values())
    assert not any(data[offset:])  # the archive's end
    for at in range(offset, len(data)):
        if at % 97 == 0 or at == len(data) - 1:
            assert any("the archive" in text for text in verified(data[:at] + b"\1" + data[at + 1:])), at


@pytest.mark.parametrize("change", [lambda d: d[:-1], lambda d: d + b"\0", lambda d: d[:archive.BLOCK], lambda d: b"", lambda d: d + d, lambda d: b"x" * 2048])
def test_what_is_no_whole_archive_is_said(tmp_path: Path, change: Any) -> None:
    data, _ = made(run_of(tmp_path), WAIVERS)
    assert any(text.startswith("the archive:") for text in verified(change(data)))


def forged(data: bytes, **changed: bytes | None) -> bytes:
    """With other members, and checksums to match: what a forger without a key can do."""
    members, seconds = members_of(data)
    for name, content in changed.items():
        key = {"stream": "stream.jsonl", "statement": "statement.json", "list": "list.txt", "waivers": "waivers.yaml",
               "environment": "environment.json", "screen": "screen.png", "junit": "reports/junit.xml"}.get(name, name)
        if content is None:
            members.pop(key)
        else:
            members[key] = content
    members.pop("SHA256SUMS")
    members["SHA256SUMS"] = "".join(f"{hashlib.sha256(members[n]).hexdigest()}  {n}\n" for n in sorted(members)).encode()
    return archive.canonical(members, seconds)


def resealed(stream: bytes) -> bytes:
    head = stream[:stream.rindex(b"\n", 0, -1) + 1]
    return head + stream[len(head):].replace(re.search(rb'"sha256":"([0-9a-f]{64})"', stream[len(head):])[1],  # type: ignore[index]
                                             hashlib.sha256(head).hexdigest().encode())


def test_a_forger_without_a_key_is_found_by_the_checks(tmp_path: Path) -> None:
    data, said = made(run_of(tmp_path), WAIVERS)
    members, _ = members_of(data)
    stream = members["stream.jsonl"]
    better = resealed(stream.replace(b'"verdict":"fail"', b'"verdict":"pass"', 1))
    assert any("its records say fail" in text for text in verified(forged(data, stream=better)))
    verdict = next(line for line in stream.splitlines(True) if b'"t":"verdict"' in line)
    assert any("seq is" in text for text in verified(forged(data, stream=resealed(stream.replace(verdict, b"")))))
    nicer = json.dumps({**said, "result": "conformant"}, indent=1).encode() + b"\n"
    assert any(text.startswith("statement.json: it does not say what stream.jsonl says: line 3") for text in verified(forged(data, statement=nicer)))
    assert any("none of the suite's lists" in text for text in verified(forged(data, list=b"frontend.ring.good\n")))
    assert any("reference is missing" in text for text in verified(forged(data, waivers=b"- {case: a, verdict: fail, reason: r}\n")))
    assert any("junit.xml: it does not say" in text for text in verified(forged(data, junit=b"<testsuites/>")))
    assert any("screen.png: its hash" in text for text in verified(forged(data, screen=b"other")))
    assert any("screen.png: it is missing" in text for text in verified(forged(data, screen=None)))
    assert any("environment.json: it is missing" in text for text in verified(forged(data, environment=None)))
    assert any("extra.txt: nothing in stream.jsonl speaks of it" in text for text in verified(forged(data, **{"extra.txt": b"x"})))
    assert any("leads out" in text for text in verified(forged(data, **{"../outside": b"x"})))
    assert not (tmp_path.parent / "outside").exists()


def test_reports_of_another_version_of_the_suite_are_not_compared(tmp_path: Path) -> None:
    data, _ = made(run_of(tmp_path), WAIVERS)
    found = bundle.verify(io.BytesIO(forged(data, junit=b"<testsuites/>")), [list_hash(IDS)], "another")
    assert found.mismatches == [] and any("junit.xml: made by another version" in note for note in found.notes)


@pytest.mark.parametrize("waivers, wanted", [
    ([], f"{s.BAD}: fail, and no waiver covers it"),
    ([*WAIVERS, Waiver(s.GOOD, "fail", "r", "f")], f"waiver for {s.GOOD}: it is now pass"),
    ([*WAIVERS, Waiver("frontend.gone", "fail", "r", "f")], "waiver for frontend.gone: it is not on the list"),
    ([Waiver(s.BAD, "hang", "r", "f"), WAIVERS[1]], f"{s.BAD}: fail, and no waiver covers it"),
])
def test_what_stands_against_conformance(tmp_path: Path, waivers: list[Waiver], wanted: str) -> None:
    data, said = made(run_of(tmp_path), waivers)
    assert said["result"] == "not conformant" and wanted in said["objections"]
    assert verified(data) == []  # it verifies: it says so itself


CHANCE = [*WAIVERS, Waiver(s.GOOD, "crash", "a race", "issue 9")]


def chance(**changes: Any) -> s.Records:
    return [s.expectation(s.GOOD) | {"verdict": "crash", "flaky_rate": 0.25, **changes}]


def test_a_waived_deviation_that_shows_by_chance_may_not_show(tmp_path: Path) -> None:
    data, said = made(run_of(tmp_path, expectations=chance()), CHANCE)
    assert said["result"] == "conformant with waivers" and said["objections"] == []
    assert said["not seen"] == {s.GOOD: {"verdict": "crash", "rate": 0.25, "expectation": "lab/peers/x.yaml:3"}}
    assert verified(data) == []
    members, _ = members_of(data)
    assert f"not seen  {s.GOOD} (crash): it shows by chance, in 25% of runs as lab/peers/x.yaml:3 records, and did not" in members["statement.txt"].decode()


def test_a_waived_deviation_that_shows_by_chance_needs_its_waiver_when_it_shows(tmp_path: Path) -> None:
    crashed = [s.begin(s.GOOD), s.rec("health", s.GOOD, state="crashed", reason="the guest's kernel panicked", own_gap_ms=1, peer_gap_ms=1, tolerance_ms=1000),
               s.verdict(s.GOOD, "crash", "the guest's kernel panicked")]
    records = [*crashed, *s.bad(), *s.warned(), *s.skipped(), *s.monitored()]
    judged = run_of(tmp_path, records, expectations=chance())
    data, said = made(judged, CHANCE)
    assert said["result"] == "conformant with waivers" and "not seen" not in said and verified(data) == []
    data, said = made(judged, WAIVERS)
    assert f"{s.GOOD}: crash, and no waiver covers it" in said["objections"] and verified(data) == []


@pytest.mark.parametrize("expectation", [
    {"flaky_rate": None}, {"verdict": "hang"}, {"case": s.WARN}, {"bed": "host"}, {"versions": "<6"}, {"expires": "2026-02-28"},
], ids=lambda change: next(iter(change)))
def test_only_an_expectation_with_a_rate_excuses_a_waiver_that_is_not_needed(tmp_path: Path, expectation: dict[str, Any]) -> None:
    """One about this case, this verdict, this bed and version, and not expired."""
    entries = [{key: value for key, value in entry.items() if value is not None} for entry in chance(**expectation)]
    data, said = made(run_of(tmp_path, expectations=entries), CHANCE)
    assert said["result"] == "not conformant" and f"waiver for {s.GOOD}: it is now pass" in said["objections"]
    assert verified(data) == []


def test_a_skipped_case_shows_nothing_of_a_waived_deviation(tmp_path: Path) -> None:
    _, said = made(run_of(tmp_path, expectations=[s.expectation(s.SKIP, verdict="fail", flaky_rate=0.25)]), [*WAIVERS, Waiver(s.SKIP, "fail", "a race", "issue 9")])
    assert f"waiver for {s.SKIP}: it is now skip" in said["objections"]


def test_a_rate_that_a_forger_adds_is_found(tmp_path: Path) -> None:
    """The statement follows from the stream's expectations, never from its own words."""
    data, said = made(run_of(tmp_path), CHANCE)
    nicer = {**said, "result": "conformant with waivers", "objections": [], "not seen": {s.GOOD: {"verdict": "crash", "rate": 0.25, "expectation": "x:3"}}}
    assert any(text.startswith("statement.json: it does not say what stream.jsonl says") for text in verified(forged(data, statement=bytes(json.dumps(nicer), "ascii"))))


def test_missing_verdicts_and_changed_suites_stand_against_it(tmp_path: Path) -> None:
    records = [*s.good(), *s.bad()[:-1], s.begin(s.WARN), s.rec("error", s.WARN, text="no store"), s.verdict(s.WARN, "infra-error", "no store")]
    _, said = made(run_of(tmp_path, records, suite_version={"commit": "c0ffee", "clean": False}), [])
    for wanted in (f"{s.BAD}: no verdict", f"{s.WARN}: infra-error", f"{s.SKIP}: no verdict"):
        assert wanted in said["objections"]
    assert any("clean state" in text for text in said["objections"])


@pytest.mark.parametrize("text, wanted", [
    ("- {case: a, verdict: fail, reason: r}", "reference is missing"), ("- {case: a, verdict: fail, reason: r, reference: ' '}", "reference is missing"),
    ("- {case: a, verdict: infra-error, reason: r, reference: f}", "infra-error cannot be waived"), ("- {case: a, verdict: pass, reason: r, reference: f}", "pass cannot"),
    ("- {case: a, verdict: fail, reason: r, reference: f}\n" * 2, "a second one for a"), ("- 7", "a mapping with the keys"), ("a: 1", "not a list"),
    ("- {case: a, why: b}", "a mapping with the keys"), ("{", "x.yaml: "),
])
def test_waivers_that_are_none(text: str, wanted: str) -> None:
    with pytest.raises(WaiverError, match=wanted):
        parse_waivers(text, "x.yaml")
