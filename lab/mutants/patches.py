"""The semantic patches and what they do to a source tree."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.errors import INFRASTRUCTURE, Stop
from lab.kernel.source import BUFFERS, find_source

HERE = Path(__file__).resolve().parent
INDEX = HERE / "mutants.yaml"
KINDS = ("wire-field", "notification", "index-order", "directory-edge", "grant-life-time", "connector-ring", "event-id",
         "bus-state", "error-path", "concurrency")
KEYS = ("name", "kind", "requirement", "function", "description")
SPATCH_SECONDS = 60


class MutantError(Stop):
    """A mutant is described wrongly, or its patch does not do to this source what it should."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(INFRASTRUCTURE, message, hint)


@dataclass(frozen=True)
class Mutant:
    name: str
    kind: str
    requirement: str
    function: str
    description: str

    @property
    def patch(self) -> Path:
        return HERE / f"{self.name}.cocci"


def list_mutants(index: Path = INDEX) -> list[Mutant]:
    """In the order of the file. Raises MutantError."""
    data = yaml.safe_load(index.read_text(encoding="utf-8"))
    mutants = [_mutant(entry, index) for entry in data["mutants"]]
    names = [mutant.name for mutant in mutants]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise MutantError(f"{index.name}: {', '.join(sorted(twice))} is described twice")
    return mutants


def unbreakable(role: str = "frontend", index: Path = INDEX) -> dict[str, str]:
    """Requirements that no mutant of the driver, or no fault of the fake backend, can break so that it is seen, and why."""
    key = "none" if role == "frontend" else "none_of_backend"
    return {name: " ".join(reason.split()) for name, reason in yaml.safe_load(index.read_text(encoding="utf-8")).get(key, {}).items()}


def _mutant(entry: dict[str, Any], index: Path) -> Mutant:
    name = entry.get("name", "an entry without name")
    if set(entry) != set(KEYS) or not all(isinstance(value, str) and value for value in entry.values()):
        raise MutantError(f"{index.name}: {name} does not have just the texts {', '.join(KEYS)}")
    if entry["kind"] not in KINDS:
        raise MutantError(f"{index.name}: {name} is of no kind that is known: {entry['kind']}")
    mutant = Mutant(**entry)
    if not mutant.patch.is_file():
        raise MutantError(f"{index.name}: {mutant.patch.name} does not exist")
    return mutant


def apply(mutant: Mutant, source: Path, dest: Path) -> Path:
    """Copies the driver's source out of a kernel tree to `dest` (which must not exist) and patches it there.

    xen-front-pgdir-shbuf comes along only when it is what the mutant changes, so that nothing else is replaced by a
    build of ours. Raises MutantError unless exactly the function that the mutant names was changed.
    """
    files = find_source(source).files
    candidates = {place: _text(path) for place, path in files.items() if place.suffix == ".c"}
    owners = [place for place, text in candidates.items() if mutant.function in functions(text)]
    if len(owners) != 1:
        raise MutantError(f"{mutant.name}: the source has {len(owners)} functions {mutant.function}")
    owner = owners[0]
    for place, path in files.items():
        if place != BUFFERS or owner == BUFFERS:
            (dest / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, dest / place)
    _patch(mutant, dest / owner)
    changed = changed_functions(candidates[owner], _text(dest / owner))
    if changed != {mutant.function}:
        raise MutantError(
            f"{mutant.patch.name} changes {', '.join(sorted(changed)) or 'nothing'} in {owner}, "
            f"and should change {mutant.function}",
            "the driver's source is another than the patch was made for",
        )
    return dest


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="surrogateescape")


def _patch(mutant: Mutant, file: Path) -> None:
    argv = ["spatch", "--very-quiet", "--no-includes", "--in-place", "--sp-file", str(mutant.patch), str(file)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=SPATCH_SECONDS, cwd=file.parent,
                              check=False)
    except FileNotFoundError:
        raise MutantError("spatch is not installed", "sudo apt-get install coccinelle") from None
    except subprocess.TimeoutExpired:
        raise MutantError(f"{mutant.patch.name}: spatch took more than {SPATCH_SECONDS} s") from None
    if done.returncode != 0:
        raise MutantError(f"{mutant.patch.name}: spatch failed: {(done.stderr or done.stdout).strip()[-300:]}")


def functions(text: str) -> dict[str, str]:
    """The bodies of a C file's functions in the kernel's style: from `{` to `}`, both alone in the first column."""
    lines = text.split("\n")
    found: dict[str, str] = {}
    start = 0  # of what may be a function's head
    for number, line in enumerate(lines):
        if line == "{":
            names = re.findall(r"(\w+)\s*\(", " ".join(lines[start:number]))
            end = next((n for n in range(number, len(lines)) if lines[n] == "}"), len(lines))
            if names:
                found[names[0]] = "\n".join(lines[number : end + 1])
        elif line == "" or line.endswith((";", "}", "*/")):
            start = number + 1
    return found


def changed_functions(before: str, after: str) -> set[str]:
    """Names of the functions that differ; `(no function)` for a change outside of all."""
    old, new = functions(before), functions(after)
    names = {name for name in {*old, *new} if old.get(name) != new.get(name)}
    if _without(before, old) != _without(after, new):
        names.add("(no function)")
    return names


def _without(text: str, bodies: dict[str, str]) -> str:
    for body in bodies.values():
        text = text.replace(body, "", 1)
    return text
