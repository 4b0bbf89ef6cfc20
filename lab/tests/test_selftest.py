"""The suite's proof of itself, as the command makes it."""
from __future__ import annotations

import re
import subprocess

from lab.build import ROOT


def test_every_fault_of_the_fake_backend_is_caught_and_nothing_else() -> None:
    done = subprocess.run([ROOT / "displif-cts", "selftest"], capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    caught = re.search(r"^(\d+) of (\d+) faults caught, 0 false alarms$", done.stdout, re.MULTILINE)
    assert caught and caught[1] == caught[2] and int(caught[1]) > 50
