"""Mechanical mutants that no case catches, and why: `driver.yaml` for the Linux driver's, `fakes.yaml` for our fakes'.

One that is not explained there makes the command's exit status 1: it wants a case, or a reason."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Sequence

import yaml

from lab.errors import INFRASTRUCTURE, Stop

from .mechanical import MechanicalMutant

KINDS = ("same", "unseen", "allowed", "later")
SURVIVED, NOT_BUILT, NOT_JUDGED = "survived", "does not build", "not judged"
DRIVER = Path(__file__).with_name("driver.yaml")
FAKES = Path(__file__).with_name("fakes.yaml")


@dataclass(frozen=True)
class Classified:
    """Why no case sees a mutant: `same`, nothing that runs is changed; `unseen`, nothing that another domain can see;
    `allowed`, what it does is legal, too; `later`, only a long run or a rare order of events would show it."""

    file: str
    function: str
    before: str
    after: str
    kind: str
    reason: str
    nth: int = 1  # of the equal lines of its function

    def covers(self, mutant: MechanicalMutant) -> bool:
        return (self.file, self.function, self.before, self.after, self.nth) == (
            str(mutant.place), mutant.function, mutant.before.strip(), mutant.after.strip(), mutant.nth)


def classified(path: Path) -> list[Classified]:
    """Raises Stop for an entry that is not as it should be."""
    entries: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    try:
        found = [Classified(**entry) for entry in entries]
    except TypeError as error:
        raise Stop(INFRASTRUCTURE, f"{path}: {error}") from None
    for entry in found:
        if entry.kind not in KINDS or not entry.reason:
            raise Stop(INFRASTRUCTURE, f"{path}: {entry.file} {entry.function}: the kind is one of {', '.join(KINDS)}, and a reason is given")
    return found


def reason_of(mutant: MechanicalMutant, known: Sequence[Classified]) -> Classified | None:
    return next((entry for entry in known if entry.covers(mutant)), None)


def table(rows: Sequence[tuple[MechanicalMutant, str]], known: Sequence[Classified]) -> str:
    """A line each; then the survivors, with why if that is known; last the rate of those that build and were judged."""
    lines = [f"{mutant.name:<56}  {what}" for mutant, what in rows]
    judged = [(mutant, what) for mutant, what in rows if not what.startswith((NOT_BUILT, NOT_JUDGED))]
    survivors = [mutant for mutant, what in judged if what == SURVIVED]
    for mutant in survivors:
        entry = reason_of(mutant, known)
        lines.append(f"known survivor: {mutant.name}: {entry.kind}: {entry.reason}" if entry
                     else f"survivor: {mutant.place}:{mutant.line}: {mutant.description}")
    explained = sum(reason_of(mutant, known) is not None for mutant in survivors)
    lines.append(f"{len(judged) - len(survivors)} of {len(judged)} mechanical mutants caught, {explained} known survivors, "
                 f"{len(survivors) - explained} others")
    return "\n".join(lines)


def status(rows: Sequence[tuple[MechanicalMutant, str]], known: Sequence[Classified]) -> int:
    if any(what == SURVIVED and reason_of(mutant, known) is None for mutant, what in rows):
        return 1
    return INFRASTRUCTURE if any(what.startswith(NOT_JUDGED) for _, what in rows) else 0
