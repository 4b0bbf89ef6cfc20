"""Expectation files: good ones with their lines, bad ones with the place named."""
from __future__ import annotations

import pytest

from reports.expectations import ExpectationError, parse
from reports.versions import compare, matches

ENTRY = """\
- case: frontend.a.b
  bed: qemu
  versions: "6.1.*"
  verdict: fail
  reason: it does
  reference: xen_drm_front.c
  owner: somebody
  expires: 2027-01-01
"""


def test_entries_know_their_lines() -> None:
    entries = parse("# a comment\n" + ENTRY + ENTRY, "x.yaml")
    assert [entry.where for entry in entries] == ["x.yaml:2", "x.yaml:10"]
    assert entries[0].expires == "2027-01-01"


def test_entries_may_stand_under_a_key() -> None:
    assert parse("expectations:\n" + ENTRY, "x.yaml")[0].line == 2


@pytest.mark.parametrize("text", ["", "# nothing\n", "[]", "expectations:\n"])
def test_no_entries(text: str) -> None:
    assert parse(text, "x.yaml") == []


@pytest.mark.parametrize("text, wanted", [
    ("a: [", "x.yaml: "),
    ("just words", "not a list"),
    ("other: 1", "neither a list nor"),
    ("expectations: 7", "not a list"),
    ("- 7", "x.yaml:1: an entry is a mapping"),
    (ENTRY.replace("  reason: it does\n", ""), "x.yaml:1: reason is missing"),
    (ENTRY.replace("it does", ""), "reason is missing"),
    (ENTRY.replace("verdict: fail", "verdict: pass"), "verdict is 'pass'"),
    (ENTRY.replace("2027-01-01", "soon"), "expires is no date"),
    (ENTRY + "  flaky_rate: 2\n", "flaky_rate is not between"),
    (ENTRY + "  expire: 2027-01-01\n", "unknown key expire"),
    ("\x00", "x.yaml: "),
    ("- !!python/object:os.system {}", "x.yaml: "),
])
def test_bad_files_name_the_place(text: str, wanted: str) -> None:
    with pytest.raises(ExpectationError, match=wanted.replace("[", r"\[")):
        parse(text, "x.yaml")


@pytest.mark.parametrize("a, b, wanted", [
    ("6.1.176-1", "6.1.176-1", 0), ("6.1.9-1", "6.1.10-1", -1), ("6.1~rc1", "6.1", -1), ("6.1-1", "6.1-1+b1", -1),
    ("1:1.0", "2.0", 1), ("6.1.0-40", "6.1.0-9", 1), ("6.1a", "6.1", 1), ("6.1+x", "6.1a", 1), ("", "1", -1),
])
def test_versions_are_ordered_as_dpkg_does(a: str, b: str, wanted: int) -> None:
    assert compare(a, b) == wanted and compare(b, a) == -wanted


@pytest.mark.parametrize("version, wanted, result", [
    ("6.1.176-1", "6.1.*", True), ("6.1.176-1", ">=6.1, <6.2", True), ("6.2", ">=6.1, <6.2", False),
    ("6.1", "==6.1", True), ("6.1", "!=6.1", False), ("6.1", "*", True), ("6.1", "> 6.0", True),
])
def test_ranges(version: str, wanted: str, result: bool) -> None:
    assert matches(version, wanted) is result
