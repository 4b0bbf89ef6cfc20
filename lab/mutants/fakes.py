"""Mechanical mutants of our own fakes: what a seed chooses in their C++ source, played as the peer under test.

The fakes at their defaults are the conformant reference, so any case that fails on a mutant has caught it. What a fake does
only for the side that tests with it (faults, journals, the record) is left alone: no peer shows it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import threading
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Iterator, Sequence

from lab.build import ROOT
from lab.errors import INFRASTRUCTURE, Stop

from .mechanical import OPERATORS, MechanicalMutant, Operator, choose, changes_of
from .patches import MutantError

# By role: the program that plays the peer, and the files that make it one.
PROGRAMS = {"backend": "displif-fake-backend", "frontend": "displif-fake-guest"}
FOLDERS = {"backend": "fake_backend", "frontend": "fake_frontend"}
# The list of faults, the program's options, and what a test reads of a fake: nothing of a peer.
NOT_THE_PEER = ("faults.cc", "fake_backend.cc", "main.cc", "journal.cc", "wrong_refusals.cc", "breakdown.cc", "tracer.cc", "follower.cc")
STEP_SECONDS = 900.0

# The record, the faults, and what is declared or thrown for the fake's own program.
SKIPPED = re.compile(r"^\s*(//|#|template|using|return \"|static_assert)|recorder_|tracer_|record_|[Ff]ault|strike|struck|meet\(|[jJ]ournal|\bj\.|\blog\(|fmt::format|trouble\(|throw |logic_error|throw_|Json|reserve\(|\bforge")
# What only a fault makes a fake do.
SKIPPED_FUNCTIONS = re.compile(r"fault|shake|foreign|directory_word|dirty|other_|rescue|overdue|^meet|doom|^record|scribble|entries_of|^leak")
_FUNCTION = re.compile(r"^(?!namespace|using|class|struct|enum|template|constexpr|extern|#)[A-Za-z].*?([\w~]+)\(")

_FAULT = re.compile(r"[Ff]aults?\b|strikes?(_at|_with)?\(|struck\(|meet(_\w+)?\(|Breakdown|FrontendFaults|BackendFaults")
_SET = re.compile(r"(\w+) = ")

_CHANGED = {"statement-left-out": re.compile(r"^( +)(\w[\w>.:\-\[\]&*]* (?:=|\|=|\+=|-=) [^;{]+;|(?:\+\+)?[a-z][\w:>.\-]*\([^;{]*\);)$"),
            "condition-turned": re.compile(r"\bif \(((?:[^;=]|[=!<>]=)+)\)(?= \{$|$| return| continue| break)"),
            "constant-off-by-one": re.compile(r"(?<=[\s(,+*-])(\d{1,4})(?=[U\s),;])(?![^\"]*\"[^\"]*$)")}
CPP_OPERATORS = tuple(replace(operator, pattern=_CHANGED.get(operator.name, operator.pattern)) for operator in OPERATORS)


def sites(role: str, root: Path = ROOT) -> list[MechanicalMutant]:
    """Every place where an operator applies, in the order of files and lines."""
    found: list[MechanicalMutant] = []
    for path in sorted((root / FOLDERS[role]).glob("*.cc")):
        if path.name not in NOT_THE_PEER and not path.stem.endswith("_test"):
            found += sites_of(path.relative_to(root), path.read_text(encoding="utf-8"))
    return found


def sites_of(place: Path, text: str, operators: Sequence[Operator] = CPP_OPERATORS) -> Iterator[MechanicalMutant]:
    function, equal = "", Counter[str]()
    lines = text.split("\n")
    left_out = lines_of_faults(lines)
    for number, line in enumerate(lines, 1):
        head = _FUNCTION.match(line)
        if head:
            function, equal = head[1], Counter()
        equal[line.strip()] += 1
        if not function or SKIPPED_FUNCTIONS.search(function) or not line.startswith("  ") or SKIPPED.search(line) or number in left_out:
            continue
        yield from changes_of(place, number, line, function, equal[line.strip()], operators)


def lines_of_faults(lines: Sequence[str]) -> set[int]:
    """The numbers of lines that run, or decide, only where a fault strikes: a condition that asks for one or for what one
    has set, and its block."""
    found: set[int] = set()
    tainted: set[str] = set()
    depth = -1  # of the block that a fault guards
    statement: list[int] = []
    words = ""
    for number, line in enumerate(lines, 1):
        indent = len(line) - len(line.lstrip())
        if line.startswith("}"):
            tainted, depth = set(), -1
        if depth >= 0 and line.strip() and indent <= depth:
            depth = -1
        if depth >= 0:
            found.add(number)
            continue
        statement.append(number)
        words += " " + line.strip()
        if not line.rstrip().endswith((";", "{", "}")) and line.strip():
            continue  # goes on
        if _FAULT.search(words) or any(re.search(rf"\b{name}\b", words) for name in tainted):
            found.update(statement)
            tainted.update(_SET.findall(words))
            if words.endswith("{") and re.search(r"\b(if|for|while|else)\b", words):
                depth = len(lines[statement[0] - 1]) - len(lines[statement[0] - 1].lstrip())
        statement, words = [], ""
    return found


def sample(role: str, count: int, seed: int, root: Path = ROOT) -> list[MechanicalMutant]:
    """`count` of them, the same for the same seed. A change of the source changes the sample only where it is made."""
    def rank(mutant: MechanicalMutant) -> bytes:
        return sha256(f"{role} {seed} {mutant.place} {mutant.function} {mutant.before} {mutant.after}".encode()).digest()

    return choose(sites(role, root), count, lambda members: members.sort(key=rank))


class Workshop:
    """Builds mutants beside the release build: the changed file is compiled, and linked before the library that has it
    unchanged. Nothing of the tree or its build is touched. `program()` may be called from several threads."""

    def __init__(self, role: str, build: Path, work: Path, root: Path = ROOT) -> None:
        self._build, self._work, self._root = build, work, root
        self._units: list[dict[str, str]] = json.loads((build / "compile_commands.json").read_text(encoding="utf-8"))
        listed = subprocess.run(["ninja", "-C", build, "-t", "commands", PROGRAMS[role]], capture_output=True, text=True, check=False)
        if listed.returncode != 0:
            raise Stop(INFRASTRUCTURE, f"{build} does not say how {PROGRAMS[role]} is linked: {listed.stderr.strip()}")
        self._link = next(line for line in reversed(listed.stdout.splitlines()) if f"/{PROGRAMS[role]} " in f"{line} ")
        self._lock = threading.Lock()
        self._rests: dict[Path, list[Path]] = {}

    def program(self, mutant: MechanicalMutant) -> Path | None:
        """Where the mutant's program is; None: it does not build."""
        folder = self._work / mutant.name
        folder.mkdir()
        original = self._root / mutant.place
        lines = original.read_text(encoding="utf-8").split("\n")
        if lines[mutant.line - 1] != mutant.before:
            raise MutantError(f"{mutant.name}: line {mutant.line} of {mutant.place} is another")
        lines[mutant.line - 1] = mutant.after
        changed = folder / original.name
        changed.write_text("\n".join(lines), encoding="utf-8")
        unit, others = self._unit(original)
        compiled, program = folder / "changed.o", folder / "program"
        if not _compiled(unit, changed, compiled):
            return None
        command = linked(self._link, [compiled, *self._rest(original, unit, others)], program)
        return program if _step(command, str(self._build)) else None

    def _unit(self, original: Path) -> tuple[dict[str, str], str]:
        """What compiles the file; of a unity build's unit, which includes several, also what else it includes."""
        include = f'#include "{original}"'
        for unit in self._units:
            if unit["file"] == str(original):
                return unit, ""
            text = Path(unit["file"]).read_text(encoding="utf-8") if "/Unity/" in unit["file"] else ""
            if include in text:
                return unit, text.replace(include, "")
        raise MutantError(f"{original} is compiled nowhere in {self._build}")

    def _rest(self, original: Path, unit: dict[str, str], others: str) -> list[Path]:
        """The rest of the file's unit, compiled once: the library's member must not be taken for it."""
        with self._lock:
            if original not in self._rests:
                source, compiled = self._work / f"beside-{original.name}", self._work / f"beside-{original.stem}.o"
                source.write_text(others, encoding="utf-8")
                if others and not _compiled(unit, source, compiled):
                    raise MutantError(f"{original.name}'s unit does not build without it")
                self._rests[original] = [compiled] if others else []
            return self._rests[original]


def _compiled(unit: dict[str, str], source: Path, output: Path) -> bool:
    words = [str(source) if word == unit["file"] else word for word in shlex.split(unit["command"])]
    words[words.index("-o") + 1] = str(output)
    return _step([*words, "-O0", "-g0", "-w"], unit["directory"])


def _step(argv: Sequence[str], directory: str) -> bool:
    return subprocess.run(argv, cwd=directory, capture_output=True, check=False, timeout=STEP_SECONDS).returncode == 0


def linked(command: str, first: Sequence[Path], output: Path) -> list[str]:
    """Ninja's command for a program (`: && LINKER ... -o OUT LIBS && :`), with objects before all libraries."""
    words = [word for word in shlex.split(command) if word not in (":", "&&")]
    place = words.index("-o")
    return [*words[:place], *map(str, first), "-o", str(output), *words[place + 2 :]]
