"""`gate` on real modules: Debian's driver, and the same with one seeded deviation."""
from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lab.build import ROOT
from lab.kernel.source import stock_driver_source
from lab.mutants import apply, list_mutants

pytestmark = [pytest.mark.bed, pytest.mark.full]
MUTANT = "create-width-is-height"
CASES = ("frontend.dbuf-create.fields*", "frontend.bus.stays-initialising")


def gate(base: Path, patched: Path, out: Path) -> "subprocess.CompletedProcess[str]":
    cases = [word for glob in CASES for word in ("--case", glob)]
    return subprocess.run([ROOT / "displif-cts", "gate", "--base", base, "--patched", patched, "--jobs", "1", "--again", "0", "--out", out, *cases],
                          cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_change_that_breaks_something_is_stopped(tmp_path: Path) -> None:
    stock = stock_driver_source()
    mutant = next(mutant for mutant in list_mutants() if mutant.name == MUTANT)
    worse = apply(mutant, stock, tmp_path / "worse")
    done = gate(stock, worse, tmp_path / "gate")
    assert done.returncode == 1 and done.stdout.startswith("WORSE:"), done.stdout + done.stderr
    assert "frontend.dbuf-create.fields" in done.stdout and "frontend.bus" not in done.stdout
    assert {path.name for path in (tmp_path / "gate").iterdir()} == {"base", "patched", "compare.html"}
    better = gate(worse, stock, tmp_path / "back")
    assert better.returncode == 0 and better.stdout.startswith("NOT WORSE:"), better.stdout + better.stderr
