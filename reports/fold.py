"""The verdict of one case as a fold over its records; harness/runner/fold.h is the same in C++."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Judgement:
    verdict: str
    reason: str = ""  # one line; empty for a pass


def failure_text(check: Record) -> str:
    """A failed check in one line: requirement, every legal outcome, what was seen."""
    expected = " or ".join(str(outcome) for outcome in check.get("expected", []))
    return f"{check.get('requirement', '?')}: expected {expected}; saw {check.get('seen', '')}"


def process_trouble(record: Record) -> str:
    """How our own case process ended, if that was not well."""
    if record.get("timed_out"):
        return "the case ran into its wall-clock limit"
    if record.get("signal"):
        return f"the case process was ended by signal {record['signal']}"
    if record.get("exit_status"):
        return f"the case process ended with status {record['exit_status']}"
    return ""


def _health_rank(record: Record) -> int:
    return {"crashed": 3, "hung": 2, "unknown": 1}.get(record.get("state", ""), 0)


@dataclass
class Fold:
    """Takes the records of one case in the stream's order; judges at any time."""

    named: list[str] = field(default_factory=list)
    checked: set[str] = field(default_factory=set)
    first_failure: str = ""
    first_warning: str = ""
    only_timed_failures: bool = True
    error: str = ""
    skip: str | None = None
    health: Record = field(default_factory=dict)
    checks: int = 0
    failed_checks: int = 0

    def add(self, record: Record) -> None:
        kind = record.get("t")
        if kind == "begin":
            self.named.extend(record.get("requirements", []))
        elif kind == "check":
            self._add_check(record)
        elif kind == "error":
            self.error = self.error or str(record.get("text", "")) or "an error without a text"
        elif kind == "skip":
            self.skip = str(record.get("reason", ""))
        elif kind == "process":
            self.error = self.error or process_trouble(record)
        elif kind == "health":
            self._add_health(record)

    def _add_check(self, record: Record) -> None:
        self.checks += 1
        self.checked.add(str(record.get("requirement", "")))
        if record.get("ok") is True:
            return
        self.failed_checks += 1
        if record.get("level") in ("must", "robust"):
            self.first_failure = self.first_failure or failure_text(record)
            if not record.get("timed"):
                self.only_timed_failures = False
        elif record.get("level") == "should":
            self.first_warning = self.first_warning or failure_text(record)

    def _add_health(self, record: Record) -> None:
        """A guest that was silent once has hung, even if it came back before the case was over."""
        seen, kept = dict(record), self.health
        if kept and _health_rank(seen) < _health_rank(kept):
            seen |= {"state": kept.get("state"), "reason": kept.get("reason")}
        seen["own_gap_ms"] = max(seen.get("own_gap_ms", 0), kept.get("own_gap_ms", 0))
        seen.setdefault("tolerance_ms", kept.get("tolerance_ms"))
        self.health = seen

    def _late(self) -> str:
        """Says so when our own side was late beyond the case's tolerance."""
        gap = self.health.get("own_gap_ms", 0)
        tolerance = self.health.get("tolerance_ms")
        if tolerance is None or gap <= tolerance:
            return ""
        return f"our own side stood still for {gap} ms; "

    def judge(self) -> Judgement:
        state = self.health.get("state", "")
        why = str(self.health.get("reason", ""))
        late = self._late()
        if state == "crashed":
            return Judgement("crash", why)
        if state == "hung":
            return Judgement("infra-error", late + why) if late else Judgement("hang", why)
        if self.first_failure:
            if self.only_timed_failures and late:
                return Judgement("infra-error", late + self.first_failure)
            return Judgement("fail", self.first_failure)
        if self.error:
            return Judgement("infra-error", self.error)
        if state == "unknown":
            return Judgement("infra-error", why)
        return self._judge_calm()

    def _judge_calm(self) -> Judgement:
        """Nothing went wrong: was enough looked at?"""
        if self.skip is not None:
            return Judgement("skip", self.skip)
        unchecked = next((name for name in self.named if name not in self.checked), None)
        if unchecked is not None:
            return Judgement("infra-error", f"{unchecked} was never checked")
        if self.checks == 0:
            return Judgement("infra-error", "nothing was checked")
        if self.first_warning:
            return Judgement("warn", self.first_warning)
        return Judgement("pass")

    def judge_monitor(self) -> Judgement:
        """A monitor's checks come from all cases; none means that there was nothing to judge."""
        if self.checks == 0:
            return Judgement("skip", self.skip or "nothing of this kind was seen in the run")
        if self.first_failure:
            return Judgement("fail", self.first_failure)
        if self.first_warning:
            return Judgement("warn", self.first_warning)
        return Judgement("pass")
