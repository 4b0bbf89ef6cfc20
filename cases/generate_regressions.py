"""Regression cases for C++: each text of a folder (fuzzers/input's format, with a few lines of comment that say what it is)
becomes an entry of one table, so that a text that names no requirement, or one that does not exist, does not build.

    displif-cts fuzz input 1
    # title: One sentence: what must hold.
    # requirements: health.kernel-log-clean
    # finding: docs/findings/PAGE.md, or where it came from
    bus
    ...
"""
from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
HEAD = "displif-cts fuzz input 1"


@dataclass(frozen=True)
class Regression:
    name: str
    title: str
    requirements: tuple[str, ...]
    text: str

    @property
    def id(self) -> str:
        return f"frontend.regression.{self.name}"


class BadRegression(Exception):
    pass


def parse(name: str, text: str) -> Regression:
    """Raises BadRegression that says what is missing."""
    if not NAME.fullmatch(name) or len(f"frontend.regression.{name}") > 100:
        raise BadRegression(f"{name}: no name of a case: [a-z0-9.-], at most 80")
    if not text.startswith(HEAD + "\n"):
        raise BadRegression(f"{name}: does not begin with '{HEAD}'")
    fields = dict(re.findall(r"^# (title|requirements|finding): (.+)$", text, re.MULTILINE))
    for field in ("title", "requirements", "finding"):
        if field not in fields:
            raise BadRegression(f"{name}: no line '# {field}: ...'")
    requirements = tuple(word.strip() for word in fields["requirements"].split(","))
    return Regression(name, fields["title"].strip(), requirements, text)


def regressions_in(folder: Path) -> list[Regression]:
    return [parse(path.stem, path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.txt"))]


def constant(requirement: str) -> str:
    return "req::" + re.sub(r"[^a-z0-9]", "_", requirement)


def header(regressions: list[Regression]) -> str:
    lines = ["// Made by cases/generate_regressions.py out of cases/frontend/regressions.", "#pragma once", "",
             '#include "cases/support/input_case.h"', '#include "cases/requirements.gen.h"', "",
             "namespace displif_cts::cases {", "",
             f"inline const std::array<Regression, {len(regressions)}> kRegressions{{{{"]
    for each in regressions:
        names = ", ".join("&" + constant(name) for name in each.requirements)
        lines.append(f'    {{"{each.id}", R"({each.title})", {{{names}}}, R"input({each.text})input"}},')
    return "\n".join([*lines, "}};", "", "}  // namespace displif_cts::cases", ""])


def main(arguments: list[str]) -> int:
    folder, target = Path(arguments[0]), Path(arguments[1])
    try:
        text = header(regressions_in(folder))
    except (BadRegression, OSError) as error:
        print(f"{folder}: {error}", file=sys.stderr)
        return 1
    if not target.exists() or target.read_text(encoding="utf-8") != text:
        target.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
