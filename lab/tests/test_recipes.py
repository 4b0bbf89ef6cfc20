"""The recipes of lab/ci: YAML that is one, and every shell step run, by a `displif-cts` that takes the words and judges nothing."""
from __future__ import annotations

import gzip
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.build import ROOT
from lab.cli import make_parser

CI = ROOT / "lab" / "ci"
DOCS = (ROOT / "docs" / "lab.md").read_text(encoding="utf-8")
COMMANDS = sorted({found.strip() for found in re.findall(r"\./displif-cts ([^`#\n|>']*)", DOCS)})
# Notes its words, makes the run's folder, and ends as it is told.
STAND_IN = """#!/bin/sh
printf '%s\\n' "$*" >>"$NOTES"
while [ $# -gt 1 ]; do [ "$1" != --out ] || { mkdir -p "$2"; : >"$2/junit.xml"; }; shift; done
exit "${STATUS:-0}"
"""


def taken(words: str) -> Any:
    return make_parser().parse_args(shlex.split(words))


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_of_the_page_is_taken(command: str) -> None:
    assert taken(command.replace("FOLDER", "out")).command == command.split()[0]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout with the stand-in, as the recipes find it."""
    (tmp_path / "displif-cts").write_text(STAND_IN)
    (tmp_path / "displif-cts").chmod(0o755)
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "ci").symlink_to(CI)
    return tmp_path


def step(tree: Path, command: str, **more: str) -> "subprocess.CompletedProcess[str]":
    variables = {"NOTES": str(tree / "notes"), "GITHUB_STEP_SUMMARY": str(tree / "summary"), "DISPLIF_CTS_OPTIONS": "--case frontend.bus.*", **more}
    return subprocess.run(["bash", "-e", "-c", command], cwd=tree, env={"PATH": os.environ["PATH"], **variables}, capture_output=True, text=True, timeout=60)


def asked(tree: Path) -> list[str]:
    """What the stand-in was asked for; each is something that the real one takes."""
    lines = (tree / "notes").read_text().splitlines()
    assert all(taken(line).command == line.split()[0] for line in lines)
    return lines


def test_github_runs_every_shard_and_merges_them(tree: Path) -> None:
    recipe = yaml.safe_load((CI / "github.yml").read_text())
    jobs = recipe["jobs"]
    shards = jobs["displif"]["strategy"]["matrix"]["shard"]
    for shard in shards:
        for one in jobs["displif"]["steps"]:
            if "run" in one:
                assert step(tree, one["run"].replace("${{ matrix.shard }}", str(shard))).returncode == 0
    for one in jobs["report"]["steps"]:
        if "run" in one:
            assert step(tree, one["run"]).returncode == 0
    assert asked(tree)[:3] == [f"run --case frontend.bus.* --shard {n}/{len(shards)} --out out/{n}" for n in shards] + ["merge out/1 out/2 --out whole"]
    assert jobs["report"]["needs"] == "displif" and jobs["report"]["if"] == "always()" and (tree / "summary").exists()
    kept = [one for one in jobs["displif"]["steps"] if "upload-artifact" in str(one.get("uses"))]
    assert kept and kept[0]["if"] == "always()"


def test_gitlab_runs_every_shard_and_merges_them(tree: Path) -> None:
    recipe = yaml.safe_load((CI / "gitlab-ci.yml").read_text())
    number = recipe["displif"]["parallel"]
    for shard in range(1, number + 1):
        for line in recipe["displif"]["script"]:
            assert step(tree, line, CI_NODE_INDEX=str(shard), CI_NODE_TOTAL=str(number)).returncode == 0
    for line in recipe["displif-report"]["script"]:
        assert step(tree, line).returncode == 0
    assert asked(tree) == [*(f"run --case frontend.bus.* --shard {n}/{number} --out out/{n}" for n in range(1, number + 1)), "merge out/1 out/2 --out whole"]
    for name in ("displif", "displif-report"):
        assert recipe[name]["artifacts"]["when"] == "always" and recipe[name]["artifacts"]["reports"]["junit"].endswith("junit.xml")


def test_jenkins_keeps_its_reports_whatever_the_status(tree: Path) -> None:
    text = (CI / "Jenkinsfile").read_text()
    (line,) = re.findall(r"sh '([^']*)'", text)
    assert step(tree, line, STATUS="1").returncode == 1 and asked(tree) == ["run --case frontend.bus.* --out out"]
    assert text.count("{") == text.count("}") and "always { junit 'out/junit.xml'" in text and (tree / "out" / "junit.xml").exists()


@pytest.mark.parametrize("packed", [True, False])
def test_a_kernel_that_somebody_else_built(tree: Path, packed: bool) -> None:
    folder = tree / "built" / "lib" / "modules" / "6.1.0"
    folder.mkdir(parents=True)
    (tree / "bzImage").touch()
    subprocess.run(["tar", "-czf", tree / "modules.tar.gz", "-C", tree / "built", "lib"], check=True)
    # Not by its link: the script goes to the tree that it lies in.
    (tree / "lab" / "ci").unlink()
    (tree / "lab" / "ci").mkdir()
    (tree / "lab" / "ci" / "kernelci.sh").write_text((CI / "kernelci.sh").read_text())
    given = tree / "modules.tar.gz" if packed else tree / "built"
    done = step(tree, "sh lab/ci/kernelci.sh", KERNEL_IMAGE=str(tree / "bzImage"), KERNEL_MODULES=str(given), STATUS="1")
    (line,) = asked(tree)
    assert done.returncode == 1, done.stderr
    assert line.startswith(f"run --kernel {tree / 'bzImage'} --modules ") and "/lib/modules/6.1.0 --format ktap --out out/kernelci" in line
    assert step(tree, "sh lab/ci/kernelci.sh", KERNEL_IMAGE="x", KERNEL_MODULES=str(tree / "lab")).returncode == 3


def test_a_job_of_xens_own_ci(tree: Path) -> None:
    (tree / "xen" / "binaries").mkdir(parents=True)
    (tree / "xen" / "binaries" / "xen").touch()
    archive = subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], input=b"displif-cts\n", cwd=tree, capture_output=True, check=True).stdout
    (tree / "xen" / "binaries" / "xen-tools.cpio.gz").write_bytes(gzip.compress(archive))
    command = f"cd xen && bash {CI / 'qemu-displif-x86_64.sh'}"
    assert step(tree, command, DISPLIF_CTS=str(tree)).returncode == 0
    assert step(tree, command, DISPLIF_CTS=str(tree), STATUS="3").returncode == 3  # not tee's
    words = taken(asked(tree)[0])
    assert words.xen == tree / "xen" / "binaries" / "xen" and words.out == tree / "xen" / "displif"


@pytest.mark.parametrize("name", ["kernelci.sh", "qemu-displif-x86_64.sh"])
def test_scripts_are_ones(name: str) -> None:
    assert os.access(CI / name, os.X_OK)
    subprocess.run(["bash", "-n", CI / name], check=True)
