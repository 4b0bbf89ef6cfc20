"""What monitors say over recorded messages, against what they said."""
from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.replay import differences
from reports.tests import streams as s

FIRST = s.check(s.MONITOR, False, "wire.reserved-zero", during=s.GOOD)
HEALTH = s.check("frontend.monitor.known-complaints", False, "health.kernel-log-clean", during=s.GOOD)


def runner_that_says(folder: Path, records: s.Records, status: int = 0) -> Path:
    runner = folder / "runner"
    said = folder / "said.jsonl"
    said.write_text("".join(json.dumps(record) + "\n" for record in records))
    runner.write_text(f"#!/bin/sh\ncat {said}\nexit {status}\n")
    runner.chmod(0o755)
    return runner


@pytest.mark.parametrize("now, wanted", [
    ([FIRST], []), ([FIRST | {"ok": True}], ["the messages do not show it", "the stream does not have it"]),
    ([FIRST | {"attempt": 1}], []), ([FIRST, FIRST], ["the stream does not have it"]),
    ([FIRST | {"seen": "other"}], ["the messages do not show it", "the stream does not have it"]),
    ([FIRST, s.check(s.MONITOR, True, during=s.BAD)], ["the stream does not have it"]),
])
def test_what_differs(tmp_path: Path, now: s.Records, wanted: list[str]) -> None:
    stream = s.write(tmp_path, [*s.head(), *s.good(), *s.bad(), FIRST, HEALTH, s.verdict(s.MONITOR, "fail", "not zero")])
    texts, same = differences(runner_that_says(tmp_path, now), stream)
    assert len(texts) == len(wanted) and all(word in text for word, text in zip(wanted, texts)), texts
    assert same == (1 if FIRST in now or FIRST | {"attempt": 1} in now else 0)
