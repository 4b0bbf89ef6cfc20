"""What only a kernel with more checks shows: lost memory, allocations that fail; and that its lockdep goes on judging."""
from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab.build import ROOT
from lab.kernel import stock_driver_source
from lab.kernel.kernels import Edit, Kernel, apply_edit, build_kernel

LOST = "frontend.monitor.lost-memory"
# One small allocation for each buffer, to which nothing points.
LEAK = Edit("drivers/gpu/drm/xen/xen_drm_front.c", "\tdbuf_add_to_list(front_info, dbuf, dbuf_cookie);\n",
            "\tkmemdup(\"displif\", 8, GFP_KERNEL);\n", "lab/tests/test_debug_guest.py")


def command(*words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["/usr/bin/python3", "-m", "lab.cli", *words], cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=900)


def verdicts(folder: Path) -> dict[str, dict[str, Any]]:
    records = (json.loads(line) for line in (folder / "stream.jsonl").read_text().splitlines())
    return {record["case"]: record for record in records if record["t"] == "verdict"}


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    return build_kernel("debug-guest")


def boots(kernel: Kernel) -> list[str]:
    return ["--kernel", str(kernel.image), "--modules", str(kernel.modules)]


def test_leaks_are_a_guests_kernels() -> None:
    for words in (("--role", "backend"), ("--bed", "loopback")):
        done = command("run", "--leaks", *words)
        assert done.returncode == 2 and "--leaks is for the frontend's role on the qemu bed" in done.stderr


@pytest.mark.bed
def test_a_kernel_that_cannot_do_it_is_a_skip_with_the_reason(tmp_path: Path) -> None:
    done = command("run", "--leaks", "--case", "frontend.memory-shortage.fb-attach", "--case", "frontend.bus.stays-initialising",
                   "--case", LOST, "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    told = verdicts(tmp_path)
    assert told["frontend.bus.stays-initialising"]["verdict"] == "pass"
    assert (told[LOST]["verdict"], told[LOST]["reason"]) == ("skip", "the guest's kernel has no kmemleak")
    shortage = told["frontend.memory-shortage.fb-attach"]
    assert shortage["verdict"] == "skip" and "cannot let an allocation fail (ENOENT)" in shortage["reason"]


@pytest.mark.full
@pytest.mark.bed
def test_the_driver_loses_no_memory_even_where_there_is_none(kernel: Kernel, tmp_path: Path) -> None:
    done = command("run", *boots(kernel), "--leaks", "--case", "frontend.memory-shortage.*", "--case", LOST, "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    told = {name: record["verdict"] for name, record in verdicts(tmp_path).items()}
    assert told.pop("frontend.memory-shortage.dbuf-create") == "crash"
    skipped = {name for name, verdict in told.items() if verdict == "skip"}
    assert skipped == {"frontend.memory-shortage.dbuf-destroy", "frontend.memory-shortage.fb-detach"}  # they ask for no memory
    assert {told[name] for name in told.keys() - skipped} == {"pass"} and len(told) == 7
    failed = {name: int(count) for name, count in re.findall(r'"case":"([a-z0-9.-]+)"[^\n]*?"text":"(\d+) allocations failed',
                                                             (tmp_path / "stream.jsonl").read_text())}
    assert failed["frontend.memory-shortage.set-config"] > 5 and failed["frontend.memory-shortage.fb-attach"] > 0


@pytest.mark.full
@pytest.mark.bed
def test_a_driver_that_loses_memory_is_caught(kernel: Kernel, tmp_path: Path) -> None:
    shutil.copytree(stock_driver_source(), tmp_path / "source")
    apply_edit(LEAK, tmp_path / "source")
    done = command("run", *boots(kernel), "--driver-source", str(tmp_path / "source"), "--leaks", "--again", "0",
                   "--case", "frontend.dbuf-destroy.grants-released", "--case", LOST, "--out", str(tmp_path / "run"))
    assert done.returncode == 1, done.stdout + done.stderr
    told = verdicts(tmp_path / "run")
    assert told["frontend.dbuf-destroy.grants-released"]["verdict"] == "pass"
    assert told[LOST]["verdict"] == "fail" and "unreferenced object" in told[LOST]["reason"] and "dbuf_create" in told[LOST]["reason"]


@pytest.mark.full
@pytest.mark.bed
def test_lockdep_still_judges_when_the_guest_is_connected(kernel: Kernel) -> None:
    told = command("shell", *boots(kernel), stdin=":guest.sh command=grep${IFS}debug_locks${IFS}/proc/lockdep_stats\n:quit\n")
    assert re.search(r"debug_locks: +1\b", told.stdout), told.stdout + told.stderr
