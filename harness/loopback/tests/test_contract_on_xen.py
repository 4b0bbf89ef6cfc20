"""What loopback promises over Xen's C ABI, asked of real Xen: the same program, in dom0 alone, and between dom0 and a
real unprivileged guest."""
from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab.run import Prepared

pytestmark = pytest.mark.bed

PROGRAM = "/carried/bin/displif-xen-contract"
LOADER = "ld-linux-x86-64.so.2"


def needed_files(program: Path) -> list[Path]:
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
    return [Path(word) for word in re.findall(r"(/\S+) \(", done.stdout)]


def run_contract(machine: Any, *words: str) -> tuple[int, list[str]]:
    lines: list[str] = []
    status = machine.run([PROGRAM, *words], lambda line: lines.append(line.decode()), 300)
    return status, lines


def check(status: int, lines: list[str]) -> None:
    assert [line for line in lines if line.startswith("not ok")] == []
    plan = [int(line[3:]) for line in lines if line.startswith("1..")]
    assert len(plan) == 1 and sum(line.startswith("ok") for line in lines) == plan[0] > 0
    assert status == 0


def test_dom0_alone(prepared: Prepared, real_bed: Any) -> None:
    with real_bed.instance(real_bed.make_disk(prepared.programs.carried)) as machine:
        check(*run_contract(machine, "--role", "both"))


def test_between_dom0_and_a_guest(prepared: Prepared, real_bed: Any) -> None:
    """The guest has no libraries of its own: the program's go along."""
    program = prepared.programs.bin / "displif-xen-contract"
    with real_bed.instance(real_bed.make_disk(prepared.programs.carried)) as machine:
        guest = machine.agent.require("hello", timeout=60)["guest_domid"]
        machine.agent.require("guest.sh", timeout=60, command="mkdir -p /contract")
        for file in [program, *needed_files(program)]:
            data = file.read_bytes()
            machine.agent.require("guest.put", timeout=60, payload=data, path=f"/contract/{file.name}", mode="755", size=len(data))
        far = f"cd /contract && ./{LOADER} --library-path . ./{program.name} --role far --peer 0 >far.log 2>&1 &"
        machine.agent.require("guest.sh", timeout=60, command=far)
        check(*run_contract(machine, "--role", "near", "--peer", str(guest)))
