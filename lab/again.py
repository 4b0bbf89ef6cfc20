"""A case that fails and is not known to is run again, alone, in a fresh machine: is it the case, its neighbours, or chance?

The first verdict stands. The new attempts follow those of the plan in the stream, and every report tells how many failed.
"""
from __future__ import annotations

import threading
from typing import Callable, Sequence

from lab.schedule import Batch, Job
from lab.suite import Case
from reports.expectations import Expectation
from reports.statuses import statuses

MOST_CASES = 10  # a peer with more surprises than this does not fail by chance

OnVerdict = Callable[[str, int, str, str], None]


class Surprises:
    """Listens to verdicts; tells which cases ended badly without an expectation for it. Called from worker threads."""

    def __init__(self, entries: Sequence[Expectation], on_verdict: OnVerdict) -> None:
        self._entries, self._on_verdict = entries, on_verdict
        self._bad: dict[str, None] = {}
        self._lock = threading.Lock()

    def __call__(self, case_id: str, attempt: int, verdict: str, reason: str) -> None:
        known = any(entry.covers(case_id) and entry.verdict == verdict for entry in self._entries)
        if verdict in statuses().bad & statuses().about_peer and not known:
            with self._lock:
                self._bad[case_id] = None
        self._on_verdict(case_id, attempt, verdict, reason)

    def batches(self, cases: Sequence[Case], repeat: int, again: int) -> list[Batch]:
        """Each alone in its machine; none when so many failed that it is not chance."""
        bad = [case for case in cases if case.id in self._bad]
        if len(bad) > MOST_CASES:
            return []
        return [(Job(case, repeat + number),) for number in range(1, again + 1) for case in bad]
