"""Where a run's time went: a table by group, and its longest cases."""
from __future__ import annotations

from collections import defaultdict

from reports.judge import Judged
from reports.model import CaseRun

LONGEST = 10


def _row(name: str, cases: list[CaseRun]) -> str:
    longest = max(cases, key=lambda case: case.seconds)
    return f"{name:<16}{len(cases):>6}{sum(case.seconds for case in cases):>10.1f}   {longest.seconds:>6.1f} {longest.id}"


def text(judged: Judged) -> str:
    """Seconds of the machines that the cases ran in: several run at a time. Monitors take none of their own."""
    groups: defaultdict[str, list[CaseRun]] = defaultdict(list)
    for result in judged.results:
        if result.case is not None and not result.case.monitor:
            groups[result.id.split(".")[1]].append(result.case)
    lines = [f"{'group':<16}{'cases':>6}{'seconds':>10}   longest"]
    for name, cases in sorted(groups.items(), key=lambda item: (-sum(case.seconds for case in item[1]), item[0])):
        lines.append(_row(name, cases))
    every = [case for cases in groups.values() for case in cases]
    if every:
        lines.append(_row("all", every))
        lines.append("")
        lines.extend(f"{case.seconds:>8.1f} {case.id}" for case in sorted(every, key=lambda case: (-case.seconds, case.id))[:LONGEST])
    return "\n".join(lines) + "\n"
