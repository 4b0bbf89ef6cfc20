#!/usr/bin/python3
"""Makes docs/ambiguities.md of cases/ambiguities.yaml, so that the register and its page cannot differ.

usage: ambiguities.py [--check]

--check writes nothing and exits with 1 when the page is not what the register says.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Sequence

import yaml

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import generate_requirements  # noqa: E402
from generate_requirements import BadInput, one_line  # noqa: E402

REGISTER = HERE / "ambiguities.yaml"
PAGE = HERE.parent / "docs" / "ambiguities.md"
TEXTS = ("id", "where", "question", "linux", "displ_be", "judged", "why")
HEAD = """\
# Ambiguities

<!-- Made by cases/ambiguities.py from cases/ambiguities.yaml: edit that. -->

Where displif.h contradicts itself, is silent, or can be read in two ways: what the two deployed sides do (Linux's
frontend, seen in its source and in runs; displ_be with libxenbe, read from its source), how this suite judges, and
why. Where several readings are legal, the cases accept all of them.
"""


def load(path: Path = REGISTER, requirements: Sequence[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    """The register in the file's order, its texts in one line each. Raises BadInput."""
    document = yaml.load(path.read_text(encoding="utf-8"), Loader=generate_requirements.LOADER)
    entries = document.get("ambiguities") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise BadInput(f"{path.name}: 'ambiguities' is missing or empty")
    if requirements is None:
        requirements = generate_requirements.load(HERE / "requirements.yaml")
    known = {entry["id"] for entry in requirements}
    faults, ids = [], set()
    for entry in entries:
        name = entry.get("id", "an entry without id")
        wrong = sorted(set(entry) ^ {*TEXTS, "requirements"})
        faults += [f"{path.name}: {name}: '{key}' is missing or unknown" for key in wrong]
        faults += [f"{path.name}: {name}: there is no requirement {each}"
                   for each in entry.get("requirements", ()) if each not in known]
        if not entry.get("requirements"):
            faults.append(f"{path.name}: {name}: names no requirement")
        if name in ids:
            faults.append(f"{path.name}: {name} stands twice")
        ids.add(name)
    if faults:
        raise BadInput(*faults)
    return [{key: one_line(value) if isinstance(value, str) else value for key, value in entry.items()} for entry in entries]


def page(entries: Sequence[dict[str, Any]]) -> str:
    """docs/ambiguities.md."""
    parts = [HEAD, "| | question | judged |", "|---|---|---|"]
    parts += [f"| [{e['id']}](#{e['id']}) | {_cell(e['question'])} | {_cell(e['judged'])} |" for e in entries]
    for entry in entries:
        parts += [
            "", f"## {entry['id']}", "",
            f"*{entry['where']}.* {entry['question']}", "",
            f"- Linux: {entry['linux']}",
            f"- displ_be: {entry['displ_be']}",
            f"- This suite: {entry['judged']}",
            f"- Why: {entry['why']}",
            f"- Requirements: {', '.join(f'`{name}`' for name in entry['requirements'])}",
        ]
    return "\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(argv: Sequence[str]) -> int:
    if argv not in ([], ["--check"]):
        print("usage: ambiguities.py [--check]", file=sys.stderr)
        return 2
    try:
        text = page(load())
    except (BadInput, OSError) as error:
        print("\n".join(map(str, error.args)), file=sys.stderr)
        return 1
    if not argv:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text:
        print(f"{PAGE.name} is not what {REGISTER.name} says: run cases/ambiguities.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
