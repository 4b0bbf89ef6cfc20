"""Mutants that nobody thought of: small changes at places of the driver's source that a seed chooses.

Each is one operator applied at one place: a condition turned round, a comparison by one, a statement left out, a constant one
off, a truth value swapped. No requirement is named: such a mutant is caught by any case that the driver as it is passes."""

from __future__ import annotations

import random
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, Sequence

from lab.kernel.source import BUFFERS, find_source

from .patches import MutantError, functions

# Printing and module boilerplate: nothing of it can be seen on the wire, or the module would not load.
SKIPPED = re.compile(r"DRM_(ERROR|DEBUG|INFO)|dev_err|MODULE_|EXPORT_SYMBOL|WARN_ON|^\s*(/?\*|//|#|static|struct|unsigned|int|bool|u\d+)\b")


@dataclass(frozen=True)
class Operator:
    name: str
    pattern: re.Pattern[str]
    change: Callable[[re.Match[str]], str]


OPERATORS = (
    Operator("condition-turned", re.compile(r"\bif \((.+)\)(?= \{$|$)"), lambda m: f"if (!({m[1]}))"),
    Operator("comparison-by-one", re.compile(r"(?<=[\w)\]] )(<=|>=|<|>)(?= [\w(&*-])"),
             lambda m: {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}[m[1]]),
    Operator("equality-swapped", re.compile(r" (==|!=) "), lambda m: " != " if m[1] == "==" else " == "),
    Operator("statement-left-out", re.compile(r"^(\t+)([\w>.\-\[\]&]+ (?:=|\|=|\+=|-=) [^;]+;|[a-z_]+\([^;]*\);)$"), lambda m: f"{m[1]};"),
    Operator("constant-off-by-one", re.compile(r"(?<=[\s(,+*-])(\d{1,4})(?=[\s),;])(?![^\"]*\"[^\"]*$)"), lambda m: str(int(m[1]) + 1)),
    Operator("truth-swapped", re.compile(r"\b(true|false)\b"), lambda m: "false" if m[1] == "true" else "true"),
)


@dataclass(frozen=True)
class MechanicalMutant:
    place: Path  # of the file, in a kernel tree
    line: int  # from 1
    operator: str
    before: str
    after: str
    function: str
    nth: int = 1  # of the equal lines of its function

    @property
    def name(self) -> str:
        return f"{self.place.stem}-{self.line}-{self.operator}".replace("_", "-")

    @property
    def description(self) -> str:
        return f"{self.function}(): `{self.before.strip()}` becomes `{self.after.strip()}`"


def sites(source: Path) -> list[MechanicalMutant]:
    """Every place where an operator applies, in the order of files and lines."""
    found: list[MechanicalMutant] = []
    for place, path in sorted(find_source(source).files.items()):
        if place.suffix == ".c":
            found += _sites_of(place, path.read_text(encoding="utf-8", errors="surrogateescape"))
    return found


def _sites_of(place: Path, text: str) -> Iterator[MechanicalMutant]:
    for function, body in functions(text).items():
        if function.endswith("_init") and "__init" in text.split(body)[0].rsplit("\n\n", 1)[-1]:
            continue  # the module's own
        first = text[: text.index(body)].count("\n") + 1
        equal: Counter[str] = Counter()
        for offset, line in enumerate(body.split("\n")):
            equal[line.strip()] += 1
            if SKIPPED.search(line):
                continue
            yield from changes_of(place, first + offset, line, function, equal[line.strip()], OPERATORS)


def changes_of(place: Path, number: int, line: str, function: str, nth: int, operators: Sequence[Operator]) -> Iterator[MechanicalMutant]:
    """What each operator makes of a line, where it makes anything of it."""
    for operator in operators:
        match = operator.pattern.search(line)
        if match is None:
            continue
        after = line[: match.start()] + operator.change(match) + line[match.end() :]
        if after != line:
            yield MechanicalMutant(place, number, operator.name, line, after, function, nth)


def sample(source: Path, count: int, seed: int) -> list[MechanicalMutant]:
    """`count` of them, the same for the same seed and source."""
    return choose(sites(source), count, random.Random(seed).shuffle)


def choose(found: Sequence[MechanicalMutant], count: int, arrange: Callable[[list[MechanicalMutant]], None]) -> list[MechanicalMutant]:
    """Each operator has its turn before one comes again; of one operator's, the last after `arrange` comes first."""
    by_operator = {operator.name: [site for site in found if site.operator == operator.name] for operator in OPERATORS}
    for members in by_operator.values():
        arrange(members)
    chosen: list[MechanicalMutant] = []
    while len(chosen) < count and any(by_operator.values()):
        for members in by_operator.values():
            if members and len(chosen) < count:
                chosen.append(members.pop())
    return chosen


def apply(mutant: MechanicalMutant, source: Path, dest: Path) -> Path:
    """The driver's source with that one line changed. Raises MutantError when the line is another."""
    for place, path in find_source(source).files.items():
        if place == BUFFERS and mutant.place != BUFFERS:
            continue
        (dest / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, dest / place)
    file = dest / mutant.place
    lines = file.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    if lines[mutant.line - 1] != mutant.before:
        raise MutantError(f"{mutant.name}: line {mutant.line} of {mutant.place} is another")
    lines[mutant.line - 1] = mutant.after
    file.write_text("\n".join(lines), encoding="utf-8", errors="surrogateescape")
    return dest


def describe(mutants: Sequence[MechanicalMutant]) -> str:
    return "\n".join(f"{mutant.name:<60} {mutant.description}" for mutant in mutants)
