"""What the suite holds and what a command selects of it: `displif-cts-runner list`, globs, shards."""
from __future__ import annotations

import difflib
import fnmatch
import hashlib
import json
import re
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Sequence

import yaml

from lab.errors import INFRASTRUCTURE, USAGE, Stop
from lab.places import with_places

# Cases that take minutes: they run when they are asked for, and not in the time of every run.
LONG = "long"
AMBIGUITIES = Path(__file__).resolve().parent.parent / "cases" / "ambiguities.yaml"


@dataclass(frozen=True)
class Case:
    id: str
    title: str = ""
    requirements: tuple[str, ...] = ()
    timeout_ms: int = 20_000
    needs: tuple[str, ...] = ()
    monitor: bool = False
    group: str = ""

    def to_plan(self) -> dict[str, Any]:
        plan: dict[str, Any] = {"id": self.id, "title": self.title, "requirements": list(self.requirements),
                                "timeout_ms": self.timeout_ms}
        return plan | ({"monitor": True} if self.monitor else {})


@dataclass(frozen=True)
class Suite:
    cases: tuple[Case, ...]
    requirements: tuple[dict[str, Any], ...] = ()
    ambiguities: tuple[dict[str, Any], ...] = ()  # cases/ambiguities.yaml, those about the requirements

    def citing(self, requirement: str) -> list[Case]:
        """The cases, monitors left out, that say they judge it."""
        return [case for case in self.cases if requirement in case.requirements and not case.monitor]


@dataclass(frozen=True)
class Selection:
    """Which part of the suite is to run."""

    globs: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    shard: tuple[int, int] | None = None  # I of N, from 1
    groups: tuple[str, ...] = ()
    full: bool = False  # the long cases, too

    @property
    def whole(self) -> bool:
        return not self.globs and not self.excludes and not self.groups and not self.full and self.shard is None

    @property
    def names_long(self) -> bool:
        """Whether the long cases are asked for."""
        return self.full or LONG in self.groups or any(f".{LONG}." in glob for glob in self.globs)

    def to_json(self) -> dict[str, Any] | None:
        if self.whole:
            return None
        shard = f"{self.shard[0]}/{self.shard[1]}" if self.shard else None
        more = {"group": list(self.groups)} if self.groups else {}
        return {"case": list(self.globs), "exclude": list(self.excludes), "shard": shard, **more,
                **({"full": True} if self.full else {})}


@dataclass(frozen=True)
class Plan:
    """The selected cases. Monitors watch; the others run."""

    suite: Suite
    selection: Selection
    cases: tuple[Case, ...] = field(default=())

    @property
    def runnable(self) -> list[Case]:
        return [case for case in self.cases if not case.monitor]

    @property
    def monitors(self) -> list[Case]:
        return [case for case in self.cases if case.monitor]

    def to_record(self) -> dict[str, Any]:
        ids = "".join(f"{case.id}\n" for case in self.cases)
        return {
            "cases": [case.to_plan() for case in self.cases],
            "count": len(self.cases),
            "sha256": hashlib.sha256(ids.encode()).hexdigest(),
            "known": [case.id for case in self.suite.cases],
            "requirements": list(self.suite.requirements),
            "ambiguities": list(self.suite.ambiguities),
        }


def parse_shard(text: str) -> tuple[int, int]:
    """`2/4`. Raises ValueError."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError(f"{text!r} is no shard: I/N with 1 <= I <= N")
    return int(found[1]), int(found[2])


def parse_list(text: str) -> Suite:
    """The output of `displif-cts-runner list --format jsonl`."""
    cases: list[Case] = []
    requirements: list[dict[str, Any]] = []
    for line in text.splitlines():
        entry = json.loads(line)
        if "requirement" in entry:
            requirements.append({"id": entry.pop("requirement"), **entry})
        else:
            cases.append(Case(
                id=entry["id"], title=entry.get("title", ""), requirements=tuple(entry.get("requirements", ())),
                timeout_ms=entry.get("timeout_ms", 20_000), needs=tuple(entry.get("needs", ())),
                monitor=entry.get("monitor", False), group=entry.get("group", "")))
    return Suite(tuple(sorted(cases, key=lambda case: case.id)), tuple(requirements))


def load_suite(runner: Path | Sequence[str], role: str) -> Suite:
    """Asks the runner (its path, or a command), on this machine, what it can judge."""
    command = [str(runner)] if isinstance(runner, Path) else list(runner)
    try:
        done = subprocess.run([*command, "list", "--role", role, "--format", "jsonl"],
                              capture_output=True, text=True, timeout=60, check=False)
        suite = parse_list(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        raise Stop(INFRASTRUCTURE, f"{command[-1]} does not list its cases: {error}") from None
    cited = {requirement for case in suite.cases for requirement in case.requirements}
    wanted = [r for r in suite.requirements if r.get("role") in (role, "both") or r["id"] in cited]
    suite = Suite(suite.cases, with_places(wanted), load_ambiguities({entry["id"] for entry in wanted}))
    if not suite.cases:
        raise Stop(INFRASTRUCTURE, f"{command[-1]} lists no case for role {role}: {done.stderr.strip()}")
    return suite


def load_ambiguities(requirements: set[str], register: Path = AMBIGUITIES) -> tuple[dict[str, Any], ...]:
    """What the header leaves open about these requirements; each text in one line."""
    entries = yaml.safe_load(register.read_text(encoding="utf-8"))["ambiguities"]
    return tuple({key: value if isinstance(value, list) else " ".join(value.split()) for key, value in entry.items()}
                 for entry in entries if requirements & set(entry["requirements"]))


def select(suite: Suite, selection: Selection) -> Plan:
    """Applies globs, excludes and shard. Raises Stop (3) when nothing is left that can run."""
    chosen = [case for case in suite.cases if _chosen(case, selection)]
    for glob in selection.globs:
        if not any(fnmatch.fnmatchcase(case.id, glob) for case in suite.cases):
            raise Stop(INFRASTRUCTURE, f"--case {glob} matches no case; nothing ran", _near(glob, suite))
    for group in selection.groups:
        if not any(case.group == group for case in suite.cases):
            raise Stop(INFRASTRUCTURE, f"--group {group} names no group; nothing ran",
                       "groups: " + ", ".join(sorted({case.group for case in suite.cases if case.group})))
    if not chosen:
        raise Stop(INFRASTRUCTURE, "the selection leaves no case; nothing ran")
    if all(case.monitor for case in chosen):
        raise Stop(INFRASTRUCTURE, "nothing to run is selected: monitors judge other cases while these run",
                   "add --case with the cases to watch")
    plan = Plan(suite, selection, tuple(_shard(chosen, selection.shard)))
    if not plan.runnable:
        raise Stop(INFRASTRUCTURE, "the shard is empty: there are fewer cases than shards; nothing ran")
    return plan


def _chosen(case: Case, selection: Selection) -> bool:
    if case.group == LONG and not selection.names_long:
        return False
    if selection.groups and case.group not in selection.groups and not case.monitor:
        return False
    if selection.globs and not any(fnmatch.fnmatchcase(case.id, glob) for glob in selection.globs):
        return False
    return not any(fnmatch.fnmatchcase(case.id, glob) for glob in selection.excludes)


def shard_of(plan: Plan, number: int, of: int) -> Plan:
    """The part of a whole selection; it must have that many cases."""
    return replace(plan, selection=replace(plan.selection, shard=(number, of)), cases=tuple(_shard(plan.cases, (number, of))))


def _shard(cases: Sequence[Case], shard: tuple[int, int] | None) -> list[Case]:
    """Every N-th case; each shard keeps all monitors, for the cases that it runs."""
    if shard is None:
        return list(cases)
    mine = {case.id for case in [c for c in cases if not c.monitor][shard[0] - 1::shard[1]]}
    return [case for case in cases if case.monitor or case.id in mine]


def _near(glob: str, suite: Suite) -> str:
    ids = [case.id for case in suite.cases]
    words = glob.strip("*")
    near = [name for name in ids if words and words in name][:4]
    near = near or difflib.get_close_matches(glob, ids, n=4, cutoff=0.5)
    return "near: " + ", ".join(near) if near else "`./displif-cts list` prints their ids"


def check_globs(globs: Sequence[str], option: str) -> tuple[str, ...]:
    """Case ids are [a-z0-9.-]: anything else in a glob is a mistake worth saying."""
    for glob in globs:
        if not re.fullmatch(r"[a-z0-9.*?\[\]!-]{1,200}", glob):
            raise Stop(USAGE, f"{option} {glob!r}: case ids are made of [a-z0-9.-], globs also of * ? [ ]")
    return tuple(globs)
