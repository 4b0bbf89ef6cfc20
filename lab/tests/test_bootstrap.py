"""displif-cts, the shell part: which packages, and what happens when they cannot be had."""
from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lab.build import ROOT
from lab.packages import missing, package_list, parse

TOOLS = ("sh", "sed", "tr", "readlink", "dirname", "grep", "env", "mktemp", "rm", "cat", "tail")
COMMAND = ROOT / "displif-cts"


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A PATH of a bare machine, where no package is installed."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        (folder / tool).symlink_to(shutil.which(tool) or f"/bin/{tool}")
    put(folder, "dpkg-query", "exit 1")
    put(folder, "id", "echo 1000")
    return folder


def put(folder: Path, name: str, script: str) -> None:
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def start(bare: Path, *words: str, command: Path = COMMAND) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["/bin/sh", command, *words], env={"PATH": str(bare), "TMPDIR": str(bare.parent)},
                          capture_output=True, text=True, timeout=60)


def installs(bare: Path, status: str = "0") -> Path:
    """An apt-get that notes what it is asked for; returns its notes."""
    notes = bare.parent / "apt.log"
    put(bare, "apt-get", f'echo "$*" >> {notes}; [ "${{DEBIAN_FRONTEND:-}}" = noninteractive ] || exit 9; echo E: sorry; exit {status}')
    return notes


def test_missing_packages_without_root_or_sudo(bare: Path) -> None:
    installs(bare)
    done = start(bare, "run")
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1
    assert "neither root nor sudo" in done.stderr and "qemu-system-x86" in done.stderr and "libxen-dev" in done.stderr


def test_a_machine_without_apt(bare: Path) -> None:
    done = start(bare, "run")
    assert done.returncode == 3 and "no apt-get" in done.stderr and len(done.stderr.splitlines()) == 1


def test_sudo_that_refuses(bare: Path) -> None:
    installs(bare)
    put(bare, "sudo", "exit 1")
    done = start(bare, "run")
    assert done.returncode == 3 and "sudo refused" in done.stderr


def test_sudo_is_used_and_said(bare: Path) -> None:
    notes = installs(bare)
    put(bare, "sudo", '[ "$1" = -v ] || exec "$@"')
    done = start(bare, "report", "/nowhere")
    asked = notes.read_text().splitlines()
    assert "install -y --no-install-recommends" in asked[-1] and "python3-jinja2" in asked[-1]
    assert "qemu" not in asked[-1]
    assert "packages: sudo apt-get install -y --no-install-recommends" in done.stderr
    assert done.returncode == 2  # handed over: there is no such run


def test_root_needs_no_sudo(bare: Path) -> None:
    notes = installs(bare)
    put(bare, "id", "echo 0")
    done = start(bare, "report", "/nowhere")
    assert "python3-yaml" in notes.read_text() and "sudo" not in done.stderr


def test_a_failed_installation_is_tried_once_more_after_an_update(bare: Path) -> None:
    notes = installs(bare, status="100")
    put(bare, "id", "echo 0")
    done = start(bare, "report")
    assert done.returncode == 3
    assert "E: sorry" in done.stderr
    assert any(" update" in line for line in notes.read_text().splitlines())
    assert not list(bare.parent.glob("tmp.*"))


@pytest.mark.parametrize("words, present, absent", [
    (["run"], "qemu-system-x86", "coccinelle"),
    (["run", "--driver-source", "x"], "make", "coccinelle"),
    (["run", "--driver-source=x"], "make", "coccinelle"),
    (["mutants"], "coccinelle", "python3-pytest"),
    (["test"], "python3-pytest", "nothing"),
    (["list"], "cmake", "qemu-system-x86"),
    (["run", "--help"], "python3", "cmake"),
    (["nosuch"], "python3", "cmake"),
    (["ru"], "python3", "cmake"),
    (["--help"], "python3", "cmake"),
    ([], "python3", "cmake"),
    ([".*"], "python3", "cmake"),
])
def test_each_command_asks_for_what_it_needs(bare: Path, words: list[str], present: str, absent: str) -> None:
    installs(bare)
    done = start(bare, *words)
    assert done.returncode == 3
    assert f" {present}" in done.stderr and f" {absent}" not in done.stderr


def test_it_works_through_a_link_and_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(COMMAND)
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "__init__.py").write_text("raise SystemExit('the wrong lab')")
    done = subprocess.run([tmp_path / "link", "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "COMMAND" in done.stdout


def test_the_list_is_well_formed() -> None:
    listed = package_list()
    for command in listed.needs:
        assert listed.packages(command), command
    used = {group for groups in listed.needs.values() for group in groups}
    assert used == set(listed.groups)
    with pytest.raises(ValueError):
        parse("wants x y")


def test_every_command_has_its_packages() -> None:
    from lab.cli import make_parser

    commands = make_parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    assert set(commands) <= set(package_list().needs)


def test_missing_tells_installed_from_not() -> None:
    assert missing(["dpkg", "no-such-package-anywhere"]) == ["no-such-package-anywhere"]


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck() -> None:
    assert subprocess.run(["shellcheck", COMMAND]).returncode == 0


def test_the_command_is_executable() -> None:
    assert os.access(COMMAND, os.X_OK)
