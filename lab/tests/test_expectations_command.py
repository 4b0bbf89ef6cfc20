"""`expectations`, as a user types it."""
from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from lab.build import ROOT
from lab.cli import main
from reports.expectations import parse
from reports.tests import streams as s

GIVEN = ["--reason", "seen in the source", "--reference", "xen_drm_front.c", "--owner", "me", "--expires", "2027-01-01"]


def test_show_prints_and_update_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    s.write(tmp_path, s.whole([s.KNOWN[1]]))
    file = tmp_path / "known.yaml"
    assert main(["expectations", "show", str(tmp_path)]) == 1 and not file.exists()
    assert f"add {s.BAD}: fail, and no entry covers it" in capsys.readouterr().out
    assert main(["expectations", "update", str(tmp_path), "--file", str(file), *GIVEN]) == 0
    (entry,) = parse(file.read_text(), "known.yaml")
    assert (entry.case, entry.verdict, entry.reason, entry.versions) == (s.BAD, "fail", "seen in the source", "6.1.176-1")
    s.write(tmp_path, s.whole([s.KNOWN[1], entry.to_json()]))
    assert main(["expectations", "update", str(tmp_path), "--file", str(file)]) == 0
    assert "nothing to edit" in capsys.readouterr().out


@pytest.mark.parametrize("arguments, wanted", [
    ([], "reason, reference, owner, expires must be said"),
    ([*GIVEN[:-1], "soon"], "expires is no date"),
])
def test_nothing_is_written_without_what_a_person_knows(tmp_path: Path, arguments: list[str], wanted: str, capsys: pytest.CaptureFixture[str]) -> None:
    s.write(tmp_path, s.whole([s.KNOWN[1]]))
    file = tmp_path / "known.yaml"
    assert main(["expectations", "update", str(tmp_path), "--file", str(file), *arguments]) == 2
    assert wanted in capsys.readouterr().err and not file.exists()


def test_a_damaged_run_is_no_ground_for_an_edit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    s.write(tmp_path, s.whole(), end=False)
    assert main(["expectations", "update", str(tmp_path)]) == 2
    assert "no ground for an edit" in capsys.readouterr().err


def test_in_a_terminal_it_asks(tmp_path: Path) -> None:
    s.write(tmp_path, s.whole([s.KNOWN[1]]))
    file = tmp_path / "known.yaml"
    leader, follower = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "lab.cli", "expectations", "update", str(tmp_path), "--file", str(file)],
                               cwd=ROOT, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    os.write(leader, b"\nthe reason\nthe reference\nme\n2027-01-01\n")
    assert process.wait(timeout=60) == 0
    os.close(leader)
    assert parse(file.read_text(), "")[0].reason == "the reason"
