"""The table of statuses (statuses.yaml) in Python's words."""
from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import yaml

TABLE = Path(__file__).with_name("statuses.yaml")


@dataclass(frozen=True)
class Row:
    """How one kind of result is written in every report."""

    outcome: str
    label: str
    tone: str
    junit: str
    ktap: str
    directive: str
    lava: str
    sarif: str


@dataclass(frozen=True)
class Statuses:
    verdicts: tuple[str, ...]  # in rising strength
    about_peer: frozenset[str]
    bad: frozenset[str]
    certify: dict[str, str]  # verdict -> accepted, stated, waivable, refused
    outcome_exit: dict[str, int]
    rows: dict[tuple[str, str], Row]

    def strongest(self, verdicts: list[str]) -> str:
        return max(verdicts, key=self.verdicts.index)

    def row(self, outcome: str, verdict: str | None) -> Row:
        return self.rows[outcome, verdict or "none"]


@functools.cache
def statuses() -> Statuses:
    table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    rows: dict[tuple[str, str], Row] = {}
    for entry in table["results"]:
        fields = {key: str(value) for key, value in entry.items() if key != "verdict"}
        for verdict in entry["verdict"]:
            rows.setdefault((entry["outcome"], verdict), Row(**fields))
    return Statuses(
        verdicts=tuple(table["verdicts"]),
        about_peer=frozenset(v for v, row in table["verdicts"].items() if row["peer"]),
        bad=frozenset(v for v, row in table["verdicts"].items() if row["bad"]),
        certify={v: row["certify"] for v, row in table["verdicts"].items()},
        outcome_exit={outcome: row["exit"] for outcome, row in table["outcomes"].items()},
        rows=rows,
    )
