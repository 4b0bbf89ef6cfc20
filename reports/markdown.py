"""A summary for a pull request or a job's page: what surprised, in full; what is known, folded."""
from __future__ import annotations

import re
from typing import Iterator

from reports import view
from reports.judge import Judged, Result

MAX_TEXT = 60_000  # GitHub refuses a comment of more than 65,536 characters
MAX_SEEN = 1_000


def plain(text: str) -> str:
    """Words that a peer may have chosen: no markup, no mention of anybody, one line."""
    escaped = re.sub(r"([\\`*_{}\[\]#|~])", r"\\\1", " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;"))
    return escaped.replace("@", "@\u200b")  # a mention would notify people


def code(text: str) -> str:
    """As it is, in a fence that it cannot close."""
    text = " ".join(text.split())[:MAX_SEEN]
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{ticks} {text} {ticks}"


def _block(text: str, language: str = "") -> Iterator[str]:
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    yield from (f"{ticks}{language}", *text.splitlines(), ticks)


def _surprise(judged: Judged, result: Result) -> Iterator[str]:
    yield f"### {result.row.label}: {code(view.attempt_title(result))}"
    yield ""
    checks = result.case.failed[:3] if result.case else []
    for check in checks:
        requirement = judged.run.requirements.get(check["requirement"], {})
        source = requirement.get("source") or {}
        place = ", ".join(str(source[key]) for key in ("file", "section") if source.get(key))
        yield f"{plain(check['requirement'])} ({plain(check['level'])}): {plain(str(requirement.get('text', '')))}" + (f" ({plain(place)})" if place else "")
        yield from (f"- {'or' if i else 'expected'} {code(str(outcome))}" for i, outcome in enumerate(check["expected"]))
        yield f"- seen {code(str(check.get('seen', '')))}"
        yield ""
    if not checks and result.reason:
        yield from (code(result.reason), "")
    if result.id in judged.again:
        yield from (plain(view.flaky_text(judged, result.id)), "")
    if result.action:
        yield from _block(result.action)
    if result.case is not None:
        yield from _block(view.repro_command(judged, result), "sh")
    yield ""


def _known(results: list[Result]) -> Iterator[str]:
    yield f"<details><summary>{len(results)} known deviations</summary>"
    yield ""
    for result in results:
        entry = result.expectation
        why = f": {plain(entry.reason)} ({plain(entry.reference)}, until {plain(entry.expires)})" if entry else ""
        yield f"- {code(view.attempt_title(result))} {result.verdict}{why}"
    yield from ("", "</details>", "")


def _parts(judged: Judged) -> Iterator[str]:
    yield "\n".join((f"## {plain(view.headline(judged))}", "",
                     f"{plain(view.peer_title(judged))}, {plain(view.place_title(judged))}. {plain(view.count_text(judged))}.", ""))
    if judged.trouble:
        yield "\n".join(("### Trouble", "", *(f"- {code(text)}" for text in judged.trouble), ""))
    for result in judged.surprises():
        yield "\n".join(_surprise(judged, result))
    if judged.deviations():
        yield "\n".join(_known(judged.deviations()))


def write(judged: Judged) -> str:
    parts, size, left_out = [], 0, 0
    for part in _parts(judged):
        if size + len(part) > MAX_TEXT:
            left_out += 1
            continue
        parts.append(part)
        size += len(part) + 1
    if left_out:
        parts.append(f"{left_out} more parts are left out here for their length: see the report.\n")
    return "\n".join(parts)
