"""`coverage`: which requirement has no case, which case has no fault that it could catch, and what Xen's headers say that
is no requirement. Nothing runs but `displif-cts-runner list`; what was really caught says a kill matrix (--matrix)."""
from __future__ import annotations

import argparse
import fnmatch
import json
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterable, Sequence

from lab import peers
from lab.build import ROOT, LoopbackPrograms, build_loopback
from lab.errors import USAGE, Stop
from lab.mutants import list_mutants, unbreakable
from lab.peers import load_expectations
from lab.progress import Progress
from lab.selftest import list_faults, mutants_of
from lab.suite import Suite, load_suite

ROLES = ("frontend", "backend")
# What breaks what, for the role under test: a frontend is broken by mutating a driver, a backend by the fake's faults.
FAULTS_OF = {"frontend": "driver mutants, or by the shipped driver itself", "backend": "faults of the fake backend"}
SHIPPED = "linux-drm-xen-front"
AFTER_EVERY_CASE = "Health"  # the section of docs/requirements.md whose requirements every case judges


@dataclass(frozen=True)
class Row:
    """One requirement of one role."""

    requirement: str
    level: str
    cases: tuple[str, ...]
    monitors: tuple[str, ...]
    faults: tuple[str, ...]
    reason: str  # why there is no case

    @property
    def judged(self) -> bool:
        return bool(self.cases or self.monitors)


@dataclass
class Coverage:
    """Of one role."""

    role: str
    rows: list[Row] = field(default_factory=list)
    unbreakable: dict[str, tuple[str, ...]] = field(default_factory=dict)  # case -> its requirements, none has a fault
    reasons: dict[str, str] = field(default_factory=dict)  # requirement -> why nothing can break it
    survivors: list[str] = field(default_factory=list)  # faults that a matrix says were not caught
    matrix: str = ""

    @property
    def without_case(self) -> list[Row]:
        return [row for row in self.rows if not row.judged and not row.reason]

    @property
    def excused(self) -> list[Row]:
        return [row for row in self.rows if not row.judged and row.reason]

    @property
    def complete(self) -> bool:
        return not self.without_case and not self.unbreakable and not self.survivors

    def to_json(self) -> dict[str, Any]:
        return {
            "role": self.role,
            "requirements": [{"id": row.requirement, "level": row.level, "cases": list(row.cases),
                              "monitors": list(row.monitors), "faults": list(row.faults), "no_case": row.reason or None}
                             for row in self.rows],
            "no_fault": self.reasons,
            "cases_without_fault": {case: list(names) for case, names in self.unbreakable.items()},
            "survivors": self.survivors, "matrix": self.matrix or None, "complete": self.complete,
        }


def faults_by_requirement(role: str, programs: LoopbackPrograms) -> dict[str, list[str]]:
    """What can break each requirement of the role: the fake's faults, and a frontend's the driver's mutants too."""
    found: dict[str, list[str]] = defaultdict(list)
    for fault in mutants_of(list_faults(programs, role)):
        found[fault.requirement].append(fault.id)
    if role == "frontend":
        for mutant in list_mutants():
            found[mutant.requirement].append(mutant.name)
    return found


def failed_by_shipped() -> list[str]:
    """Globs of the cases that the shipped driver fails, which shows that they can fail."""
    return [entry["case"] for entry in load_expectations(peers.HERE / f"{SHIPPED}.expectations.yaml")]


def measure(role: str, suite: Suite, requirements: Iterable[dict[str, Any]], faults: dict[str, list[str]],
            failed: Sequence[str] = (), reasons: dict[str, str] | None = None) -> Coverage:
    """`requirements`: as requirements.yaml has them; `failed`: globs of cases that a real peer is known to fail;
    `reasons`: why nothing can break a requirement."""
    coverage = Coverage(role, reasons=reasons or {})
    for entry in requirements:
        if entry["role"] not in (role, "both"):
            continue
        name = entry["id"]
        citing = [case for case in suite.cases if name in case.requirements]
        always = suite.cases if entry["source"].get("section") == AFTER_EVERY_CASE else ()
        coverage.rows.append(Row(
            name, entry["level"], tuple(case.id for case in citing or always if not case.monitor),
            tuple(case.id for case in citing if case.monitor), tuple(faults.get(name, ())),
            " ".join(str(entry.get("no_case", "")).split())))
    breakable = {name for name, ids in faults.items() if ids}
    for case in suite.cases:
        known = any(fnmatch.fnmatchcase(case.id, glob) for glob in failed)
        excused = set(case.requirements) <= set(coverage.reasons)
        if not known and not excused and not breakable & set(case.requirements):
            coverage.unbreakable[case.id] = case.requirements
    return coverage


def broken_by_shipped(suite: Suite, failed: Sequence[str]) -> dict[str, list[str]]:
    """Requirements that the shipped driver breaks: those of cases that it fails and that judge this one alone."""
    found: dict[str, list[str]] = defaultdict(list)
    for case in suite.cases:
        if len(case.requirements) == 1 and any(fnmatch.fnmatchcase(case.id, glob) for glob in failed):
            found[case.requirements[0]].append(SHIPPED)
    return found


def apply_matrix(coverage: Coverage, path: Path) -> None:
    """Takes over which faults survived. Raises Stop when it is no kill matrix."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        coverage.survivors = [fault["id"] for fault in data["faults"] if not fault["killed_by"]]
    except OSError as error:
        raise Stop(USAGE, f"--matrix {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise Stop(USAGE, f"--matrix {path} is no kill matrix", "`./displif-cts selftest` writes one") from None
    coverage.matrix = str(path)


def table(coverage: Coverage) -> str:
    """For people: the numbers, then what is missing."""
    rows = coverage.rows
    judged = sum(row.judged for row in rows)
    broken = sum(bool(row.faults) for row in rows if row.judged)
    lines = [
        f"{coverage.role}: {len(rows)} requirements: {judged} with a case or monitor, {len(coverage.excused)} without and with "
        f"a reason, {len(coverage.without_case)} without",
        f"{'':<{len(coverage.role)}}  {broken} of {judged} judged ones can be broken by {FAULTS_OF[coverage.role]}",
    ]
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.requirement.split(".", 1)[0]].append(row)
    width = max(len(name) for name in groups)
    lines.append(f"  {'group':<{width}}  requirements  cases  breakable")
    for name, members in groups.items():
        cases = {case for row in members for case in row.cases}
        lines.append(f"  {name:<{width}}  {len(members):>12}  {len(cases):>5}  {sum(bool(row.faults) for row in members):>9}")
    lines += [f"no case, with a reason: {row.requirement}: {row.reason}" for row in coverage.excused]
    lines += [f"no fault, with a reason: {name}: {reason}" for name, reason in coverage.reasons.items()]
    lines += [f"NO CASE: {row.requirement}" for row in coverage.without_case]
    lines += [f"NO FAULT: {case}: nothing breaks {', '.join(names)}" for case, names in coverage.unbreakable.items()]
    lines += [f"SURVIVOR: {fault} ({coverage.matrix})" for fault in coverage.survivors]
    return "\n".join(lines)


def command(arguments: argparse.Namespace) -> int:
    """`./displif-cts coverage`. 0: nothing is missing."""
    sys.path.insert(0, str(ROOT / "cases"))
    import generate_requirements
    import headers

    programs = build_loopback(Progress())
    requirements = generate_requirements.load(ROOT / "cases" / "requirements.yaml")
    roles: Sequence[str] = ROLES if arguments.role is None else (arguments.role,)
    covered = []
    for role in roles:
        suite, faults = load_suite(programs.runner, role), faults_by_requirement(role, programs)
        failed = failed_by_shipped() if role == "frontend" else []
        for name, peers_that_fail in broken_by_shipped(suite, failed).items():
            faults.setdefault(name, []).extend(peers_that_fail)
        coverage = measure(role, suite, requirements, faults, failed, unbreakable(role))
        if arguments.matrix and role == "backend":
            apply_matrix(coverage, Path(arguments.matrix))
        covered.append(coverage)
    try:
        unknown = headers.faults(headers.read(Path(arguments.headers)), headers.load_index(), requirements)
    except OSError as error:
        raise Stop(USAGE, f"--headers: {error.filename}: {error.strerror}", "libxen-dev installs them") from None
    if arguments.format == "json":
        print(json.dumps({"roles": [each.to_json() for each in covered], "headers": unknown}, indent=1))
    else:
        print("\n\n".join(table(each) for each in covered))
        print(f"\nheaders in {arguments.headers}: " + ("every statement is known" if not unknown else f"{len(unknown)} differences"))
        print("".join(f"HEADER: {line}\n" for line in unknown), end="")
    return 0 if all(each.complete for each in covered) and not unknown else 1
