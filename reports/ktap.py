"""KTAP version 1 (Documentation/dev-tools/ktap.rst in Linux), with outcomes instead of bare verdicts."""
from __future__ import annotations

from typing import Iterator

from reports import view
from reports.judge import Judged, Result


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("#", "")


def _lines(judged: Judged) -> Iterator[str]:
    results: list[Result] = [*judged.results, *judged.stale]
    yield "KTAP version 1"
    yield f"1..{len(results) + len(judged.trouble)}"
    yield f"# {_one_line(view.peer_title(judged))}, {_one_line(view.place_title(judged))}"
    number = 0
    for number, text in enumerate(judged.trouble, 1):
        yield f"not ok {number} stream # ERROR {_one_line(text)}"
    for number, result in enumerate(results, number + 1):
        yield _line(number, result)


def _line(number: int, result: Result) -> str:
    row = result.row
    name = result.id if result.attempt == 1 else f"{result.id}.attempt-{result.attempt}"
    text = f"{row.ktap} {number} {name}"
    if row.directive:
        return f"{text} # {row.directive} {_one_line(result.reason)}".rstrip()
    if row.ktap != "ok":
        return f"# {row.label}: {_one_line(result.reason)}\n{text}"
    return text


def write(judged: Judged) -> str:
    return "\n".join(_lines(judged)) + "\n"
