"""`bench report`: time and memory of each report over the number of cases, against the parsing of the same stream alone."""
from __future__ import annotations

import os
import tempfile
from pathlib import Path

from reports.measure import STEPS, cost_of, write_stream

SIZES = (100, 1_000, 10_000)


def command(quick: bool) -> int:
    sizes = SIZES[:2] if quick else SIZES
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores; seconds are processor time of a process of its own, which reads the stream anew")
    print(f"{'report':<22} {'cases':>6} {'seconds':>8} {'x JSON':>7} {'MB used':>8} {'MB made':>8}")
    with tempfile.TemporaryDirectory(prefix="displif-cts-bench-") as name:
        for cases in sizes:
            path = Path(name) / "stream.jsonl"
            write_stream(path, cases)
            print(f"{'stream':<22} {cases:>6} {'':>8} {'':>7} {'':>8} {path.stat().st_size / 1e6:>8.1f}", flush=True)
            baseline = 0.0
            for step in STEPS:
                cost = cost_of(step, path)
                baseline = baseline or cost.seconds
                made = f"{cost.size / 1e6:.1f}" if step not in STEPS[:2] else ""
                print(f"{step:<22} {cases:>6} {cost.seconds:>8.2f} {cost.seconds / baseline:>7.2f} {cost.megabytes:>8.0f} {made:>8}", flush=True)
    return 0
