"""The suite's proof of itself, as the command makes it."""
from __future__ import annotations

import re
import subprocess

import pytest

from lab.build import ROOT


@pytest.mark.parametrize(("role", "least"), [("backend", 60), ("frontend", 150)])
def test_every_fault_of_both_fakes_is_caught_and_nothing_else(role: str, least: int) -> None:
    done = subprocess.run([ROOT / "displif-cts", "selftest", "--role", role], capture_output=True, text=True, timeout=1800,
                          check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    counts = re.search(r"^(\d+) of (\d+) faults caught, 0 false alarms, (\d+) known survivors$", done.stdout, re.MULTILINE)
    assert counts and int(counts[1]) + int(counts[3]) == int(counts[2]) and int(counts[1]) >= least
