"""The security reviewer's page: each class of attack, on each peer and bed that was run, with its evidence and reproducer."""
from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Sequence

import jinja2

from reports import view
from reports.judge import Judged, Result
from reports.statuses import statuses

PAGE = Path(__file__).with_name("page")
MAX_EVIDENCE = 3


class SecurityError(Exception):
    """There is nothing to show the page from. The text says why."""


@dataclass(frozen=True)
class Row:
    """One class of attack in one run."""

    id: str
    title: str
    advisories: tuple[str, ...]
    result: str  # withstood, broken, known, not judged, no case
    tone: str
    counts: str
    evidence: tuple[tuple[str, str, str], ...]  # case, what was seen, the command that repeats it
    note: str


@dataclass(frozen=True)
class Table:
    peer: str
    place: str
    date: str
    role: str
    trust: str
    fuzz: str
    rows: tuple[Row, ...]
    trouble: tuple[str, ...]


def read_fuzz(path: Path) -> dict[str, Any]:
    """What a fuzzing session left: target, role, executions, seconds, findings. Raises SecurityError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {"target": str(found["target"]), "role": str(found["role"]), "executions": int(found["executions"]),
                "seconds": float(found["seconds"]), "findings": [str(title) for title in found["findings"]]}
    except OSError as error:
        raise SecurityError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise SecurityError(f"{path}: no summary of a fuzzing session (target, role, executions, seconds, findings)") from None


def table_of(judged: Judged, fuzz: Sequence[dict[str, Any]] = ()) -> Table:
    attacks = judged.run.attacks
    if not attacks:
        raise SecurityError(f"{judged.run.path}: the run's plan has no classes of attack: it is of an older suite, run again")
    role = str(judged.run.run.get("role") or "")
    by_id: dict[str, list[Result]] = {}
    for result in judged.results:
        by_id.setdefault(result.id, []).append(result)
    rows = tuple(_row(judged, entry, [result for name in entry.get("cases", []) for result in by_id.get(name, [])])
                 for entry in attacks.get("classes", []))
    return Table(view.peer_title(judged), view.place_title(judged), judged.date, role, str(attacks.get("trust", "")),
                 _fuzz_text([session for session in fuzz if session["role"] == role]), rows, tuple(judged.trouble))


def _row(judged: Judged, entry: dict[str, Any], results: list[Result]) -> Row:
    bad = [result for result in results if result.verdict in statuses().bad and result.verdict in statuses().about_peer]
    looked_at = [result for result in results if result.verdict in statuses().about_peer]
    if bad:
        result, tone = ("known", "known") if all(one.known for one in bad) else ("broken", "bad")
    elif looked_at:
        result, tone = "withstood", "good"
    else:
        result, tone = ("not judged", "infra") if entry.get("cases") else ("no case", "idle")
    counts = Counter(one.verdict or "no verdict" for one in results)
    order = ("pass", "warn", "fail", "hang", "crash", "skip", "infra-error", "no verdict")
    evidence = tuple((view.attempt_title(one), one.reason, view.repro_command(judged, one)) for one in bad[:MAX_EVIDENCE])
    more = f"and {len(bad) - MAX_EVIDENCE} more" if len(bad) > MAX_EVIDENCE else ""
    return Row(str(entry["id"]), str(entry.get("title", "")), tuple(map(str, entry.get("advisories", []))), result, tone,
               ", ".join(f"{counts[word]} {word}" for word in order if counts[word]), evidence, more or str(entry.get("why", "")))


def _fuzz_text(sessions: Sequence[dict[str, Any]]) -> str:
    if not sessions:
        return "fuzz executions: no session was handed in"
    return "; ".join(f"{one['target']}: {one['executions']} fuzz executions in {one['seconds']:.0f} s, "
                     f"{len(one['findings'])} findings" + (f" ({', '.join(one['findings'])})" if one["findings"] else "") for one in sessions)


def text(tables: Sequence[Table]) -> str:
    lines: list[str] = []
    for table in tables:
        lines += [f"{table.peer}, {table.place}, {table.date}", f"  trust  {table.trust}", f"  {table.fuzz}"]
        lines += [f"  trouble  {note}" for note in table.trouble]
        for row in table.rows:
            lines.append(f"  {row.result:<10} {row.id:<16} {row.title} [{', '.join(row.advisories) or 'no advisory'}]: {row.counts or row.note or 'nothing ran'}")
            for case, seen, repro in row.evidence:
                lines += [f"      {case}: {seen}", f"      {repro}"]
            if row.evidence and row.note:
                lines.append(f"      {row.note}")
    return "\n".join(lines) + "\n"


def html(tables: Sequence[Table]) -> str:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
                                     loader=jinja2.FileSystemLoader(PAGE))
    return environment.get_template("security.html.j2").render(tables=tables, style=(PAGE / "page.css").read_text(encoding="utf-8"))
