"""The backend role in the qemu bed: real domains, real grants, and the verdicts that loopback gives."""
from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.build import ROOT, build_carried
from lab.peers import HERE
from lab.progress import Progress
from lab.qemu.apt import machines_architecture
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


# What an unprivileged backend is told of nodes that are gone differs from what dom0 is told.
DRIVER_DOMAIN_CASES = [*CASES, "backend.bus.removal.forced"]


@pytest.mark.full
@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_a_backend_in_a_driver_domain(arch: str, tmp_path: Path) -> None:
    real = run(tmp_path, "--bed", "qemu", "--driver-domain", "--arch", arch, cases=DRIVER_DOMAIN_CASES)
    assert verdicts(real) == dict.fromkeys(DRIVER_DOMAIN_CASES, "pass")
    assert machine_of(tmp_path, "env")["backend_domain"] == "driver domain"


@pytest.mark.full
@pytest.mark.skipif(machines_architecture() != "amd64", reason="a cross compiler is meant")
def test_a_backend_on_arm64_with_its_libraries(tmp_path: Path) -> None:
    """One of the carried set, and one that comes from this host as a user's does."""
    carried = build_carried(Progress(quiet=True), "arm64").bin / "displif-fake-backend"
    peer = yaml.safe_load((HERE / "displif-fake-backend-emulated.yaml").read_text())
    peer |= {"name": "somebodys", "command": [str(carried), *peer["command"][1:]]}
    (tmp_path / "peer.yaml").write_text(yaml.safe_dump(peer))
    for folder, words in (("ours", ()), ("theirs", ("--peer", str(tmp_path / "peer.yaml")))):
        real = run(tmp_path / folder, "--bed", "qemu", "--arch", "arm64", *words)
        assert verdicts(real) == dict.fromkeys(CASES, "pass")
        assert machine_of(tmp_path / folder, "env")["arch"] == "arm64"


@pytest.mark.skipif(not DISPL_BE, reason="DISPLIF_DISPL_BE does not name displ_be: an independent backend is not run")
def test_displ_be_shows_what_was_drawn(tmp_path: Path) -> None:
    cases = ["backend.set-config.shown", "backend.dbuf-create.several"]
    real = run(tmp_path, "--bed", "qemu", "--peer", "displ-be-drm", cases=cases)
    assert verdicts(real) == dict.fromkeys(cases, "pass")
    assert (tmp_path / "artifacts" / cases[0] / "screen.png").read_bytes().startswith(b"\x89PNG")
