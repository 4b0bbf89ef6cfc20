"""The backend role in the qemu bed: real domains, real grants, and the verdicts that loopback gives."""
from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab.build import ROOT
from reports.judge import judge
from reports.model import read_run

pytestmark = pytest.mark.bed

DISPL_BE = os.environ.get("DISPLIF_DISPL_BE")
# An operation, its refusal, the bus, what is odd on a ring.
CASES = ["backend.dbuf-create.several", "backend.dbuf-create.zero-cookie", "backend.bus.removal.connected",
         "backend.transport.odd.ring-start"]


def run(folder: Path, *words: str, cases: list[str] = CASES) -> dict[str, Any]:
    """The results by case id; the run's exit status under ''."""
    selected = [word for case in cases for word in ("--case", case)]
    done = subprocess.run(["./displif-cts", "run", "--role", "backend", "--jobs", "1", "--again", "0", "--out", str(folder), *selected,
                           *words], cwd=ROOT, capture_output=True, text=True)
    results = {result.id: result for result in judge(read_run(folder / "stream.jsonl")).results}
    return {"": done.returncode, **results}


def verdicts(results: dict[str, Any]) -> dict[str, str]:
    return {name: result.verdict for name, result in results.items() if name}


def machine_of(folder: Path, kind: str) -> dict[str, Any]:
    return next(record for line in open(folder / "stream.jsonl", encoding="utf-8")
                if (record := json.loads(line)).get("t") == kind)


def test_a_few_cases_have_loopbacks_verdicts(tmp_path: Path) -> None:
    real, loopback = run(tmp_path / "real", "--bed", "qemu"), run(tmp_path / "loopback", "--bed", "loopback")
    assert verdicts(real) == verdicts(loopback) == dict.fromkeys(CASES, "pass")
    assert real[""] == 0
    assert machine_of(tmp_path / "real", "env")["backend_domain"] == "dom0"


@pytest.mark.full
def test_the_whole_suite_has_loopbacks_verdicts(tmp_path: Path) -> None:
    real, loopback = run(tmp_path / "real", "--bed", "qemu", cases=[]), run(tmp_path / "loopback", "--bed", "loopback", cases=[])
    # The suite's own backend has no device there, and a screen as large as an answer of its own costs seconds.
    seen = {name: verdict for name, verdict in verdicts(real).items() if verdict != "skip"}
    assert set(verdicts(loopback)) - set(seen) == {"backend.set-config.shown", "backend.set-config.hidden", "backend.pg-flip.shown",
                                                  "backend.fb-detach.others-shown"}
    assert seen.items() <= verdicts(loopback).items()
    assert len(verdicts(real)) > 400


@pytest.mark.full
def test_a_backend_in_a_driver_domain(tmp_path: Path) -> None:
    real = run(tmp_path, "--bed", "qemu", "--driver-domain")
    assert verdicts(real) == dict.fromkeys(CASES, "pass")
    assert machine_of(tmp_path, "env")["backend_domain"] == "driver domain"


@pytest.mark.skipif(not DISPL_BE, reason="DISPLIF_DISPL_BE does not name displ_be: an independent backend is not run")
def test_displ_be_shows_what_was_drawn(tmp_path: Path) -> None:
    cases = ["backend.set-config.shown", "backend.dbuf-create.several"]
    real = run(tmp_path, "--bed", "qemu", "--peer", "displ-be-drm", cases=cases)
    assert verdicts(real) == dict.fromkeys(cases, "pass")
    assert (tmp_path / "artifacts" / cases[0] / "screen.png").read_bytes().startswith(b"\x89PNG")
