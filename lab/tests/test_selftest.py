"""The suite's proof of itself, as the command makes it."""
from __future__ import annotations

import re
import subprocess
from types import SimpleNamespace
from typing import Any, Sequence

import pytest

from lab.build import ROOT
from lab.selftest import Bench, Fault, Trial


@pytest.mark.parametrize(("role", "least"), [("backend", 60), ("frontend", 150)])
def test_every_fault_of_both_fakes_is_caught_and_nothing_else(role: str, least: int) -> None:
    done = subprocess.run([ROOT / "displif-cts", "selftest", "--role", role], capture_output=True, text=True, timeout=1800,
                          check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    counts = re.search(r"^(\d+) of (\d+) faults caught, 0 false alarms, (\d+) known survivors$", done.stdout, re.MULTILINE)
    assert counts and int(counts[1]) + int(counts[3]) == int(counts[2]) and int(counts[1]) >= least


@pytest.mark.parametrize(("verdicts", "caught", "tried"), [
    (("infra-error", "fail"), True, 2), (("infra-error",) * 3, False, 3), (("pass",), False, 1), (("fail",), True, 1)])
def test_trouble_of_our_own_is_tried_again(verdicts: Sequence[str], caught: bool, tried: int) -> None:
    case = SimpleNamespace(id="frontend.x")
    left = list(verdicts)

    class Played(Bench):
        def __init__(self) -> None:
            pass

        def attempt(self, case: Any, fault: Fault | None = None) -> Trial:
            verdict = left.pop(0)
            return Trial(case.id, verdict, "", {"a.b": case.id} if verdict == "fail" else {}, "f", False)

    line = Played().line(Fault("frontend.omission.f", "t", "a.b"), [case], full=False)  # type: ignore[list-item]
    assert bool(line.by) == caught and len(left) == len(verdicts) - tried
