"""The headers' checker: everything that the installed headers say is known, and what another header adds is seen."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

CASES = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CASES))

import generate_requirements  # noqa: E402
import headers  # noqa: E402

REQUIREMENTS = generate_requirements.load(CASES / "requirements.yaml")


INDEX = headers.load_index()


def faults(folder: Path, index: list[headers.Entry] | None = None,
           requirements: list[dict[str, Any]] | None = None) -> list[str]:
    return headers.faults(headers.read(folder), index or INDEX, requirements or REQUIREMENTS)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in headers.HEADERS:
        shutil.copy(headers.INSTALLED / name, tmp_path / name)
    return tmp_path


def edit(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text(encoding="utf-8")
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1), encoding="utf-8")


def index_with(key_of: str, **said: Any) -> list[headers.Entry]:
    """The index, with something else said of the piece that begins with `key_of`."""
    entries = []
    for entry in INDEX:
        if entry.file == "displif.h" and entry.begins.startswith(key_of):
            entry = headers.Entry(entry.file, entry.context, entry.begins, entry.key, tuple(said.get("requirements", ())),
                                  said.get("reason", ""), said.get("programming", False))
        entries.append(entry)
    return entries


def test_everything_in_the_installed_headers_is_known() -> None:
    run = subprocess.run([sys.executable, str(CASES / "headers.py")], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


def test_no_line_is_left_out() -> None:
    """Each word of a header is in a piece, or in a title; but banners, braces, and the editor's block at the end."""
    for name in headers.HEADERS:
        text = (headers.INSTALLED / name).read_text(encoding="utf-8")
        found = headers.pieces(name, text)
        walked = {word for piece in found for word in words(f"{piece.text} {piece.context}")}
        for number, line in enumerate(text.split(" * Local variables:")[0].split("\n"), 1):
            missing = [word for word in words(line) if word not in walked]
            assert not missing or line.strip(" *") in TITLES_WITHOUT_TEXT, f"{name}:{number}: {missing}"


# Sections that hold definitions only, and the names of two unions.
TITLES_WITHOUT_TEXT = ("EVENT CODES", "XENSTORE FIELD AND PATH NAME STRINGS, HELPERS", "Backend XenBus Nodes",
                       "Frontend XenBus Nodes", "union {", "} op;")


def words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z0-9_]+", text)


def test_a_paragraph_that_a_header_adds_is_seen(copy: Path) -> None:
    edit(copy, "displif.h", " * bpp - uint32_t, bits per pixel\n */\n\nstruct xendispl_set_config_req {",
         " * bpp - uint32_t, bits per pixel\n *\n * Rotation must be a multiple of 90.\n */\n\nstruct xendispl_set_config_req {")
    wrong = faults(copy)
    assert len(wrong) == 1 and wrong[0].startswith("displif.h:696: not known") and "Rotation must be" in wrong[0]


def test_a_field_that_a_header_adds_is_seen(copy: Path) -> None:
    edit(copy, "displif.h", "    uint32_t bpp;\n};", "    uint32_t bpp;\n    uint32_t rotation;\n};")
    assert [line for line in faults(copy) if "uint32_t rotation;" in line]


def test_a_word_that_changed_is_seen_from_both_sides(copy: Path) -> None:
    edit(copy, "displif.h", "must not be used", "should not be used")
    wrong = faults(copy)
    assert any("not known" in line and "should not be used" in line for line in wrong)
    assert any("does not have it" in line for line in wrong)


def test_a_sentence_that_is_gone_is_seen(copy: Path) -> None:
    edit(copy, "displif.h", " * Request codes [0; 15] are reserved and must not be used\n", "")
    assert any("does not have it" in line for line in faults(copy))


def test_lines_may_move(copy: Path) -> None:
    edit(copy, "displif.h", "#include \"ring.h\"", "\n\n\n#include \"ring.h\"")
    assert faults(copy) == []


def test_a_sentence_that_binds_may_not_be_informative() -> None:
    index = index_with("Request codes [0; 15]", reason="Nobody uses them.")
    assert any("says 'reserved', and may not be informative" in line for line in faults(headers.INSTALLED, index))


def test_only_ring_h_tells_programmers() -> None:
    index = index_with("Request codes [0; 15]", reason="Nobody uses them.", programming=True)
    assert any("`programming` is for ring.h only" in line for line in faults(headers.INSTALLED, index))


def test_every_field_needs_a_requirement_of_its_own() -> None:
    index = index_with("grant_ref_t gref_directory;", requirements=("dbuf-create.width",))
    assert any("no requirement has gref_directory as its field" in line for line in faults(headers.INSTALLED, index))


def test_requirements_are_checked_from_both_sides() -> None:
    index = index_with("Request codes [0; 15]", requirements=("no.such",))
    assert any("there is no requirement no.such" in line for line in faults(headers.INSTALLED, index))
    more = [*REQUIREMENTS, {"id": "new.one", "source": {"file": "displif.h", "section": "Requests"}}]
    assert faults(headers.INSTALLED, requirements=more) == ["requirement new.one: no piece of displif.h is cited by it"]


def test_a_wrong_index_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "headers.yaml"
    file.write_text(yaml.safe_dump({"headers": {"ring.h": {"x": [{"begins": "a", "piece": "b"}]}}}), encoding="utf-8")
    with pytest.raises(generate_requirements.BadInput, match="one of"):
        headers.load_index(file)


def test_missing_headers_are_one_line(tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, str(CASES / "headers.py"), "--headers", str(tmp_path)], capture_output=True, text=True,
                         check=False)
    assert run.returncode == 1 and "displif.h: No such file" in run.stderr and "Traceback" not in run.stderr
