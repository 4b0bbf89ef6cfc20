"""`report --view security`, as a reviewer types it: runs of two beds, and what sessions of fuzzing left."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab.cli import main
from lab.fuzz.targets import find_target
from reports.tests import streams as s
from reports.tests.test_security import ATTACKS


def run_in(folder: Path, records: s.Records, end: bool = True) -> str:
    folder.mkdir()
    plan = next(record for record in records if record["t"] == "plan")
    plan["attacks"] = ATTACKS
    s.write(folder, records, end=end)
    return str(folder)


def summary(folder: Path, name: str, executions: int) -> str:
    """As `fuzz` writes it for a target."""
    target = find_target(name)
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"target": target.name, "role": target.role, "peer": target.peer, "bed": target.bed, "executions": executions,
                                "seconds": 1.5, "findings": [], "date": "2026-03-01T10:00:00+00:00"}))
    return str(path)


PEER: dict[str, Any] = {"peer": {"name": "linux-drm-xen-front", "version": "6.1"}}


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    runs = [run_in(tmp_path / "qemu", s.whole(s.KNOWN, **PEER)), run_in(tmp_path / "loopback", [*s.head(bed="loopback"), *s.good(), *s.good(s.BAD), *s.warned(),
                                                                                                *s.skipped(), *s.monitored(ok=True)])]
    return ["report", *runs, "--view", "security", "--fuzz", summary(tmp_path, "guest-frontend", 1234), "--fuzz", summary(tmp_path, "linux-frontend", 56789)]


def test_peers_beds_and_fuzzing_in_one_table(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["A  linux-drm-xen-front 6.1.176-1, qemu bed, pv guest (frontend)", "B  some-frontend 6.1.176-1, loopback bed, pv guest (frontend)",
                         "C  linux-user-space, in process (frontend)"]
    rows = {line.split()[0]: line.split()[1:] for line in lines[3:12]}
    assert rows["checks"] == ["known", "withstood", "-"] and rows["fuzz"] == ["executions", "1234", "0", "56789"]
    assert main([*words, "--format", "html", "--out", str(tmp_path / "view.html")]) == 0
    page = (tmp_path / "view.html").read_text()
    assert "56,789" in page and "1,234" in page and "XSA-216" in page


def test_a_class_that_nobody_knows_to_be_broken_is_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", run_in(tmp_path / "a", s.whole()), "--view", "security"]) == 1
    assert "  broken     checks" in capsys.readouterr().out


def test_a_run_that_is_not_whole_is_status_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", run_in(tmp_path / "a", s.whole(s.KNOWN), end=False), "--view", "security"]) == 3
    assert "no end record" in capsys.readouterr().out


@pytest.mark.parametrize("more, wanted", [(["--fuzz", "/nowhere.json"], "No such file"), (["--format", "junit"], "human or html")])
def test_bad_input_is_one_message(words: list[str], more: list[str], wanted: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, *more]) == 2
    assert wanted in capsys.readouterr().err
