"""report.html: one file that opens without a network, made from the stream and its artifacts."""
from __future__ import annotations

import base64
import functools
import hashlib
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import jinja2

from reports import view
from reports.judge import Judged, Result, requirement_states

MAX_PICTURE = 2 * 1024 * 1024
MAX_PICTURES = 64 * 1024 * 1024
_TEMPLATE = Path(__file__).with_name("report.html.j2")


class _Pictures:
    """PNG artifacts as data URLs, while they fit; checked against the stream's hash."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.left = MAX_PICTURES

    def show(self, artifact: dict[str, Any]) -> dict[str, str]:
        shown = {"name": artifact["name"], "path": artifact["path"], "url": "", "note": ""}
        path = (self.folder / artifact["path"]).resolve()
        if not path.is_relative_to(self.folder):
            return shown | {"path": "", "note": "its path leaves the run's folder"}
        try:
            data = path.read_bytes()
        except OSError as error:
            return shown | {"note": error.strerror or "cannot be read"}
        if hashlib.sha256(data).hexdigest() != artifact["sha256"]:
            return shown | {"note": "changed after the run: its hash does not match"}
        if artifact.get("media") != "image/png":
            return shown
        if len(data) > min(MAX_PICTURE, self.left):
            return shown | {"note": f"{len(data)} bytes, not shown here"}
        self.left -= len(data)
        return shown | {"url": "data:image/png;base64," + base64.b64encode(data).decode()}


def _check(judged: Judged, check: dict[str, Any]) -> dict[str, Any]:
    return {
        "requirement": _requirement(judged, check["requirement"]),
        "level": check["level"],
        "expected": [str(outcome) for outcome in check["expected"]],
        "seen": str(check.get("seen", "")),
        "during": check.get("during", ""),
    }


def _requirement(judged: Judged, name: str) -> dict[str, str]:
    found = judged.run.requirements.get(name, {})
    source = found.get("source") or {}
    place = ", ".join(str(source[key]) for key in ("file", "section", "field") if source.get(key))
    return {"id": name, "text": str(found.get("text", "")), "place": place,
            "level": str(found.get("level", "")), "reading": str(found.get("reading") or "")}


def _case(judged: Judged, result: Result, pictures: _Pictures) -> dict[str, Any]:
    case, plan = result.case, judged.run.case_plan(result.id)
    about = {
        "id": result.id, "name": view.attempt_title(result), "anchor": f"{result.id}-{result.attempt}",
        "title": plan.get("title", ""), "row": result.row, "verdict": result.verdict or "none",
        "reason": result.reason, "action": result.action, "expectation": result.expectation,
        "requirements": [_requirement(judged, name) for name in plan.get("requirements", [])],
        "repro": view.repro_command(judged, result), "open": result.red,
        "seconds": "", "failed": [], "more_failed": 0, "kept": [], "before": [], "last": [],
        "kernel_log": [], "errors": [], "artifacts": [], "messages": 0,
    }
    if case is None:
        return about
    return about | {
        "seconds": f"{case.seconds:.2f}", "messages": case.messages,
        "failed": [_check(judged, check) for check in case.failed[:10]],
        "more_failed": max(0, len(case.failed) - 10), "kept": sorted(case.kept.items()),
        "before": view.decoded(case.before_failure), "last": view.decoded(list(case.tail)),
        "kernel_log": case.kernel_log, "errors": case.errors[:10],
        "artifacts": [pictures.show(artifact) for artifact in case.artifacts],
    }


def _requirement_rows(judged: Judged) -> list[dict[str, Any]]:
    states = requirement_states(judged)
    cases: dict[str, list[str]] = defaultdict(list)
    for result in judged.results:
        for name in judged.run.case_plan(result.id).get("requirements", []):
            if result.attempt == 1:
                cases[name].append(result.id)
    return [_requirement(judged, name) | {"state": state, "cases": cases[name]}
            for name, state in sorted(states.items())]


def _rank(result: Result) -> tuple[int, str, int]:
    order = {"bad": 0, "infra": 1, "known": 2, "warn": 3, "idle": 4, "good": 5}
    return order.get(result.row.tone, 0), result.id, result.attempt


def _facts(judged: Judged) -> list[tuple[str, str]]:
    run, env = judged.run.run, judged.run.env
    rows = [("peer", view.peer_title(judged)), ("judged on", view.place_title(judged)),
            ("started", judged.date), ("suite", str(run.get("suite", ""))), ("seed", str(run.get("seed", ""))),
            ("command", " ".join(map(str, run.get("argv", []))))]
    rows += [(key, view.fields_text(value) if isinstance(value, dict) else str(value))
             for key, value in env.items() if key not in ("ns", "guest_type")]
    return [(key, value) for key, value in rows if value]


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined,
                                     trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))


def write(judged: Judged, folder: Path) -> str:
    """The page; `folder` is the run's, where artifacts lie."""
    pictures = _Pictures(folder)
    rows = _requirement_rows(judged)
    return _template().render(
        headline=view.headline(judged),
        tone={0: "good", 1: "bad"}.get(judged.exit_status, "infra"),
        peer=view.peer_title(judged), place=view.place_title(judged),
        counts=view.count_text(judged), trouble=judged.trouble, facts=_facts(judged),
        requirements=rows, requirement_counts=Counter(row["state"] for row in rows),
        stale=judged.stale, unplanned=sorted(name for name, n in judged.unplanned.items() if n),
        cases=[_case(judged, result, pictures) for result in sorted(judged.results, key=_rank)],
    )
