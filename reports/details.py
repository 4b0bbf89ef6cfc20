"""What the page shows of one case when it is opened: compact data, packed; the browser draws it (reports/page)."""
from __future__ import annotations

import base64
import json
import zlib
from collections import defaultdict
from typing import Any, Iterable

from reports import view
from reports.blame import find_mark
from reports.judge import Judged, Result
from reports.model import CaseRun, Key, Messages
from reports.pictures import Pictures

MAX_CHECKS = 10
HEAD, TAIL, AROUND = 30, 40, 20  # messages shown of a case: its first, its last, those around a marked one
HEAD_OF_BAD, TAIL_OF_BAD = 120, 280


class Details:
    """Made for one run; `of` packs a case."""

    def __init__(self, judged: Judged, messages: Messages, pictures: Pictures) -> None:
        self.judged, self.messages, self.pictures = judged, messages, pictures
        self.role = str(judged.run.run.get("role") or "frontend")
        self._marks: dict[tuple[Key, int], dict[str, Any]] = {}  # of each shown failed check
        self._cited: defaultdict[Key, str] = defaultdict(str)  # what checks saw, by the case they are about
        self._wanted: defaultdict[Key, set[int]] = defaultdict(set)  # marked messages, by the case that has them
        for key, case in judged.run.cases.items():
            for number, check in enumerate(case.failed[:MAX_CHECKS]):
                self._mark(key, case, number, check)

    def _watched(self, key: Key, check: dict[str, Any]) -> Key:
        """The case whose messages a check is about: a monitor's is the one that ran."""
        attempt = check.get("attempt") or 1
        return (check["during"], attempt) if check.get("during") else key

    def _mark(self, key: Key, case: CaseRun, number: int, check: dict[str, Any]) -> None:
        watched_key = self._watched(key, check)
        self._cited[watched_key] += f"{check.get('seen', '')}\n"
        watched = self.judged.run.cases.get(watched_key)
        if watched is None:
            return
        before = case.failed_at[number]
        records = [self.messages.record(offset) for offset in watched.messages[:before]]
        mark = find_mark(records, str(check.get("seen", "")), self.role, case.verdict in ("crash", "hang"))
        self._marks[key, number] = {"at": before, "seq": -1, "how": ""}
        if mark is not None:
            self._marks[key, number] |= {"seq": records[mark.index].get("seq", -1), "how": mark.how}
            self._wanted[watched_key].add(mark.index)

    def of(self, result: Result) -> dict[str, Any]:
        case, plan = result.case, self.judged.run.case_plan(result.id)
        about: dict[str, Any] = {
            "id": result.id, "verdict": result.verdict or "none", "reason": result.reason, "action": result.action,
            "requirements": plan.get("requirements", []), "repro": view.repro_command(self.judged, result),
        }
        if result.id in self.judged.again:
            about["again"] = view.flaky_text(self.judged, result.id)
        if result.expectation is not None:
            entry = result.expectation
            about["expectation"] = {"where": entry.where, "verdict": entry.verdict, "reason": entry.reason,
                                    "reference": entry.reference, "owner": entry.owner, "expires": entry.expires}
        return about if case is None else about | self._recorded(result, case)

    def _recorded(self, result: Result, case: CaseRun) -> dict[str, Any]:
        key = (case.id, case.attempt)
        cited = self._cited[key]
        return {
            "checks": [self._check(key, number, check) for number, check in enumerate(case.failed[:MAX_CHECKS])],
            "more": max(0, len(case.failed) - MAX_CHECKS), "kept": sorted(case.kept.items()),
            "errors": case.errors[:10], "seconds": round(case.seconds, 3),
            "log": [[source, text, bool(text.strip()) and text.strip() in cited] for source, text in case.kernel_log],
            "artifacts": [self.pictures.show(artifact) for artifact in case.artifacts],
            **self._window(key, case, result.red or result.known),
        }

    def _check(self, key: Key, number: int, check: dict[str, Any]) -> dict[str, Any]:
        watched = self._watched(key, check)
        return {"requirement": check["requirement"], "level": check["level"], "seen": str(check.get("seen", "")),
                "expected": [str(outcome) for outcome in check["expected"]], "ns": check.get("ns", 0),
                "during": f"{watched[0]}-{watched[1]}" if watched != key else "",
                "mark": self._marks.get((key, number))}

    def _window(self, key: Key, case: CaseRun, bad: bool) -> dict[str, Any]:
        """The messages to show, as they stand in the stream, and how many are left out before each gap."""
        total = len(case.messages)
        head, tail = (HEAD_OF_BAD, TAIL_OF_BAD) if bad else (HEAD, TAIL)
        chosen = {*range(min(head, total)), *range(max(0, total - tail), total)}
        for mark in self._wanted[key]:
            chosen.update(range(max(0, mark - AROUND), min(total, mark + AROUND)))
        indices = sorted(chosen)
        return {"total": total, "indices": _runs(indices),
                "messages": [self.messages.line(case.messages[index]) for index in indices]}


def _runs(indices: Iterable[int]) -> list[list[int]]:
    """[[first, count], ...] of neighbouring numbers."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and runs[-1][0] + runs[-1][1] == index:
            runs[-1][1] += 1
        else:
            runs.append([index, 1])
    return runs


def pack(about: dict[str, Any]) -> str:
    """JSON, deflated, in base64. Messages go in as text lines: they are not parsed before somebody looks."""
    lines = about.pop("messages", [])
    data = json.dumps(about, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    return base64.b64encode(zlib.compress(data + b"\n" + b"\n".join(lines), 1)).decode()


def unpack(text: str) -> dict[str, Any]:
    """The other way, as the page does it."""
    head, *lines = zlib.decompress(base64.b64decode(text)).split(b"\n")
    return json.loads(head) | {"messages": [json.loads(line) for line in lines if line]}
