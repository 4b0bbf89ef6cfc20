"""Debugging entry: `python3 -m lab.qemu prepare|shell|time|facts --programs DIR`."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from . import Bed, BedError, BedOptions


def show(phase: str, seconds: float | None) -> None:
    print(f"  {phase} ..." if seconds is None else f"  {phase}: {seconds:.2f} s", file=sys.stderr)


def shell(bed: Bed, disk: Path) -> None:
    """A line at a time in dom0; `guest.VERB key=value ...` goes to the agent as it is."""
    with bed.instance(disk) as vm:
        print(f"QEMU is process {vm.pid}, console log {vm.serial_log}")
        for line in sys.stdin:
            verb, *words = line.split()
            if verb.startswith("guest.") or verb in ("hello", "domain", "grants", "ports", "klog", "guest-log"):
                print(json.dumps(vm.agent.call(verb, **dict(word.split("=", 1) for word in words))))
            else:
                answer = vm.agent.call("sh", command=line.strip())
                print(answer.get("output", answer), end="")


def measure(bed: Bed, disk: Path, count: int) -> None:
    """Seconds from nothing to a machine in use, by steps."""
    steps: dict[str, list[float]] = {}
    for _ in range(count):
        with bed.instance(disk) as vm:
            for step, seconds in vm.timings.items():
                steps.setdefault(step, []).append(seconds)
    for step, values in steps.items():
        print(f"{step}: median {statistics.median(values):.3f} s, max {max(values):.3f} s, n={count}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m lab.qemu", description=__doc__)
    parser.add_argument("action", choices=["prepare", "shell", "time", "facts"])
    parser.add_argument("--programs", type=Path, required=True, help="directory with the agent and the exerciser")
    parser.add_argument("--carried", type=Path, help="directory that becomes the carried disk")
    parser.add_argument("--module", type=Path, action="append", default=[])
    parser.add_argument("--kernel", type=Path)
    parser.add_argument("--modules", type=Path)
    parser.add_argument("--xen", type=Path)
    parser.add_argument("--xen-tools", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--paranoid", action="store_true")
    parser.add_argument("--count", type=int, default=20)
    args = parser.parse_args()
    options = BedOptions(
        args.module, args.kernel, args.modules, args.xen, args.xen_tools, args.cache, paranoid=args.paranoid
    )
    try:
        with Bed(options, args.programs, show) as bed, tempfile.TemporaryDirectory() as empty:
            bed.prepare()
            print(f"prepared in {bed.timings['prepare']:.2f} s")
            if args.action == "facts":
                print(json.dumps(bed.facts(), indent=1))
            elif args.action != "prepare":
                disk = bed.make_disk(args.carried or Path(empty))
                shell(bed, disk) if args.action == "shell" else measure(bed, disk, args.count)
    except BedError as error:
        print(error, file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
