"""report.html: one file that opens without a network, made from the stream and its artifacts.

What everybody wants to see is in the page as it is written; the details of each case are data that the page's own
script (reports/page) draws when the case is opened.
"""
from __future__ import annotations

import base64
import functools
import hashlib
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, Iterable

import jinja2

from reports import view
from reports.details import Details, pack
from reports.judge import Judged, Result, requirement_states
from reports.model import Messages
from reports.pictures import Pictures
from reports.reader import StreamError

PAGE = Path(__file__).with_name("page")
# In the order in which they build on each other; one scope holds them all.
SCRIPTS = ("dom.js", "store.js", "words.js", "sequence.js", "timeline.js", "messages.js", "screens.js", "detail.js", "filter.js",
           "main.js")
MAX_SURPRISES = 50
TONES = {"bad": 0, "infra": 1, "known": 2, "warn": 3, "idle": 4, "good": 5}  # the worst first
STATES = {"kept": ("kept", "good"), "broken": ("broken", "bad"), "warned": ("recommendations not followed", "warn"), "unchecked": ("not looked at", "idle")}


@functools.cache
def script() -> str:
    parts = [(PAGE / name).read_text(encoding="utf-8") for name in SCRIPTS]
    return '(function () {\n"use strict";\n' + "".join(parts) + "})();\n"


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
                                     loader=jinja2.FileSystemLoader(PAGE))
    return environment.get_template("page.html.j2")


def _requirement(judged: Judged, name: str) -> dict[str, str]:
    found = judged.run.requirements.get(name, {})
    source = found.get("source") or {}
    place = ", ".join(str(source[key]) for key in ("file", "section", "field") if source.get(key))
    return {"id": name, "text": str(found.get("text", "")), "place": place,
            "level": str(found.get("level", "")), "reading": str(found.get("reading") or "")}


def _requirement_rows(judged: Judged) -> list[dict[str, Any]]:
    states = requirement_states(judged)
    cases: dict[str, list[str]] = defaultdict(list)
    for result in judged.results:
        if result.attempt == 1:
            for name in judged.run.case_plan(result.id).get("requirements", []):
                cases[name].append(result.id)
    cited = {check["requirement"] for case in judged.run.cases.values() for check in case.failed}
    names = dict.fromkeys((*sorted(states), *sorted(cited - states.keys())))
    return [_requirement(judged, name) | {"state": states.get(name, "broken"), "cases": cases[name]} for name in names]


def _row(judged: Judged, result: Result, levels: dict[str, str]) -> dict[str, Any]:
    """One line of the list, and what the filters look at."""
    words, plan = result.id.split("."), judged.run.case_plan(result.id)
    return {
        "name": view.attempt_title(result), "anchor": f"{result.id}-{result.attempt}", "title": str(plan.get("title", "")),
        "label": result.row.label, "tone": result.row.tone, "verdict": result.verdict or "none",
        "role": words[0], "group": words[1] if len(words) > 1 else words[0],
        "levels": " ".join(sorted({levels[name] for name in plan.get("requirements", []) if levels.get(name)})),
    }


def _surprise(judged: Judged, result: Result) -> dict[str, Any]:
    """What stands in the page even for a reader without scripts."""
    check = result.case.failed[0] if result.case and result.case.failed else None
    return {
        "name": view.attempt_title(result), "anchor": f"{result.id}-{result.attempt}" if result.case else "",
        "row": result.row, "reason": result.reason, "action": result.action,
        "why": result.verdict != "fail",  # what decided was more than the check that failed
        "check": check and {"requirement": _requirement(judged, check["requirement"]), "seen": str(check.get("seen", "")),
                            "expected": [str(outcome) for outcome in check["expected"]]},
        "repro": view.repro_command(judged, result) if result.case else "",
    }


def _rank(result: Result) -> tuple[int, str, int]:
    return TONES.get(result.row.tone, 0), result.id, result.attempt


def _facts(judged: Judged) -> list[tuple[str, str]]:
    run, env = judged.run.run, judged.run.env
    rows = [("peer", view.peer_title(judged)), ("judged on", view.place_title(judged)),
            ("started", judged.date), ("suite", view.suite_title(judged)), ("seed", str(run.get("seed", ""))),
            ("command", " ".join(map(str, run.get("argv", []))))]
    for key, value in env.items():
        if key not in ("ns", "guest_type"):
            rows.extend(_flat(key, value))
    return [(key, value) for key, value in rows if value]


def _flat(key: str, value: Any) -> list[tuple[str, str]]:
    """An entry of the environment as rows: `kernels: guest`, and packages in one."""
    if isinstance(value, dict) and value and all(isinstance(part, dict) for part in value.values()):
        return [(f"{key}: {name}", view.fields_text(part)) for name, part in value.items()]
    if isinstance(value, dict):
        return [(key, view.fields_text(value))]
    if isinstance(value, list):
        return [(key, ", ".join(f"{part.get('name', '')} {part.get('version') or str(part.get('sha256', ''))[:12]}".strip() if isinstance(part, dict) else str(part)
                                for part in value))]
    return [(key, str(value))]


def _shares(named: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """How many there are of each name with its tone, the worst first."""
    counts = Counter(named)
    return [{"name": name, "tone": tone, "count": counts[name, tone]} for name, tone in sorted(counts, key=lambda both: (TONES.get(both[1], 0), both[0]))]


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def write(judged: Judged, folder: Path, kills: dict[str, Any] | None = None) -> str:
    """The page; `folder` is the run's, where artifacts lie; `kills` a kill matrix (kills.py) to show beside it. Raises StreamError when the stream is gone."""
    pictures = Pictures(folder)
    results = sorted(judged.results, key=_rank)
    requirements = _requirement_rows(judged)
    levels = {row["id"]: row["level"] for row in requirements}
    try:
        with Messages(judged.run.path) as messages:
            details = Details(judged, messages, pictures)
            packed = [pack(details.of(result)) for result in results]
    except OSError as error:
        raise StreamError(f"{judged.run.path}: {error.strerror}") from error
    rows = [_row(judged, result, levels) for result in results]
    surprises = judged.surprises()
    return _template().render(
        headline=view.headline(judged), tone={0: "good", 1: "bad"}.get(judged.exit_status, "infra"),
        peer=view.peer_title(judged), place=view.place_title(judged), exit_status=judged.exit_status,
        counts=view.count_text(judged), trouble=judged.trouble, facts=_facts(judged),
        ambiguities=judged.run.ambiguities, requirements=requirements,
        started=judged.date[:16].replace("T", " "), shares=_shares((row["label"], row["tone"]) for row in rows),
        requirement_shares=_shares((STATES[row["state"]] for row in requirements)),
        surprises=[_surprise(judged, result) for result in surprises[:MAX_SURPRISES]], more_surprises=len(surprises[MAX_SURPRISES:]),
        unplanned=sorted(name for name, n in judged.unplanned.items() if n),
        rows=rows, packed=packed, pictures=pictures.data,
        choices={name: Counter(row[name] for row in rows) for name in ("label", "role", "group")},
        level_choices=sorted({level for row in rows for level in row["levels"].split()}),
        script=script(), script_hash=_hash(script()), style=(PAGE / "page.css").read_text(encoding="utf-8"),
        role=str(judged.run.run.get("role") or ""), kills=kills,
    )
