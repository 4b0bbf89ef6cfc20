"""The CI recipes of docs/lab.md: YAML that is one, and commands that the command takes."""
from __future__ import annotations

import re
import shlex

import pytest
import yaml

from lab.build import ROOT
from lab.cli import make_parser

TEXT = (ROOT / "docs" / "lab.md").read_text(encoding="utf-8")
COMMANDS = sorted({found.strip() for found in re.findall(r"\./displif-cts ([^`#\n|>']*)", TEXT)})


def block(heading: str) -> str:
    lines = TEXT[TEXT.index(f"\n{heading}:\n") + len(heading) + 3:].lstrip("\n").splitlines()
    return "\n".join(line[4:] for line in lines[:next((i for i, line in enumerate(lines) if line and not line.startswith("    ")), len(lines))])


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_taken(command: str) -> None:
    for old, new in (("${{ matrix.shard }}", "1"), ("$CI_NODE_INDEX", "1"), ("$CI_NODE_TOTAL", "2"), ("FOLDER", "out")):
        command = command.replace(old, new)
    assert make_parser().parse_args(shlex.split(command)).command == command.split()[0]


def test_github_and_gitlab_are_yaml_that_runs_every_shard_and_merges() -> None:
    github = yaml.safe_load(block("GitHub Actions"))
    matrix = github["jobs"]["displif"]["strategy"]["matrix"]["shard"]
    steps = " ".join(str(step.get("run")) for step in github["jobs"]["displif"]["steps"])
    assert matrix == [1, 2] and f"--shard ${{{{ matrix.shard }}}}/{len(matrix)}" in steps and github["jobs"]["report"]["needs"] == "displif"
    gitlab = yaml.safe_load(block("GitLab CI"))
    assert gitlab["displif"]["parallel"] == 2 and gitlab["displif-report"]["needs"] == ["displif"]
    for name in ("displif", "displif-report"):
        assert gitlab[name]["artifacts"]["when"] == "always" and gitlab[name]["artifacts"]["reports"]["junit"].endswith("junit.xml")


def test_jenkins_keeps_its_reports_whatever_the_status() -> None:
    text = block("Jenkins")
    assert text.count("{") == text.count("}") and "always { junit 'out/junit.xml'" in text and "./displif-cts run --out out" in text
