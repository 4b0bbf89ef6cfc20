"""Outcomes: verdict x expectation, plan minus results. Computed from the stream each time, never stored."""
from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from reports.expectations import Expectation, ExpectationError, from_json, snippet
from reports.model import CaseRun, Key, Run
from reports.statuses import Row, statuses


@dataclass(frozen=True)
class Result:
    """One planned verdict, judged."""

    id: str
    attempt: int
    verdict: str | None
    outcome: str
    reason: str
    case: CaseRun | None
    expectation: Expectation | None = None
    action: str = ""  # the exact edit or step that ends a red result

    @property
    def row(self) -> Row:
        return statuses().row(self.outcome, self.verdict)

    @property
    def red(self) -> bool:
        return statuses().outcome_exit[self.outcome] != 0

    @property
    def known(self) -> bool:
        """A deviation that an expectation covers."""
        return self.outcome == "expected" and self.verdict in ("fail", "hang", "crash")


@dataclass
class Judged:
    """A run with its outcomes: what every report is made of."""

    run: Run
    entries: list[Expectation] = field(default_factory=list)  # those about this bed and this version of the peer
    results: list[Result] = field(default_factory=list)
    again: list[str] = field(default_factory=list)  # cases that failed unexpectedly and were run again, alone
    stale: list[Result] = field(default_factory=list)  # entries of the expectations, not cases
    trouble: list[str] = field(default_factory=list)  # with the stream or the run as a whole
    unplanned: Counter[str] = field(default_factory=Counter)  # monitor -> failed checks

    @property
    def complete(self) -> bool:
        return self.run.damage.complete

    @property
    def date(self) -> str:
        return str(self.run.run.get("started") or "")

    @property
    def exit_status(self) -> int:
        if self.trouble:
            return 3
        table = statuses().outcome_exit
        return max((table[result.outcome] for result in (*self.results, *self.stale)), default=3)

    def verdicts(self) -> Counter[str]:
        return Counter(result.verdict or "missing" for result in self.results)

    def surprises(self) -> list[Result]:
        return [result for result in (*self.results, *self.stale) if result.red]

    def deviations(self) -> list[Result]:
        return [result for result in self.results if result.known]


def judge(run: Run) -> Judged:
    judged = Judged(run)
    entries = judged.entries = _entries(judged)
    for key in run.planned():
        judged.results.append(_result(judged, key, entries))
    judged.again = sorted({name for name, attempt in run.cases if attempt > run.repeat and name in run.plan_by_id})
    judged.stale = [_stale_entry(entry, run) for entry in entries if _is_stale(entry, run)]
    planned = {key[0] for key in run.planned()}
    for (case_id, _), case in run.cases.items():
        if case_id in planned:
            continue
        if case.stored is None and (case.fold.checks or case.fold.skip and not case.begun):  # a monitor that was not asked for
            judged.unplanned[case_id] += len(case.failed)
        else:
            run.damage.add(f"{case_id} was recorded, and is not in the plan")
    _note_trouble(judged)
    return judged


def _entries(judged: Judged) -> list[Expectation]:
    entries = []
    for entry in judged.run.run.get("expectations") or []:
        try:
            entries.append(from_json(entry))
        except (ExpectationError, AttributeError, TypeError) as error:
            judged.run.damage.add(f"an expectation in the stream cannot be read: {error}")
    bed, version = judged.run.run.get("bed", ""), judged.run.peer_version
    return [entry for entry in entries if entry.applies(bed, version)]


def _is_stale(entry: Expectation, run: Run) -> bool:
    known = run.known_cases or [case["id"] for case in run.plan]
    return not any(entry.covers(case_id) for case_id in known)


def _stale_entry(entry: Expectation, run: Run) -> Result:
    return Result(entry.case, 1, None, "stale", f"{entry.where}: matches no case of the suite", None,
                  entry, f"delete the entry at {entry.where}, or give its case the id that it has now")


def _result(judged: Judged, key: Key, entries: list[Expectation]) -> Result:
    case_id, attempt = key
    run, case = judged.run, judged.run.cases.get(key)
    if case is None or case.verdict is None:
        begun = case is not None and case.begun
        reason = "it began and has no verdict" if begun else "it is planned and did not run"
        return Result(case_id, attempt, None, "missing", reason, case, None, "run it again")
    reason = case.reason
    if case.ambiguous:
        return Result(case_id, attempt, None, "missing", "it has more than one verdict", case, None, "run it again")
    recomputed = case.folded()
    if recomputed.verdict != case.verdict:
        run.damage.add(f"{case_id}: the stream says {case.verdict}, its records say {recomputed.verdict}"
                       f" ({recomputed.reason or 'every check was kept'})")
    if case.verdict == "infra-error" or (case.verdict == "skip" and not reason):
        why = reason or "skipped without a reason"
        return Result(case_id, attempt, case.verdict, "missing", why, case, None,
                      "mend the cause and run it again")
    covering = [entry for entry in entries if entry.covers(case_id)]
    return _with_expectations(judged, case, covering)


def _with_expectations(judged: Judged, case: CaseRun, covering: list[Expectation]) -> Result:
    def result(outcome: str, entry: Expectation | None = None, action: str = "") -> Result:
        return Result(case.id, case.attempt, case.verdict, outcome, case.reason, case, entry, action)

    valid = [entry for entry in covering if not entry.expired(judged.date)]
    if covering and not valid:
        entry = covering[0]
        return result("stale", entry, f"{entry.where}: expired on {entry.expires}: look at the reason "
                      "again, then give it a new date or delete it")
    fitting = next((entry for entry in valid if entry.verdict == case.verdict), None)
    if fitting is not None:
        return result("expected", fitting)
    if case.verdict in statuses().bad:
        return result("unexpected-fail", None, _edit_to_add(judged, case, valid))
    if valid and not _excused(judged.run, case, valid):
        return result("unexpected-pass", valid[0], _edit_to_end(valid[0], case))
    return result("expected")


def _excused(run: Run, case: CaseRun, valid: list[Expectation]) -> bool:
    """A pass against an expectation that is nevertheless no surprise."""
    if case.verdict == "skip":
        return True  # nothing was tried
    if any(entry.flaky_rate for entry in valid):
        return True
    # A monitor sees only what ran: from a part of the suite, its pass says nothing about the rest.
    return case.monitor and bool(run.run.get("selection"))


def _edit_to_add(judged: Judged, case: CaseRun, valid: list[Expectation]) -> str:
    bad, total = rate(judged.run, case.id)
    if valid:
        return f"{valid[0].where}: says {valid[0].verdict}, it is now {case.verdict}"
    run = judged.run
    file = run.run.get("expectations_file") or "a file for --expectations"
    return (f"mend the peer; or, when it is known and accepted, add to {file}:\n"
            + snippet(case.id, str(run.run.get("bed", "")), run.peer_version, str(case.verdict))
            + (f"\n  flaky_rate: {bad / total:.2f}" if 0 < bad < total else ""))


def _edit_to_end(entry: Expectation, case: CaseRun) -> str:
    if entry.case == case.id:
        return f"delete the entry at {entry.where}, or end it with fixed_in: the peer's first good version"
    return f"narrow the glob {entry.case} at {entry.where}: it no longer holds for {case.id}"


def rate(run: Run, case_id: str) -> tuple[int, int]:
    """How many of a case's attempts ended badly, and how many there were: those made again, alone, included."""
    verdicts = [case.verdict for case in run.attempts(case_id) if case.verdict in statuses().about_peer]
    return sum(verdict in statuses().bad for verdict in verdicts), len(verdicts)


def _note_trouble(judged: Judged) -> None:
    damage, trouble = judged.run.damage, judged.trouble
    trouble.extend(damage.notes)
    if damage.more:
        trouble.append(f"and {damage.more} more")
    if not judged.results:
        trouble.append("no case was planned: nothing is known of the peer")
    elif not any(result.verdict in statuses().about_peer for result in judged.results):
        trouble.append("no case gave a verdict on the peer")
    trouble[:] = dict.fromkeys(trouble)


def requirement_states(judged: Judged) -> dict[str, str]:
    """Each requirement's state in this run: broken, warned, kept, or unchecked."""
    states = {name: "unchecked" for name in judged.run.requirements}
    rank = {"unchecked": 0, "kept": 1, "warned": 2, "broken": 3}

    def raise_to(name: str, state: str) -> None:
        if rank[state] > rank[states.get(name, "unchecked")]:
            states[name] = state

    for case in judged.run.cases.values():
        for name in case.kept:
            raise_to(name, "kept")
        for check in case.failed:
            level = check["level"]
            raise_to(check["requirement"],
                     "broken" if level in ("must", "robust") else "warned" if level == "should" else "kept")
    return states
