"""`bench package`: how large the carried set is, and how long its programs take to start, in a dom0 of busybox on the qemu bed."""
from __future__ import annotations

import statistics
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from lab import package
from lab.errors import INFRASTRUCTURE, Stop
from lab.progress import Progress
from lab.run import RunOptions, open_bed, prepare

_ARCHIVE, _FOLDER = "/run/package.tar.gz", "/run/package"
# What is timed -> command, in the folder of the package; busybox's `true` is what they stand against.
_STARTS = {
    "busybox true": "/bin/busybox true",
    "unpack the archive": f"rm -rf {_FOLDER} && mkdir {_FOLDER} && tar -xzf {_ARCHIVE} -C {_FOLDER}",
    "displif-cts-runner list": f"{_FOLDER}/*/bin/displif-cts-runner list >/dev/null",
    "displif-cts-agent --help": f"{_FOLDER}/*/bin/displif-cts-agent --help >/dev/null",
    "displif-cts-dom0 --doctor": f"{_FOLDER}/*/bin/displif-cts-dom0 --doctor",
}


def command(quick: bool) -> int:
    progress = Progress()
    prepared = prepare(RunOptions(), progress)
    with tempfile.TemporaryDirectory(prefix="displif-cts-bench-") as name:
        made = package.make(prepared.programs.carried, "amd64", Path(name))
        _sizes(made)
        with open_bed(prepared, progress) as bed, bed.instance(bed.make_disk(prepared.programs.carried)) as machine:
            machine.agent.put(_ARCHIVE, made[0].read_bytes())
            _starts(machine, 3 if quick else 15)
    return 0


def _sizes(made: list[Path]) -> None:
    for path in made:
        print(f"{path.name:<64} {path.stat().st_size / 1e6:8.1f} MB")
    with tarfile.open(made[0]) as archive:
        members = sorted(archive.getmembers(), key=lambda member: -member.size)
    print(f"{'unpacked':<64} {sum(member.size for member in members) / 1e6:8.1f} MB")
    for member in members[:4]:
        print(f"  {member.name.partition('/')[2]:<62} {member.size / 1e6:8.1f} MB", flush=True)


def _starts(machine: Any, count: int) -> None:
    """The machine is emulated: what a start costs there is told by its ratio to the smallest program."""
    smallest = 0.0
    for what, command in _STARTS.items():
        took = []
        for _ in range(count):
            answer = machine.agent.require("sh", timeout=120, command=command)
            if answer.get("status") != 0:
                raise Stop(INFRASTRUCTURE, f"{command}: {answer.get('output')}")
            took.append(answer["took_ns"] / 1e6)
        middle = statistics.median(took)
        smallest = smallest or middle
        print(f"{what:<40} {middle:10.1f} ms  {middle / smallest:6.1f} x  ({min(took):.1f} to {max(took):.1f}, first {took[0]:.1f})", flush=True)
