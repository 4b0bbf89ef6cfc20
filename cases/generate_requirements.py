#!/usr/bin/python3
"""Turns cases/requirements.yaml into C++ constants, so that a case cannot name a requirement that does not exist.

usage: generate_requirements.py IN.yaml OUT.h

Bad input is refused with one line per fault (file:line: what is wrong) and exit status 1; nothing is written then.
The output depends on the input alone, and is left untouched when it would not change.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import yaml

LEVELS = ("must", "should", "may", "robust")
ROLES = ("frontend", "backend", "both")
KEYS = ("id", "role", "level", "source", "text", "reading", "no_case")
SOURCE_KEYS = ("file", "section", "field")
ID = re.compile(r"[a-z][a-z0-9-]*(\.[a-z0-9][a-z0-9-]*)+")
MAX_ID = 100
CPP_KEYWORDS = frozenset(
    "alignas alignof and asm auto bool break case catch char class const constexpr continue default delete do double"
    " else enum explicit export extern false float for friend goto if inline int long namespace new not operator or"
    " private protected public register return short signed sizeof static struct switch template this throw true try"
    " typedef typename union unsigned using virtual void volatile while xor".split()
)


LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # where libyaml is there: ten times as fast


class BadInput(Exception):
    """The file cannot be used; the faults are its arguments, each a full line."""


def identifier(requirement_id: str) -> str:
    """The C++ name of a requirement: dots and hyphens become underscores."""
    return re.sub(r"[.-]", "_", requirement_id)


def one_line(text: str) -> str:
    return " ".join(text.split())


def literal(text: str) -> str:
    """A C++ string literal. UTF-8 passes through; control characters cannot occur after one_line()."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("??", "?\\?") + '"'


def _line_numbers(text: str) -> list[int]:
    """The line on which each requirement starts, in order."""
    root = yaml.compose(text, Loader=LOADER)
    if not isinstance(root, yaml.MappingNode):
        return []
    for key, value in root.value:
        if key.value == "requirements" and isinstance(value, yaml.SequenceNode):
            return [item.start_mark.line + 1 for item in value.value]
    return []


def _text_fault(entry: dict[str, Any], key: str) -> str | None:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        return f"'{key}' is missing or empty"
    return None


def _entry_faults(entry: Any) -> list[str]:
    if not isinstance(entry, dict):
        return ["a requirement is a mapping with the keys " + ", ".join(KEYS)]
    faults = [f"unknown key '{key}'" for key in entry if key not in KEYS]
    requirement_id = entry.get("id")
    if not isinstance(requirement_id, str) or not requirement_id:
        faults.append("'id' is missing")
    elif not ID.fullmatch(requirement_id):
        faults.append(f"id '{requirement_id}' is not of the form group.statement in [a-z0-9.-]")
    elif len(requirement_id) > MAX_ID:
        faults.append(f"id '{requirement_id}' is longer than {MAX_ID} characters")
    elif identifier(requirement_id) in CPP_KEYWORDS:
        faults.append(f"id '{requirement_id}' is a C++ keyword")
    for key, allowed in (("role", ROLES), ("level", LEVELS)):
        if entry.get(key) not in allowed:
            faults.append(f"{key} '{entry.get(key)}' is none of " + ", ".join(allowed))
    if fault := _text_fault(entry, "text"):
        faults.append(fault)
    for key in ("reading", "no_case"):
        if key in entry and (fault := _text_fault(entry, key)):
            faults.append(fault)
    source = entry.get("source")
    if not isinstance(source, dict):
        faults.append("'source' is missing: {file, section, field (where there is one)}")
    else:
        faults += [f"source has the unknown key '{key}'" for key in source if key not in SOURCE_KEYS]
        faults += [f"source: {fault}" for key in ("file", "section") if (fault := _text_fault(source, key))]
        if "field" in source and (fault := _text_fault(source, "field")):
            faults.append(f"source: {fault}")
    return faults


def load(path: Path) -> list[dict[str, Any]]:
    """The requirements in the file's order, whole; raises BadInput with every fault found."""
    try:
        text = path.read_text(encoding="utf-8")
        document = yaml.load(text, Loader=LOADER)
        lines = _line_numbers(text)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: is not UTF-8: {error}") from error
    except yaml.YAMLError as error:
        raise BadInput(f"{path}: is not YAML: {one_line(str(error))}") from error
    if not isinstance(document, dict) or document.get("version") != 1:
        raise BadInput(f"{path}: 'version: 1' is missing at the top")
    entries = document.get("requirements")
    if not isinstance(entries, list) or not entries:
        raise BadInput(f"{path}: 'requirements' is missing or empty")

    faults: list[str] = []
    first_line: dict[str, int] = {}
    by_identifier: dict[str, str] = {}
    for entry, line in zip(entries, lines, strict=True):
        faults += [f"{path}:{line}: {fault}" for fault in _entry_faults(entry)]
        requirement_id = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(requirement_id, str):
            continue
        if requirement_id in first_line:
            faults.append(f"{path}:{line}: id '{requirement_id}' stands already in line {first_line[requirement_id]}")
            continue
        first_line[requirement_id] = line
        other = by_identifier.setdefault(identifier(requirement_id), requirement_id)
        if other != requirement_id:
            faults.append(f"{path}:{line}: ids '{requirement_id}' and '{other}' have the same C++ name")
    if faults:
        raise BadInput(*faults)
    return entries


def header(entries: list[dict[str, Any]], source_name: str) -> str:
    """The C++ header for loaded requirements."""
    out = [
        f"// Generated from {source_name} by generate_requirements.py. Do not edit.",
        "#pragma once",
        "",
        "#include <array>",
        "",
        '#include "harness/trace/requirement.h"',
        "",
        "namespace displif_cts::req {",
        "",
    ]
    for entry in entries:
        source = entry["source"]
        section = one_line(source["section"])
        if "field" in source:
            section += ", " + one_line(source["field"])
        out += [
            f"inline constexpr Requirement {identifier(entry['id'])}{{",
            f"    {literal(entry['id'])},",
            f"    Role::{entry['role']},",
            f"    Level::{entry['level']},",
            f"    {literal(one_line(entry['text']))},",
            f"    {literal(one_line(source['file']))},",
            f"    {literal(section)},",
            f"    {literal(one_line(entry.get('reading', '')))}}};",
        ]
    out += ["", f"inline constexpr std::array<const Requirement*, {len(entries)}> all{{"]
    out += [f"    &{identifier(entry['id'])}," for entry in entries]
    out += ["};", "", "}  // namespace displif_cts::req", ""]
    return "\n".join(out)


def main(argv: list[str]) -> int:
    if len(argv) != 3:
        print("usage: generate_requirements.py IN.yaml OUT.h", file=sys.stderr)
        return 2
    source, target = Path(argv[1]), Path(argv[2])
    try:
        text = header(load(source), f"{source.parent.name}/{source.name}")
    except BadInput as bad:
        print("\n".join(bad.args), file=sys.stderr)
        return 1
    try:
        if not target.is_file() or target.read_text(encoding="utf-8") != text:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
    except OSError as error:
        print(f"{target}: cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
