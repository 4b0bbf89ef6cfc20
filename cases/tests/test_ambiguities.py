"""The register of ambiguities and its page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

CASES = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CASES))

import ambiguities  # noqa: E402
import generate_requirements  # noqa: E402

# What the specification is known to leave open: none may get lost.
KNOWN = ("octet-numbers", "response-operation", "event-ids", "get-edid-in-version-1", "version-nodes-missing", "error-codes",
         "buffer-size", "stride", "event-slots", "event-page-overflow", "directory-shape", "flip-order", "reset",
         "end-of-session", "ring-of-connector-requests", "suspend-and-resume", "cookies-as-addresses", "import-geometry")


def test_the_page_is_what_the_register_says() -> None:
    run = subprocess.run([sys.executable, str(CASES / "ambiguities.py"), "--check"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_nothing_known_is_lost() -> None:
    ids = [entry["id"] for entry in ambiguities.load()]
    assert [name for name in KNOWN if name not in ids] == []


def test_a_requirement_that_reads_something_into_the_header_is_in_no_conflict() -> None:
    """The register and the requirements' own readings are about the same ids."""
    known = {entry["id"] for entry in generate_requirements.load(CASES / "requirements.yaml")}
    for entry in ambiguities.load():
        assert set(entry["requirements"]) <= known


def test_wrong_entries_are_refused(tmp_path: Path) -> None:
    good = ambiguities.load()[0]
    for wrong in ({**good, "requirements": ["no.such"]}, {**good, "judged_by": "x"},
                  {key: value for key, value in good.items() if key != "why"}, {**good, "requirements": []}):
        file = tmp_path / "ambiguities.yaml"
        file.write_text(yaml.safe_dump({"ambiguities": [wrong]}), encoding="utf-8")
        with pytest.raises(generate_requirements.BadInput):
            ambiguities.load(file)
    file.write_text(yaml.safe_dump({"ambiguities": [good, good]}), encoding="utf-8")
    with pytest.raises(generate_requirements.BadInput, match="stands twice"):
        ambiguities.load(file)
