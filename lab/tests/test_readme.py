"""The README's commands: each is one that the command takes, and each sub-command is run by some test."""
from __future__ import annotations

import re
import shlex

import pytest

from lab.build import ROOT
from lab.cli import make_parser

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = sorted({found.strip() for found in re.findall(r"(?:^    |`)\./displif-cts ([^`#\n]*)", TEXT, re.MULTILINE)})


def test_there_are_commands() -> None:
    assert {"run", "test"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_is_taken(command: str) -> None:
    arguments = make_parser().parse_args(shlex.split(command))
    assert arguments.command == command.split()[0]


def test_the_two_commands_come_first() -> None:
    order = [TEXT.index(heading) for heading in (
        "## Two commands", "## Test your own driver", "## Test your own backend", "## Read a report", "## Lab", "## Fuzzing", "## Design")]
    assert order == sorted(order)


def test_files_that_it_names_exist() -> None:
    for name in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (ROOT / name).exists(), name
