"""Was a mutant caught? Read from the stream of its run, and of the same cases' run on the driver as it is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, Sequence

from lab.errors import INFRASTRUCTURE, Stop

from .mechanical import MechanicalMutant
from .patches import Mutant


@dataclass(frozen=True)
class Checks:
    """Which cases checked which requirement in a run, and which failed at it."""

    done: frozenset[tuple[str, str]]  # (requirement, case)
    failed: frozenset[tuple[str, str]]
    complete: bool
    troubled: frozenset[str] = frozenset()  # cases that ended as infra-error

    def __or__(self, other: Checks) -> Checks:
        """With a later run of the cases that this one had trouble with."""
        return Checks(self.done | other.done, self.failed | other.failed, self.complete and other.complete, other.troubled)

    def cases(self, requirement: str, failed: bool) -> list[str]:
        pairs = self.failed if failed else self.done
        return sorted(case for name, case in pairs if name == requirement)


@dataclass(frozen=True)
class Judgement:
    """`by` is the case that caught the mutant; None: it survived, and `why` says how."""

    mutant: Mutant
    by: str | None
    why: str
    seconds: float
    unjudged: bool = False  # our own trouble: neither caught nor survived

    @property
    def text(self) -> str:
        return f"caught by {self.by}" if self.by else f"{'NOT JUDGED' if self.unjudged else 'SURVIVED'}: {self.why}"


def read_checks(stream: Path) -> Checks:
    """Raises Stop when there is no stream."""
    done: set[tuple[str, str]] = set()
    failed: set[tuple[str, str]] = set()
    complete = False
    troubled: set[str] = set()
    for record in _records(stream):
        if record.get("t") == "check":
            pair = (str(record.get("requirement")), str(record.get("during") or record.get("case")))
            done.add(pair)
            if record.get("ok") is False:
                failed.add(pair)
        if record.get("t") == "verdict" and record.get("verdict") == "infra-error":
            troubled.add(str(record.get("case")))
        complete = record.get("t") == "end"
    return Checks(frozenset(done), frozenset(failed), complete, frozenset(troubled))


@dataclass(frozen=True)
class Verdict:
    verdict: str
    reason: str

    @property
    def unloadable(self) -> bool:
        """The guest's kernel would not have the driver (lab/qemu/template.py, load_module)."""
        return self.verdict == "infra-error" and "refuses" in self.reason


def read_verdicts(stream: Path) -> dict[str, Verdict]:
    """The last verdict of each case. Raises Stop when there is no stream."""
    return {str(record["case"]): Verdict(str(record["verdict"]), str(record.get("reason", "")))
            for record in _records(stream) if record.get("t") == "verdict"}


def _records(stream: Path) -> Iterator[dict[str, Any]]:
    try:
        with stream.open("rb") as file:
            for line in file:
                try:
                    record = json.loads(line)
                except ValueError:
                    continue  # a stream that was cut off: not complete
                if isinstance(record, dict):
                    yield record
    except OSError as error:
        raise Stop(INFRASTRUCTURE, f"{stream}: {error.strerror}") from None


def judge(mutant: Mutant, seen: Checks, stock: Checks, seconds: float) -> Judgement:
    """Caught by a failed check of the mutant's requirement, in a case that the driver as it is passes: nothing else
    counts, neither another check nor a time-out or crash."""
    requirement = mutant.requirement
    already = set(stock.cases(requirement, failed=True))
    killers = [case for case in seen.cases(requirement, failed=True) if case not in already]
    if killers:
        return Judgement(mutant, killers[0], "", seconds)
    if not stock.cases(requirement, failed=False):
        why = "no case checked the requirement on the driver as it is"
    elif not seen.cases(requirement, failed=False):
        why = "no case came as far as checking the requirement"
    elif set(seen.cases(requirement, failed=True)) & already:
        why = "the driver as it is fails the same checks"
    else:
        why = "every check of the requirement held"
    if seen.troubled:
        return Judgement(mutant, None, "a case ended as infra-error", seconds, unjudged=True)
    return Judgement(mutant, None, why, seconds)


def table(judgements: Sequence[Judgement]) -> str:
    head = ("mutant", "kind", "requirement", "caught by", "time")
    rows = [(j.mutant.name, j.mutant.kind, j.mutant.requirement, j.by or j.text, f"{j.seconds:.0f} s")
            for j in judgements]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in (head, *rows)]
    return "\n".join(lines)


def by_kind(judgements: Sequence[Judgement]) -> str:
    """How many were caught of each kind."""
    kinds = sorted({judgement.mutant.kind for judgement in judgements})
    rows = [(kind, [judgement for judgement in judgements if judgement.mutant.kind == kind]) for kind in kinds]
    return "\n".join(f"{kind:<20} {sum(j.by is not None for j in members):>3} of {len(members):>3}" for kind, members in rows)
