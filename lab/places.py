"""Where a requirement stands: its line in cases/requirements.yaml, and the line of its section in the installed header.

Both go into the stream's plan, so that a report can point at them without this tree or Xen's headers.
"""
from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Iterable

from lab.build import ROOT

REQUIREMENTS = ROOT / "cases" / "requirements.yaml"
HEADERS = Path("/usr/include/xen/io")  # Debian's libxen-dev


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def requirement_lines(text: Iterable[str]) -> dict[str, int]:
    found = ((re.fullmatch(r"\s*- id: ([a-z0-9.-]+)\s*", line), number) for number, line in enumerate(text, 1))
    return {match[1]: number for match, number in found if match}


def _first(header: list[str], title: str) -> int | None:
    words = re.compile(r"\s+".join(map(re.escape, title.split())), re.IGNORECASE)
    return next((number for number, line in enumerate(header, 1) if words.search(line)), None) if title.strip() else None


def section_line(header: list[str], section: str, field: str) -> int | None:
    """The first line that holds the section's title, or the first part of it; there, the first that begins with the field's name."""
    titles = (section, *re.split(r"[:,]", section))
    start = next(filter(None, (_first(header, title) for title in titles)), None)
    if start is None or not field:
        return start
    wanted = re.compile(rf"\*\s+{re.escape(field.split()[0].rstrip(','))}\b")
    return next((number for number, line in enumerate(header[start:], start + 1) if wanted.search(line)), start)


def with_places(requirements: Iterable[dict[str, Any]], yaml: Path = REQUIREMENTS, headers: Path = HEADERS) -> tuple[dict[str, Any], ...]:
    """The requirements, each with `line` and `source.line` where those can be told."""
    lines = requirement_lines(_lines(yaml))
    texts: dict[str, list[str]] = {}
    placed = []
    for requirement in requirements:
        entry, source = dict(requirement), dict(requirement.get("source") or {})
        name = str(source.get("file", ""))
        if name not in texts:
            texts[name] = _lines(headers / name) if re.fullmatch(r"[a-z]+\.h", name) else []
        found = section_line(texts[name], str(source.get("section") or ""), str(source.get("field") or ""))
        if found is not None:
            entry["source"] = source | {"line": found}
        if entry.get("id") in lines:
            entry["line"] = lines[entry["id"]]
        placed.append(entry)
    return tuple(placed)
