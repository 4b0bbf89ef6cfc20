"""The summary that ends a run on the console."""
from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Iterator

from reports import view
from reports.judge import Judged, Result, requirement_states

MAX_LISTED = 20


def _requirements(judged: Judged) -> str:
    states = Counter(requirement_states(judged).values())
    words = [f"{states[state]} {text}" for state, text in
             (("kept", "kept"), ("warned", "not kept (should)"), ("broken", "broken")) if states[state]]
    unchecked = f", {states['unchecked']} not looked at" if states["unchecked"] else ""
    return (", ".join(words) or "none judged") + unchecked


def _deviations(results: list[Result]) -> Iterator[str]:
    yield f"known deviations ({len(results)})"
    for result in results[:MAX_LISTED]:
        yield f"  {view.attempt_title(result)}: {result.verdict}"
        if result.expectation is not None:
            yield f"      {' '.join(result.expectation.reason.split())} [{result.expectation.reference}]"
    yield from _rest(results)


def _surprises(judged: Judged, results: list[Result]) -> Iterator[str]:
    yield f"surprises ({len(results)})"
    for result in results[:MAX_LISTED]:
        yield f"  {view.attempt_title(result)}: {result.row.label}: {result.reason.splitlines()[0] if result.reason else ''}"
        if result.action:
            yield from (f"      {line}" for line in result.action.splitlines())
    yield from _rest(results)


def _rest(results: list[Result]) -> Iterator[str]:
    if len(results) > MAX_LISTED:
        yield f"  and {len(results) - MAX_LISTED} more: see the report"


def _next_command(judged: Judged, surprises: list[Result]) -> str:
    again = next((result for result in surprises if result.case is not None), None)
    if again is not None:
        return view.repro_command(judged, again)
    if not judged.complete or surprises:
        return view.repro_command(judged, Result("*", 1, None, "missing", "", None)).replace(" --case '*'", "")
    return "./displif-cts list    what is judged, case by case"


def write(judged: Judged, report: Path | None) -> str:
    surprises, known = judged.surprises(), judged.deviations()
    lines = [
        view.headline(judged),
        f"peer          {view.peer_title(judged)}, {view.place_title(judged)}",
        f"cases         {view.count_text(judged)}",
        f"requirements  {_requirements(judged)}",
    ]
    if judged.trouble:
        lines.append("trouble")
        lines.extend(f"  {text}" for text in judged.trouble[:MAX_LISTED])
    if known:
        lines.extend(_deviations(known))
    if surprises:
        lines.extend(_surprises(judged, surprises))
    if judged.again:
        lines.append("run again")
        lines.extend(f"  {name}: {view.flaky_text(judged, name)}" for name in judged.again)
    seen = sorted(name for name, failed in judged.unplanned.items() if failed)
    if seen:
        lines.append(f"beside what was asked for, monitors saw deviations: {', '.join(seen)}")
    if report is not None:
        lines.append(f"report        {report}")
    lines.append(f"next          {_next_command(judged, surprises)}")
    return "\n".join(lines) + "\n"
