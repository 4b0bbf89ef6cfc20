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
    result: str  # withstood, incomplete, broken, known, not judged, no case
    tone: str
    counts: str
    evidence: tuple[tuple[str, str, str], ...]  # case, what was seen, the command that repeats it
    note: str


@dataclass(frozen=True)
class Table:
    peer: str
    name: str  # the peer's, without its version
    place: str
    bed: str
    date: str
    role: str
    trust: str
    fuzz: str
    rows: tuple[Row, ...]
    trouble: tuple[str, ...]


@dataclass(frozen=True)
class Session:
    """One of fuzzing: its inputs are sequences of every kind of step, so that they are spent on all classes at once."""

    target: str
    role: str
    peer: str  # what was attacked, and where; empty in records of older suites
    bed: str
    executions: int
    seconds: float
    findings: tuple[str, ...]


@dataclass(frozen=True)
class Column:
    """A peer in one place, over all classes: from runs, from sessions of fuzzing, or both."""

    role: str
    peer: str
    place: str
    results: dict[str, tuple[str, str]]  # class -> result, tone
    executions: int
    findings: int


def read_fuzz(path: Path) -> Session:
    """What a fuzzing session left. Raises SecurityError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Session(str(found["target"]), str(found["role"]), str(found.get("peer", "")), str(found.get("bed", "")), int(found["executions"]),
                       float(found["seconds"]), tuple(str(title) for title in found["findings"]))
    except OSError as error:
        raise SecurityError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise SecurityError(f"{path}: no summary of a fuzzing session (target, role, executions, seconds, findings)") from None


def table_of(judged: Judged, fuzz: Sequence[Session] = ()) -> Table:
    attacks = judged.run.attacks
    if not attacks:
        raise SecurityError(f"{judged.run.path}: the run's plan has no classes of attack: it is of an older suite, run again")
    role = str(judged.run.run.get("role") or "")
    by_id: dict[str, list[Result]] = {}
    for result in judged.results:
        by_id.setdefault(result.id, []).append(result)
    rows = tuple(_row(judged, entry, [result for name in entry.get("cases", []) for result in by_id.get(name, [])])
                 for entry in attacks.get("classes", []))
    name, bed = str(judged.run.peer.get("name", "")), str(judged.run.run.get("bed", ""))
    return Table(view.peer_title(judged), name, view.place_title(judged), bed, judged.date, role, str(attacks.get("trust", "")),
                 _fuzz_text([session for session in fuzz if _about(session, name, bed, role)]), rows, tuple(judged.trouble))


def _about(session: Session, name: str, bed: str, role: str) -> bool:
    return (session.peer, session.bed, session.role) == (name, bed, role)


def columns_of(tables: Sequence[Table], fuzz: Sequence[Session]) -> list[Column]:
    """Every peer and place that was tried: those with runs first, then where there was fuzzing alone."""
    columns = []
    rest = list(fuzz)
    for table in tables:
        spent = [session for session in fuzz if _about(session, table.name, table.bed, table.role)]
        rest = [session for session in rest if session not in spent]
        columns.append(Column(table.role, table.peer, table.place, {row.id: (row.result, row.tone) for row in table.rows},
                              sum(session.executions for session in spent), sum(len(session.findings) for session in spent)))
    places = dict.fromkeys((session.role, session.peer or session.target, session.bed) for session in rest)
    for role, peer, bed in places:
        spent = [session for session in rest if (session.role, session.peer or session.target, session.bed) == (role, peer, bed)]
        columns.append(Column(role, peer, bed, {}, sum(session.executions for session in spent), sum(len(session.findings) for session in spent)))
    return columns


def _classes(tables: Sequence[Table]) -> dict[str, str]:
    return {row.id: row.title for table in tables for row in table.rows}


def _row(judged: Judged, entry: dict[str, Any], results: list[Result]) -> Row:
    bad = [result for result in results if result.verdict in statuses().bad and result.verdict in statuses().about_peer]
    looked_at = [result for result in results if result.verdict in statuses().about_peer]
    if bad:
        result, tone = ("known", "known") if all(one.known for one in bad) else ("broken", "bad")
    elif looked_at and any(result.outcome == "missing" for result in results):
        result, tone = "incomplete", "infra"  # what was not judged might have broken it
    elif looked_at:
        result, tone = "withstood", "good"
    else:
        result, tone = ("not judged", "infra") if entry.get("cases") else ("no case", "idle")
    counts = Counter(one.verdict or "no verdict" for one in results)
    order = ("pass", "warn", "fail", "hang", "crash", "skip", "infra-error", "no verdict")
    evidence = tuple((view.attempt_title(one), one.reason, view.repro_command(judged, one)) for one in bad[:MAX_EVIDENCE])
    more = f"and {len(bad) - MAX_EVIDENCE} more" if len(bad) > MAX_EVIDENCE else ""
    return Row(str(entry["id"]), str(entry.get("title", "")), tuple(map(str, entry.get("advisories", []))), result, tone,
               ", ".join(f"{counts[word]} {word}" for word in order if counts[word]), evidence, ". ".join(part for part in (more, str(entry.get("why", ""))) if part))


def _fuzz_text(sessions: Sequence[Session]) -> str:
    if not sessions:
        return "fuzz executions: none on this peer and bed were handed in"
    return "; ".join(f"{one.target}: {one.executions} fuzz executions in {one.seconds:.0f} s, "
                     f"{len(one.findings)} findings" + (f" ({', '.join(one.findings)})" if one.findings else "") for one in sessions)


def text(tables: Sequence[Table], fuzz: Sequence[Session] = ()) -> str:
    lines = _overview(tables, columns_of(tables, fuzz))
    for table in tables:
        lines += ["", f"{table.peer}, {table.place}, {table.date}", f"  trust  {table.trust}", f"  {table.fuzz}"]
        lines += [f"  trouble  {note}" for note in table.trouble]
        for row in table.rows:
            lines.append(f"  {row.result:<10} {row.id:<16} {row.title} [{', '.join(row.advisories) or 'no advisory'}]: {row.counts or row.note or 'nothing ran'}")
            for case, seen, repro in row.evidence:
                lines += [f"      {case}: {seen}", f"      {repro}"]
            if row.evidence and row.note:
                lines.append(f"      {row.note}")
    return "\n".join(lines) + "\n"


def _overview(tables: Sequence[Table], columns: Sequence[Column]) -> list[str]:
    """Classes down, peers and places across, by letters that the lines above explain."""
    letters = [chr(ord("A") + number) if number < 26 else str(number) for number in range(len(columns))]
    lines = [f"{letter}  {column.peer}{', ' if column.place else ''}{column.place} ({column.role})" for letter, column in zip(letters, columns)]
    lines.append(f"{'class':<18}" + "".join(f"{letter:<12}" for letter in letters))
    for name in _classes(tables):
        lines.append(f"{name:<18}" + "".join(f"{column.results.get(name, ('-', ''))[0]:<12}" for column in columns))
    lines.append(f"{'fuzz executions':<18}" + "".join(f"{column.executions:<12}" for column in columns))
    lines.append(f"{'findings of it':<18}" + "".join(f"{column.findings:<12}" for column in columns))
    return [line.rstrip() for line in lines]


def html(tables: Sequence[Table], fuzz: Sequence[Session] = ()) -> str:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
                                     loader=jinja2.FileSystemLoader(PAGE))
    return environment.get_template("security.html.j2").render(tables=tables, columns=columns_of(tables, fuzz), classes=_classes(tables), sessions=fuzz,
                                                               style=(PAGE / "page.css").read_text(encoding="utf-8"))
