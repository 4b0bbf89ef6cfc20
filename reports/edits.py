"""The exact edits of an expectations file that a run asks for, and how they are made: comments and order are kept."""
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Sequence

import yaml

from reports.expectations import Expectation, ExpectationError, parse
from reports.judge import Judged, Result, rate

ASKED = ("reason", "reference", "owner", "expires")  # what only a person knows


@dataclass(frozen=True)
class Edit:
    """`entry` is removed, changed, or, when there is none, `values` is added."""

    why: str
    entry: Expectation | None
    values: dict[str, Any] | None  # the entry's keys to set; None: remove it
    asks: tuple[str, ...] = ()  # which of them a person must give

    @property
    def text(self) -> str:
        if self.entry is None:
            return f"add {(self.values or {}).get('case')}: {self.why}"
        return f"{'remove' if self.values is None else 'change'} {self.entry.where} ({self.entry.case}): {self.why}"


def plan_edits(judged: Judged) -> list[Edit]:
    """One for each red result that an edit can end; a missing verdict is none of the expectations' business."""
    edits = [Edit(result.reason, result.expectation, None) for result in judged.stale]
    by_case: dict[str, list[Result]] = {}
    for result in judged.results:
        by_case.setdefault(result.id, []).append(result)
    globs: dict[Expectation, None] = {}
    for results in by_case.values():
        red = next((result for result in results if result.red), None)
        if red is None or red.outcome == "missing":
            continue
        edit = _edit(judged, red, results)
        if edit is None and red.expectation is not None:
            globs[red.expectation] = None
        elif edit is not None and not any(edit.entry is not None and edit.entry == other.entry for other in edits):
            edits.append(edit)
    for entry in globs:
        edits.extend(_narrowed(judged, entry))
    return edits


def _edit(judged: Judged, red: Result, results: Sequence[Result]) -> Edit | None:
    """None: the entry is a glob that no longer holds for all that it covers."""
    entry = red.expectation
    if red.outcome == "unexpected-fail":
        own = next((known for known in judged.entries if known.case == red.id and not known.expired(judged.date)), None)
        if own is not None and all(result.verdict != own.verdict for result in results):
            return Edit(f"it says {own.verdict}, it is now {red.verdict}", own, {"verdict": str(red.verdict)}, ("reason",))
        share = flaky_rate(judged, red.id)
        values = _new_entry(judged, red.id, str(red.verdict)) | ({"flaky_rate": share} if share else {})
        return Edit(f"{red.verdict}, and no entry covers it" + (f"; {share:.0%} of its runs" if share else ""), None, values, ASKED)
    if entry is None:
        return None
    if red.outcome == "stale":
        if red.verdict == entry.verdict:
            return Edit(f"expired on {entry.expires}, and is still so", entry, {}, ("reason", "expires"))
        return Edit(f"expired on {entry.expires}, and is now {red.verdict}", entry, None) if entry.case == red.id else None
    if entry.case == red.id and all(result.verdict != entry.verdict for result in results):
        return Edit(f"it is now {red.verdict}", entry, None)
    return None


def _new_entry(judged: Judged, case_id: str, verdict: str) -> dict[str, Any]:
    return {"case": case_id, "bed": str(judged.run.run.get("bed", "")), "versions": judged.run.peer_version, "verdict": verdict}


def _narrowed(judged: Judged, entry: Expectation) -> list[Edit]:
    """In place of a glob, an entry for each case for which it still holds."""
    holds = sorted({result.id for result in judged.results if entry.covers(result.id) and result.verdict == entry.verdict})
    same = {key: value for key, value in entry.to_json().items() if key not in ("file", "line", "case")}
    return [Edit("it no longer holds for all that it covers", entry, None),
            *(Edit(f"in place of {entry.case}", None, {"case": name, **same}) for name in holds)]


def flaky_rate(judged: Judged, case_id: str) -> float:
    """Which part of a case's attempts, those that were made again alone included, ended badly; 0 when all of them did."""
    bad, total = rate(judged.run, case_id)
    return round(bad / total, 2) if 0 < bad < total else 0.0


def filled(edit: Edit, given: dict[str, Any]) -> Edit:
    """With what a person said."""
    return replace(edit, values={**(edit.values or {}), **{name: given[name] for name in edit.asks}})


def apply_edits(text: str, file: str, edits: Sequence[Edit]) -> str:
    """The file's text after the edits. Raises ExpectationError when an entry is not in it any more, or the result is bad."""
    parse(text, file)
    lines = text.splitlines()
    spans = _spans(text)
    for edit in sorted((e for e in edits if e.entry is not None), key=lambda e: _span(e, spans, text, file)[0], reverse=True):
        first, last = _span(edit, spans, text, file)
        lines[first:last] = [] if edit.values is None else _changed(lines[first:last], edit.values)
    added = [edit.values for edit in edits if edit.entry is None and edit.values is not None]
    if added:
        if not spans and lines and lines[-1].strip() in ("[]", "expectations: []"):
            lines[-1:] = [] if lines[-1].strip() == "[]" else ["expectations:"]
        indent = " " * (spans[-1].column if spans else 2 if lines and lines[-1].strip() == "expectations:" else 0)
        for values in added:
            lines.extend(indent + line for line in _dumped([values]))
    result = "\n".join(lines) + "\n"
    parse(result, file)
    return result


@dataclass(frozen=True)
class _Span:
    first: int  # lines, from 0; `last` is the one behind
    last: int
    column: int
    entry: Expectation


def _spans(text: str) -> list[_Span]:
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if isinstance(node, yaml.MappingNode):
        node = next((value for key, value in node.value if key.value == "expectations"), None)
    if not isinstance(node, yaml.SequenceNode):
        return []
    lines = text.splitlines()
    spans = []
    for item, entry in zip(node.value, parse(text, "")):
        last = min(item.end_mark.line + (1 if item.end_mark.column else 0), len(lines))
        while last > item.start_mark.line + 1 and (not lines[last - 1].strip() or lines[last - 1].lstrip().startswith("#")):
            last -= 1
        spans.append(_Span(item.start_mark.line, last, max(0, item.start_mark.column - 2), entry))
    return spans


def _span(edit: Edit, spans: Sequence[_Span], text: str, file: str) -> tuple[int, int]:
    """By what the entry says, and not by its line: the file may have changed since the run."""
    wanted = {key: value for key, value in (edit.entry.to_json() if edit.entry else {}).items() if key not in ("file", "line")}
    for span in spans:
        if {key: value for key, value in span.entry.to_json().items() if key not in ("file", "line")} == wanted:
            return span.first, span.last
    raise ExpectationError(f"{file}: the entry for {edit.entry.case if edit.entry else '?'} is not in it any more as the run knew it; "
                           "run again, or edit by hand")


def _dumped(values: Any) -> list[str]:
    return yaml.safe_dump(values, sort_keys=False, width=10_000, allow_unicode=True, default_flow_style=False).splitlines()


def _changed(lines: list[str], values: dict[str, Any]) -> list[str]:
    """The entry's lines with some keys set anew."""
    result = list(lines)
    for key, value in values.items():
        at = next((i for i, line in enumerate(result) if line.lstrip("- ").startswith(f"{key}:")), None)
        (new,) = _dumped({key: value})
        if at is None:
            result.append(" " * (len(result[0]) - len(result[0].lstrip("- "))) + new)
            continue
        head = result[at][:len(result[at]) - len(result[at].lstrip("- "))]
        end = at + 1
        while end < len(result) and len(result[end]) - len(result[end].lstrip()) > len(head):
            end += 1  # a scalar of several lines
        result[at:end] = [head + new]
    return result
