"""`bench bed`: what the bed costs, against an empty case in the same run. `bench loopback`: Google Benchmark's program.
`bench package` and `bench report` have files of their own."""
from __future__ import annotations

import argparse
import concurrent.futures
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Callable

from lab import bench_package, bench_report
from lab.build import build
from lab.errors import INFRASTRUCTURE, Stop
from lab.process import run_grouped
from lab.progress import Progress
from lab.qemu.cache import default_root
from lab.qemu.errors import BedError
from lab.run import Prepared, RunOptions, open_bed, prepare

JOBS = (1, 2, 4, 8)
FAKE_BACKEND = "/carried/bin/displif-fake-backend"


def command(arguments: argparse.Namespace) -> int:
    if arguments.what == "report":
        return bench_report.command(arguments.quick)
    if arguments.what == "package":
        return bench_package.command(arguments.quick)
    progress = Progress()
    if arguments.what == "fuzz":
        from lab.fuzz.bench import command as fuzz_command

        return fuzz_command(arguments.quick, progress)
    if arguments.what == "loopback":
        return _loopback(arguments.quick, progress)
    prepared = prepare(RunOptions(), progress)
    try:
        with open_bed(prepared, progress) as bed:
            _measure(bed, bed.make_disk(prepared.programs.carried), 8 if arguments.quick else 30)
        _template(prepared, progress)
    except BedError as error:
        raise Stop(INFRASTRUCTURE, error.message, error.hint) from None
    return 0


def _loopback(quick: bool, progress: Progress) -> int:
    target = "displif-bench-loopback"
    with progress.phase("build", target):
        folder = build("release", [target], anew=True)
    least = ["--benchmark_min_time=0.05"] if quick else []
    return run_grouped([folder / "cases" / "bench" / target, "--benchmark_counters_tabular=true", *least])


def _row(name: str, value: str, note: str = "") -> None:
    print(f"{name:<44} {value:>12}  {note}".rstrip(), flush=True)


def _seconds(name: str, values: list[float]) -> None:
    _row(name, f"{statistics.median(values):.3f} s", f"median of {len(values)}; {min(values):.3f} to {max(values):.3f}")


def _measure(bed: Any, disk: Path, count: int) -> None:
    _row("load, cores", f"{os.getloadavg()[0]:.1f}, {os.cpu_count()}")
    _seconds("restore to the agent's first answer", _timed(lambda: _restore(bed, disk), count))
    _seconds("a whole empty case: restore, hello, end", _timed(lambda: _empty_case(bed, disk), count))
    _seconds("restore to a connected device", [_connected(bed, disk) for _ in range(max(3, count // 3))])
    for jobs in JOBS:
        _row(f"empty cases per minute, {jobs} at once", f"{_per_minute(bed, disk, jobs, max(count, 4 * jobs)):.0f}")


def _timed(action: Callable[[], float | None], count: int) -> list[float]:
    """Seconds of each call; of a part of it when the action returns that."""
    values = []
    for _ in range(count):
        start = time.monotonic()
        part = action()
        values.append(time.monotonic() - start if part is None else part)
    return values


def _restore(bed: Any, disk: Path) -> float:
    start = time.monotonic()
    with bed.instance(disk):
        return time.monotonic() - start


def _empty_case(bed: Any, disk: Path) -> None:
    with bed.instance(disk) as machine:
        machine.agent.require("hello", timeout=60)


def _connected(bed: Any, disk: Path) -> float:
    """From nothing to a device whose frontend is Connected, through the fake backend."""
    start = time.monotonic()
    with bed.instance(disk) as machine:
        domain = machine.agent.require("hello", timeout=60)["guest_domid"]
        node = f"/local/domain/{domain}/device/vdispl/0/state"
        serve = f"{FAKE_BACKEND} --quiet --domain {domain} --seconds 20 >/dev/null 2>&1 &"
        wait = f"for i in $(seq 2000); do [ \"$(xenstore-read {node} 2>/dev/null)\" = 4 ] && exit 0; usleep 5000; done; exit 1"
        answer = machine.agent.require("sh", timeout=60, command=f"{serve} {wait}")
        if answer.get("status"):
            raise BedError(f"no connected device within the time: {answer.get('output')}")
        return time.monotonic() - start


def _per_minute(bed: Any, disk: Path, jobs: int, count: int) -> float:
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for done in [pool.submit(_empty_case, bed, disk) for _ in range(count)]:
            done.result()
    return 60 * count / (time.monotonic() - start)


def _template(prepared: Prepared, progress: Progress) -> None:
    """A template built from nothing but the unpacked packages, in a cache of its own."""
    from lab.qemu import Bed, BedOptions

    with tempfile.TemporaryDirectory(prefix="displif-cts-bench-", dir=default_root()) as name:
        (Path(name) / "packages").symlink_to(default_root() / "packages")
        with Bed(BedOptions(cache_dir=Path(name)), prepared.programs.bin, progress.bed) as bed:
            bed.prepare()
            for part, seconds in bed.timings.items():
                _row(f"template: {part}", f"{seconds:.2f} s")
