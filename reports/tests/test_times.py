"""The table of times."""
from __future__ import annotations

from pathlib import Path

from reports.tests import streams as s
from reports.times import text
from reports.write import judged_stream

A, B, C, MONITOR = "frontend.ring.a", "frontend.ring.b", "frontend.bus.c", "frontend.monitor.m"


def stream(folder: Path, *cases: tuple[str, float]) -> Path:
    records = s.head([name for name, _ in cases] + [MONITOR])
    for name, seconds in cases:
        records += [s.begin(name), s.check(name, True), s.verdict(name, "pass") | {"ns_spent": int(seconds * 1e9)}]
    return s.write(folder, records)


def test_groups_by_time_and_the_longest_cases(tmp_path: Path) -> None:
    judged = judged_stream(stream(tmp_path, (A, 1.25), (B, 2.5), (C, 3.0)))
    lines = [line.split() for line in text(judged).splitlines()]
    assert lines[1:4] == [["ring", "2", "3.8", "2.5", B], ["bus", "1", "3.0", "3.0", C], ["all", "3", "6.8", "3.0", C]]
    assert lines[5:] == [["3.0", C], ["2.5", B], ["1.2", A]]


def test_a_run_in_which_nothing_ran(tmp_path: Path) -> None:
    judged = judged_stream(s.write(tmp_path, s.head([A]), end=False))
    assert text(judged).splitlines() == ["group            cases   seconds   longest"]
