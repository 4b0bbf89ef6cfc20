"""A stream as one object: the plan, and what was recorded of each case. One pass; of messages only the places are kept."""
from __future__ import annotations

import functools
import json
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reports.fold import Fold, Judgement
from reports.reader import MAX_LINE, Damage, Line, StreamReader, record_trouble
from reports.statuses import statuses

TAIL_OF_GOOD = 8
MAX_LOG_LINES = 400
BUFFER = 64 * 1024  # about the messages of one case

Key = tuple[str, int]  # case id, attempt


@dataclass
class CaseRun:
    """One attempt of one case."""

    id: str
    attempt: int = 1
    monitor: bool = False
    begun: bool = False
    fold: Fold = field(default_factory=Fold)
    failed: list[dict[str, Any]] = field(default_factory=list)  # checks; for a monitor with `during`
    kept: Counter[str] = field(default_factory=Counter)  # requirement -> checks that held
    failed_at: list[int] = field(default_factory=list)  # of each failed check: messages of the watched case before it
    messages: array[int] = field(default_factory=lambda: array("Q"))  # where each begins in the file
    kernel_log: list[tuple[str, str]] = field(default_factory=list)  # whose, line
    artifacts: list[dict[str, Any]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    stored: dict[str, Any] | None = None  # the verdict record
    ambiguous: bool = False  # it has more than one

    @property
    def verdict(self) -> str | None:
        return None if self.stored is None else str(self.stored["verdict"])

    @property
    def reason(self) -> str:
        return "" if self.stored is None else str(self.stored.get("reason", ""))

    @property
    def seconds(self) -> float:
        return 0.0 if self.stored is None else self.stored.get("ns_spent", 0) / 1e9

    def folded(self) -> Judgement:
        return self.fold.judge_monitor() if self.monitor else self.fold.judge()


@dataclass
class Run:
    """What a stream says, without any judgement of its own."""

    path: Path
    damage: Damage
    run: dict[str, Any] = field(default_factory=dict)
    env: dict[str, Any] = field(default_factory=dict)
    plan: list[dict[str, Any]] = field(default_factory=list)
    plan_by_id: dict[str, dict[str, Any]] = field(default_factory=dict)
    plan_seen: bool = False
    known_cases: list[str] = field(default_factory=list)
    requirements: dict[str, dict[str, Any]] = field(default_factory=dict)
    attacks: dict[str, Any] = field(default_factory=dict)  # classes of attack, with their cases
    ambiguities: list[dict[str, Any]] = field(default_factory=list)
    cases: dict[Key, CaseRun] = field(default_factory=dict)

    @property
    def peer(self) -> dict[str, Any]:
        return self.run.get("peer") or {}

    @property
    def peer_version(self) -> str:
        return str(self.run.get("peer_version") or self.peer.get("version") or "unknown")

    @property
    def repeat(self) -> int:
        return _at_least_one(self.run.get("repeat"))

    def planned(self) -> list[Key]:
        """Every verdict that the plan asks for; without a plan, what was recorded."""
        if not self.plan_seen:
            return list(self.cases)
        keys: list[Key] = []
        for case in self.plan:
            attempts = 1 if case.get("monitor") else self.repeat
            keys.extend((case["id"], attempt) for attempt in range(1, attempts + 1))
        return keys

    @functools.cached_property
    def _attempts(self) -> dict[str, list[CaseRun]]:
        found: dict[str, list[CaseRun]] = {}
        for (name, _), case in self.cases.items():
            found.setdefault(name, []).append(case)
        return found

    def attempts(self, case_id: str) -> list[CaseRun]:
        """All runs of a case. For a run that was read to its end."""
        return self._attempts.get(case_id, [])

    def case_plan(self, case_id: str) -> dict[str, Any]:
        return self.plan_by_id.get(case_id, {"id": case_id})


def _at_least_one(value: Any) -> int:
    return value if isinstance(value, int) and value >= 1 else 1


class _Builder:
    def __init__(self, path: Path) -> None:
        self.reader = StreamReader(path, self._places)
        self._messages: dict[tuple[bytes, int], array[int]] = {}
        self.result = Run(path=path, damage=self.reader.damage)
        self.monitors: set[str] = set()

    def build(self) -> Run:
        handlers = {name[4:]: getattr(self, name) for name in dir(self) if name.startswith("_on_")}
        for line in self.reader:
            handler = handlers.get(line.record["t"])
            if handler is not None:
                handler(line)
        if not self.result.plan_seen:
            self.result.damage.add("the stream has no plan: nothing is known of what was to run")
            for case in self.result.cases.values():
                case.monitor = not case.begun and bool(case.fold.checks)
        return self.result

    def _case(self, record: dict[str, Any]) -> CaseRun:
        case_id = record["case"]
        monitor = case_id in self.monitors
        key = (case_id, 1 if monitor else _at_least_one(record.get("attempt")))
        case = self.result.cases.get(key)
        if case is None:
            case = self.result.cases[key] = CaseRun(case_id, key[1], monitor)
        return case

    def _on_run(self, line: Line) -> None:
        if self.result.run:
            self.result.damage.add(f"line {line.number}: a second run record")
            return
        self.result.run = line.record

    def _on_env(self, line: Line) -> None:
        self.result.env.update({k: v for k, v in line.record.items() if k not in ("v", "t", "seq")})

    def _on_plan(self, line: Line) -> None:
        result, record = self.result, line.record
        if result.plan_seen:
            result.damage.add(f"line {line.number}: a second plan")
            return
        result.plan_seen = True
        result.plan = record["cases"]
        result.plan_by_id = {case["id"]: case for case in result.plan}
        result.known_cases = [word for word in record.get("known") or [] if isinstance(word, str)]
        result.requirements = {r["id"]: r for r in record.get("requirements") or []}
        result.attacks = record.get("attacks") or {}
        result.ambiguities = list(record.get("ambiguities") or [])
        self.monitors = {case["id"] for case in result.plan if case.get("monitor")}
        if record["count"] != len(result.plan):
            result.damage.add(f"line {line.number}: the plan counts {record['count']} cases "
                              f"and lists {len(result.plan)}")

    def _on_begin(self, line: Line) -> None:
        case = self._case(line.record)
        if case.begun:
            self.result.damage.add(f"line {line.number}: {case.id} begins twice")
        case.begun = True
        case.fold.add(line.record)

    def _places(self, case: bytes, attempt: int) -> array[int]:
        found = self._messages.get((case, attempt))
        if found is None:
            found = self._messages[case, attempt] = self._case({"case": case.decode(), "attempt": attempt}).messages
        return found

    def _on_msg(self, line: Line) -> None:
        case = self._case(line.record)
        fields = line.record.get("fields") or {}
        if line.record["kind"] == "log" and "source" in fields:
            lines = str(fields.get("text", "")).splitlines()[:MAX_LOG_LINES - len(case.kernel_log)]
            case.kernel_log.extend((str(fields["source"]), text) for text in lines)
            return
        case.messages.append(line.offset)

    def _on_check(self, line: Line) -> None:
        case, check = self._case(line.record), line.record
        case.fold.add(check)
        if check["ok"]:
            case.kept[check["requirement"]] += 1
            return
        watched = self.result.cases.get((check.get("during", ""), _at_least_one(check.get("attempt"))), case)
        case.failed.append(check)
        case.failed_at.append(len(watched.messages))

    def _on_artifact(self, line: Line) -> None:
        self._case(line.record).artifacts.append(line.record)

    def _on_error(self, line: Line) -> None:
        case = self._case(line.record)
        case.fold.add(line.record)
        case.errors.append(line.record["text"])

    def _fold_only(self, line: Line) -> None:
        self._case(line.record).fold.add(line.record)

    _on_skip = _on_process = _on_health = _fold_only

    def _on_verdict(self, line: Line) -> None:
        case = self._case(line.record)
        verdict = line.record["verdict"]
        if verdict not in statuses().verdicts:
            self.result.damage.add(f"line {line.number}: {case.id}: {verdict!r} is no verdict")
            return
        if case.stored is not None:
            case.ambiguous = True
            self.result.damage.add(f"line {line.number}: {case.id} has a second verdict")
            return
        case.stored = line.record
        if not case.failed and verdict not in statuses().bad:
            case.kernel_log = case.kernel_log[-TAIL_OF_GOOD:]


def read_run(path: Path) -> Run:
    """Reads the whole stream. Raises StreamError when the file cannot be opened, for nothing else."""
    return _Builder(path).build()


class Messages:
    """The lines of a case's messages, out of the stream's file again. A context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> "Messages":
        self._file = open(self._path, "rb", buffering=BUFFER)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def line(self, offset: int) -> bytes:
        """Without its newline."""
        self._file.seek(offset)
        return self._file.readline(MAX_LINE).removesuffix(b"\n")

    def record(self, offset: int) -> dict[str, Any]:
        """Parsed; of a line that is no record, an empty one."""
        try:
            record = json.loads(self.line(offset))
        except (ValueError, RecursionError):
            return {}
        return {} if record_trouble(record) else record
