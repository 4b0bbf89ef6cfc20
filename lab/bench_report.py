"""`bench report`: time and memory of each report over the number of cases, against the parsing of the same stream alone."""
from __future__ import annotations

import os
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from reports.measure import STEPS, cost_of, write_stream
from reports.write import judged_stream, render

SIZES = (100, 1_000, 10_000)
LARGE = (2_000, 330)  # cases of a large run, and messages in each: 200 MB of stream
OPENINGS = 7


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
        _opened(Path(name))
    return 0


def _opened(folder: Path) -> None:
    """The page of a large run in Chromium, from a file, against a page with nothing in it; each in turn."""
    try:
        from reports.tests.browser import opening, started
    except ImportError as error:
        print(f"the page in a browser: not measured, {error.name} is not installed")
        return
    empty, page, stream = folder / "empty.html", folder / "report.html", folder / "stream.jsonl"
    empty.write_text("<!doctype html><html lang=en><title>empty</title><p>nothing</p></html>")
    write_stream(stream, *LARGE)
    page.write_text(render(judged_stream(stream), "html", folder))
    print(f"\nthe page of {LARGE[0]} cases, stream {stream.stat().st_size / 1e6:.0f} MB, page {page.stat().st_size / 1e6:.1f} MB, opened {OPENINGS} times in Chromium; "
          f"load {os.getloadavg()[0]:.1f}")
    print(f"{'milliseconds':<14} {'usable':>8} {'most':>6} {'drawn':>8} {'most':>6} {'work of its process':>20}")
    for driver in started():
        both = {"empty page": empty, "report.html": page}
        found: dict[str, list[Any]] = {name: [] for name in both}
        for _ in range(OPENINGS):
            for name, path in both.items():
                found[name].append(opening(driver, path))
        for name, times in found.items():
            usable, drawn, work = (sorted(getattr(one, key) for one in times) for key in ("usable", "drawn", "processor"))
            print(f"{name:<14} {median(usable):>8.0f} {usable[-1]:>6.0f} {median(drawn):>8.0f} {drawn[-1]:>6.0f} {median(work):>20.0f}")
