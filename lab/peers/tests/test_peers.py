from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import peers


@pytest.mark.parametrize("path", peers.descriptors(), ids=lambda path: path.stem)
def test_descriptors_of_the_tree_are_valid(path: Path) -> None:
    assert peers.load_descriptor(path)["name"] == path.stem


@pytest.mark.parametrize("path", sorted(peers.HERE.glob("*.expectations.yaml")), ids=lambda path: path.name)
def test_expectations_of_the_tree_are_valid_and_used(path: Path) -> None:
    peers.load_expectations(path)
    assert path.name in [peers.load_descriptor(peer).get("expectations") for peer in peers.descriptors()]


GOOD: dict[str, Any] = {
    "name": "x", "version": "1", "role": "frontend", "kind": "module", "protocols": [1],
    "times_ms": {"response": 3000, "flip_event": 3100, "removal": 1000},
}


@pytest.mark.parametrize(("change", "words"), [
    ({"role": "middle"}, "role: 'middle' is not one of"),
    ({"kind": "command"}, "'command' is a required property"),
    ({"kind": "attach", "command": ["x"]}, "should not be valid"),
    ({"version": 6.1}, "version: 6.1 is not of type 'string'"),
    ({"times_ms": {"response": 0, "flip_event": 1, "removal": 1}}, "times_ms.response: 0 is less than"),
    ({"times_ms": {"prompt": "soon", "response": 1, "flip_event": 1, "removal": 1}}, "times_ms.prompt: 'soon' is not of type 'integer'"),
    ({"limits": {"connectors": 0}}, "limits.connectors: 0 is less than"),
    ({"capabilities": ["Page Flip"]}, "capabilities.0: 'Page Flip' does not match"),
    ({"colour": "red"}, "'colour' was unexpected"),
    ({"expectations": "none.yaml"}, "No such file"),
    ({"expectations": "../x.yaml"}, "expectations: '../x.yaml' does not match"),
])
def test_a_wrong_descriptor_is_refused_with_its_key(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump({**GOOD, **change}))
    with pytest.raises(peers.PeerFileError) as raised:
        peers.load_descriptor(file)
    assert words in str(raised.value)
    assert str(tmp_path) in str(raised.value)


ENTRY: dict[str, Any] = {
    "case": "frontend.a.*", "bed": "qemu", "versions": ">=6.1", "verdict": "fail", "reason": "does not do it at all",
    "reference": "displif.h, Requests", "owner": "somebody", "expires": "2027-06-30",
}


def test_an_unquoted_date_is_a_date(tmp_path: Path) -> None:
    file = tmp_path / "e.yaml"
    file.write_text(yaml.safe_dump([ENTRY]).replace("'2027-06-30'", "2027-06-30"))
    assert peers.load_expectations(file)[0]["expires"] == "2027-06-30"


@pytest.mark.parametrize(("change", "words"), [
    ({"verdict": "pass"}, "0.verdict: 'pass' is not one of"),
    ({"expires": "soon"}, "0.expires: 'soon' does not match"),
    ({"reason": "?"}, "0.reason: '?' is too short"),
    ({"flaky_rate": 1.5}, "0.flaky_rate: 1.5"),
    ({"case": "Frontend A"}, "0.case: 'Frontend A' does not match"),
    ({"why": "x"}, "'why' was unexpected"),
])
def test_a_wrong_entry_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    file = tmp_path / "e.yaml"
    file.write_text(yaml.safe_dump([{**ENTRY, **change}]))
    with pytest.raises(peers.PeerFileError) as raised:
        peers.load_expectations(file)
    assert words in str(raised.value)


@pytest.mark.parametrize("text", ["{: ", "just words", "\x80"])
def test_what_is_no_list_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "e.yaml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(peers.PeerFileError):
        peers.load_expectations(file)
