"""`compare`: two runs, or the attempts of one; `gate`: a driver before and after a change, both run here."""
from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Sequence

from lab.cli_options import gate_options
from lab.cli_report import judged_run
from lab.cli_run import run_prepared
from lab.errors import USAGE, Stop
from lab.fetch import fetching
from lab.progress import Progress
from lab.run import Prepared, RunOptions, command_line, make_folder, prepare
from reports import compare as comparing
from reports.write import judged_stream, write_file, write_reports


def _tell(comparison: comparing.Comparison, form: str, out: str | None) -> int:
    text = comparing.html(comparison) if form == "html" else comparing.text(comparison)
    if out is not None:
        write_file(Path(out), text)
        print(comparison.headline)
    else:
        sys.stdout.write(text)
    return comparison.exit_status


def compare(arguments: argparse.Namespace) -> int:
    before, path = judged_run(arguments.before)
    if arguments.after is None:
        comparison = comparing.compare_attempts(before)
    else:
        after, other = judged_run(arguments.after)
        names = (path.parent.name, other.parent.name)
        comparison = comparing.compare(before, after, names if names[0] != names[1] else ("before", "after"))
    return _tell(comparison, arguments.format, arguments.out)


def _driver(options: RunOptions, side: str, paths: Sequence[Path], modules: Path | None) -> RunOptions:
    """A kernel tree or its drivers/gpu/drm/xen; or modules; or a kernel, with the modules built with it."""
    if len(paths) == 1 and paths[0].is_dir():
        return replace(options, driver_source=paths[0])
    if all(path.suffix == ".ko" for path in paths):
        return replace(options, modules=tuple(paths))
    if len(paths) > 1:
        raise Stop(USAGE, f"--{side} takes one folder, or modules (*.ko), or one kernel, and not {len(paths)} of different kinds")
    if not paths[0].exists():
        raise Stop(USAGE, f"--{side} {paths[0]}: No such file or directory")
    if modules is None:
        raise Stop(USAGE, f"--{side} {paths[0]} is taken for a kernel: it needs --{side}-modules, the modules built with it")
    return replace(options, kernel=paths[0], modules_dir=modules)


def gate(arguments: argparse.Namespace) -> int:
    """Runs the same cases on both drivers and shows what differs."""
    options = command_line(gate_options(arguments))
    progress = Progress()
    sides = {"base": _driver(options, "base", arguments.base, arguments.base_modules),
             "patched": _driver(options, "patched", arguments.patched, arguments.patched_modules)}
    prepared: dict[str, Prepared] = {name: prepare(side, progress, fetching) for name, side in sides.items()}
    folder = make_folder(options.out)
    judged = []
    for name, side in prepared.items():
        target = folder / name
        target.mkdir()
        progress.say("gate", f"{name}: {' '.join(map(str, getattr(arguments, name)))}")
        run_prepared(side, target, progress)
        judged.append(judged_stream(target / "stream.jsonl"))
        write_reports(judged[-1], target)
    comparison = comparing.compare(judged[0], judged[1], ("base", "patched"))
    write_file(folder / "compare.html", comparing.html(comparison))
    status = _tell(comparison, "text", None)
    print(f"report        {folder / 'compare.html'}")
    return status
