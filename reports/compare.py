"""Two runs against each other: what fails newly, what passes newly, what fails for another reason, what is new or gone."""
from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterator

import jinja2

from reports import view
from reports.judge import Judged, Result
from reports.model import CaseRun
from reports.statuses import statuses

# In the order in which they are shown; True: it is for the worse, and the exit status says so.
KINDS = {"newly failing": True, "without a verdict now": True, "newly skipped": True, "gone": True, "changed evidence": True,
         "newly warned": True, "newly passing": False, "by chance, as recorded": False, "new": False}
PAGE = Path(__file__).with_name("page")

# What differs from machine to machine and says nothing: addresses and cookies, the kernel's clock, process ids.
_VOLATILE = (
    (re.compile(r"\[\s*\d+\.\d{6}\]"), "[time]"), (re.compile(r"\b0x[0-9a-f]+\b"), "0x.."), (re.compile(r"\b[0-9a-f]{16}\b"), "address"),
    (re.compile(r"\b(pid|PID:|port|ref|reference|domain) \d+\b"), r"\1 N"), (re.compile(r"\b\d+(\.\d+)? ?m?s\b"), "time"),
)


@dataclass(frozen=True)
class Side:
    """What one run says of one case."""

    verdict: str | None
    reason: str
    evidence: frozenset[tuple[str, str]]  # requirement and what was seen, of each failed check
    known: bool = False  # an expectation covers it
    by_chance: bool = False  # which says how often it shows

    @property
    def bad(self) -> bool:
        return self.verdict in statuses().bad and self.verdict in statuses().about_peer


@dataclass(frozen=True)
class Difference:
    case: str
    kind: str
    before: Side | None
    after: Side | None
    again: str = ""  # how the case did when it was run again, alone

    @property
    def worse(self) -> bool:
        return KINDS[self.kind]


@dataclass
class Comparison:
    before: Judged
    after: Judged
    names: tuple[str, str]
    differences: list[Difference] = field(default_factory=list)
    same: int = 0
    trouble: list[str] = field(default_factory=list)

    def of_kind(self, kind: str) -> list[Difference]:
        return [difference for difference in self.differences if difference.kind == kind]

    @property
    def exit_status(self) -> int:
        if self.trouble:
            return 3
        return 1 if any(difference.worse for difference in self.differences) else 0

    @property
    def headline(self) -> str:
        if self.trouble:
            return "NOT COMPARED: a run is not whole"
        if not self.differences:
            return f"NOTHING DIFFERS in {self.same} cases"
        counts = ", ".join(f"{len(self.of_kind(kind))} {kind}" for kind in KINDS if self.of_kind(kind))
        return f"{'WORSE' if self.exit_status else 'NOT WORSE'}: {counts}; {self.same} cases are the same"


def settled(text: str) -> str:
    """Without what differs from one run of the same thing to the next."""
    for pattern, word in _VOLATILE:
        text = pattern.sub(word, text)
    return " ".join(text.split())


def side_of(result: Result) -> Side:
    case = result.case or CaseRun(result.id)
    evidence = frozenset((check["requirement"], settled(str(check.get("seen", "")))) for check in case.failed)
    if result.verdict == "hang":  # which of the checks after it still came to an answer is chance
        evidence = frozenset()
    elif result.verdict == "crash":  # the first line of the kernel's report; the rest is where it happened to be cut
        evidence = frozenset({("crash", settled(result.reason.split(" | ")[0]))})
    by_chance = result.known and result.expectation is not None and bool(result.expectation.flaky_rate)
    return Side(None if result.outcome == "missing" else result.verdict, result.reason, evidence, result.known, by_chance)


def _strongest(judged: Judged, attempt: int | None = None) -> dict[str, Side]:
    """Of each case's attempts the one that went worst; or the given attempt alone."""
    sides: dict[str, Side] = {}
    order = (None, *statuses().verdicts)
    for result in judged.results:
        if attempt is not None and result.attempt != attempt and not (result.case and result.case.monitor):
            continue
        side = side_of(result)
        known = sides.get(result.id)
        if known is None or order.index(side.verdict) > order.index(known.verdict):
            sides[result.id] = side
    return sides


def _recorded(before: Side, after: Side) -> bool:
    """Expectations know both: two ways to fail of which now the one, now the other shows, or a failure that shows at times."""
    if before.verdict == after.verdict:
        return False
    if before.bad and after.bad:
        return before.known and after.known
    return any(side.by_chance and other.verdict == "pass" for side, other in ((before, after), (after, before)))


def _kind(before: Side | None, after: Side | None) -> str | None:
    if before is not None and after is not None and _recorded(before, after):
        return "by chance, as recorded"
    if after is None:
        return "gone"
    if before is None:
        return "newly failing" if after.bad else "new"
    if after.verdict == before.verdict:
        return "changed evidence" if after.bad and after.evidence != before.evidence else None
    if after.verdict is None:
        return "without a verdict now"
    if after.bad:
        return "changed evidence" if before.bad else "newly failing"
    if after.verdict == "skip":
        return "newly skipped"
    return "newly warned" if after.verdict == "warn" and before.verdict == "pass" else "newly passing"


def _trouble(judged: Judged, name: str) -> Iterator[str]:
    yield from (f"{name}: {text}" for text in judged.trouble)


def _compared(comparison: Comparison, before: dict[str, Side], after: dict[str, Side]) -> Comparison:
    for case in sorted(before.keys() | after.keys()):
        a, b = before.get(case), after.get(case)
        kind = _kind(a, b)
        if kind is None:
            comparison.same += 1
        else:
            again = view.flaky_text(comparison.after, case) if case in comparison.after.again else ""
            comparison.differences.append(Difference(case, kind, a, b, again))
    return comparison


def compare(before: Judged, after: Judged, names: tuple[str, str] = ("before", "after")) -> Comparison:
    comparison = Comparison(before, after, names, trouble=[*_trouble(before, names[0]), *_trouble(after, names[1])])
    return _compared(comparison, _strongest(before), _strongest(after))


def compare_attempts(judged: Judged) -> Comparison:
    """The repetitions of one run: the first against the worst of the others."""
    last = judged.run.repeat
    comparison = Comparison(judged, judged, ("attempt 1", f"attempts 2 to {last}"), trouble=list(_trouble(judged, "the run")))
    if last < 2:
        comparison.trouble.append("the run has one attempt of each case: give it --repeat, or name a second run")
        return comparison
    first, order = _strongest(judged, 1), (None, *statuses().verdicts)
    others = [_strongest(judged, attempt) for attempt in range(2, last + 1)]
    # The one that differs from the first, if any does; of several, the one that went worst.
    chosen = {case: max((other[case] for other in others if case in other),
                        key=lambda side: (_kind(first[case], side) is not None, order.index(side.verdict))) for case in first}
    return _compared(comparison, first, chosen)


def _evidence(side: Side | None) -> list[str]:
    if side is None:
        return []
    if side.verdict is None:  # what a check saw in it does not count: why there is none does
        return [side.reason] if side.reason else []
    return [f"{requirement}: saw {seen}" for requirement, seen in sorted(side.evidence)] or ([side.reason] if side.reason else [])


def _word(side: Side | None) -> str:
    return side.verdict or "no verdict" if side else "-"


def _repro(comparison: Comparison, difference: Difference) -> str:
    judged = comparison.before if difference.kind == "gone" else comparison.after
    result = next(result for result in judged.results if result.id == difference.case)
    return view.repro_command(judged, result)


def text(comparison: Comparison) -> str:
    lines = [comparison.headline]
    for name, judged in zip(comparison.names, (comparison.before, comparison.after)):
        lines.append(f"{name:<13} {view.peer_title(judged)}, {view.place_title(judged)}, {judged.date}: {view.count_text(judged)}")
    lines.extend(f"trouble       {note}" for note in comparison.trouble)
    for kind in KINDS:
        found = comparison.of_kind(kind)
        if found:
            lines.append(f"{kind} ({len(found)})")
        for difference in found:
            lines.append(f"  {difference.case}: {_word(difference.before)} -> {_word(difference.after)}")
            was, now = _evidence(difference.before), _evidence(difference.after)
            lines.extend(f"      no more  {item}" for item in was if item not in now)
            lines.extend(f"      now      {item}" for item in now if item not in was)
            if difference.again:
                lines.append(f"      {difference.again}")
            if difference.worse:
                lines.append(f"      again    {_repro(comparison, difference)}")
    return "\n".join(lines) + "\n"


def html(comparison: Comparison) -> str:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
                                     loader=jinja2.FileSystemLoader(PAGE))
    groups = [(kind, [{"case": d.case, "before": _word(d.before), "after": _word(d.after),
                       "was": _evidence(d.before), "now": _evidence(d.after), "again": d.again, "repro": _repro(comparison, d),
                       "title": comparison.after.run.case_plan(d.case).get("title") or comparison.before.run.case_plan(d.case).get("title", "")}
                      for d in comparison.of_kind(kind)]) for kind in KINDS]
    sides = [(name, view.peer_title(judged), view.place_title(judged), judged.date, view.count_text(judged))
             for name, judged in zip(comparison.names, (comparison.before, comparison.after))]
    return environment.get_template("compare.html.j2").render(
        headline=comparison.headline, tone={0: "good", 1: "bad"}.get(comparison.exit_status, "infra"), sides=sides,
        trouble=comparison.trouble, listed=("gone", "new"), groups=[(kind, KINDS[kind], found) for kind, found in groups if found],
        style=(PAGE / "page.css").read_text(encoding="utf-8"))
