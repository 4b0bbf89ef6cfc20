"""docs/history.md names cases that there are."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def stems() -> set[str]:
    """What the sources say of case ids: whole ones, and what several ids begin with."""
    found: set[str] = set()
    for path in (ROOT / "cases").glob("*/*.cc"):
        for text in re.findall(r'"((?:frontend|backend)\.[a-z0-9.{}-]*)"', path.read_text(encoding="utf-8")):
            found.add(re.sub(r"\{.*", "", text))
    return found


def test_every_case_that_the_table_names_exists() -> None:
    known = stems()
    missing = []
    for name in re.findall(r"`((?:frontend|backend)\.[a-z0-9.*-]+)`", (ROOT / "docs/history.md").read_text(encoding="utf-8")):
        literal = name.split("*", 1)[0]
        if not any(stem == name or fnmatch.fnmatchcase(stem, name) or (stem.endswith(".") and literal.startswith(stem))
                   or ("*" in name and stem.startswith(literal)) for stem in known):
            missing.append(name)
    assert missing == []


def test_every_row_says_something() -> None:
    rows = [line.split("|")[1:-1] for line in (ROOT / "docs/history.md").read_text(encoding="utf-8").splitlines()
            if line.startswith("| ") and "---" not in line][1:]
    assert len(rows) >= 26
    assert [row for row in rows if len(row) != 3 or not row[2].strip()] == []
