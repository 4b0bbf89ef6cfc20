"""LAVA's signals: a line for each result, as lava-test-case prints them (lava-test-shell's protocol)."""
from __future__ import annotations

import re
from typing import Iterator

from reports.judge import Judged, Result
from reports.statuses import statuses

RUN = "displif-cts.run"  # the run as a whole: so that a job whose stream is damaged is not green


def plain(verdict: str) -> str:
    """What a runner says that knows no expectations (harness/runner/printers.cc)."""
    bad = {"infra-error": "missing"} | {word: "unexpected-fail" for word in statuses().bad if word != "infra-error"}
    return statuses().row(bad.get(verdict, "expected"), verdict).lava


def _id(result: Result) -> str:
    """Ids are [a-z0-9.-] already; an entry of the expectations may be a glob. LAVA takes an id once only."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", result.id)
    return name if result.attempt == 1 else f"{name}.attempt-{result.attempt}"


def _signal(name: str, result: str, seconds: float | None = None) -> str:
    measured = "" if seconds is None else f" MEASUREMENT={seconds:.3f} UNITS=seconds"
    return f"<LAVA_SIGNAL_TESTCASE TEST_CASE_ID={name} RESULT={result}{measured}>"


def _lines(judged: Judged) -> Iterator[str]:
    for result in judged.results:
        yield _signal(_id(result), result.row.lava, result.case.seconds if result.case and result.case.verdict else None)
    stale: dict[str, int] = {}
    for result in judged.stale:
        name = f"displif-cts.expectation.{_id(result)}"
        stale[name] = stale.get(name, 0) + 1
        yield _signal(name if stale[name] == 1 else f"{name}.{stale[name]}", result.row.lava)
    yield _signal(RUN, "pass" if judged.exit_status == 0 else "fail")


def write(judged: Judged) -> str:
    return "\n".join(_lines(judged)) + "\n"
