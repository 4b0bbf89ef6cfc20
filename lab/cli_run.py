"""`run`, `list` and `shell`."""
from __future__ import annotations

import argparse
import json
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Callable

from lab.build import ROOT, build_carried
from lab.cli_options import bed_options, list_options, run_options
from lab.errors import INFRASTRUCTURE, USAGE, Stop, Terminated
from lab.fetch import fetching
from lab.progress import Progress
from lab.qemu.errors import BedError
from lab.run import CaseLines, Prepared, RunOptions, command_line, execute, make_folder, open_bed, prepare
from lab.shell import console
from lab.suite import Plan, load_suite, select
from reports.judge import Judged
from reports.write import judged_stream, render, write_reports


def run_command(arguments: argparse.Namespace) -> int:
    options = command_line(run_options(arguments))
    progress = Progress()
    if arguments.keep and options.bed != "qemu":
        raise Stop(USAGE, f"--keep is for the qemu bed; a machine of the {options.bed} bed has no shell")
    wants_packages = options.bed == "qemu" and not arguments.list
    prepared = prepare(options, progress, partial(fetching, options.arch) if wants_packages else nullcontext)
    if arguments.list:
        return _print_plan(prepared.plan, "human")
    if arguments.keep and (len(prepared.plan.runnable) != 1 or options.repeat != 1):
        raise Stop(USAGE, "--keep keeps the machine of one case: select one with --case")
    folder = make_folder(options.out)
    return run_and_report(prepared, folder, progress, arguments.format, console if arguments.keep else None)


def run_and_report(prepared: Prepared, folder: Path, progress: Progress, form: str,
                   keep: Callable[[Any], None] | None = None) -> int:
    """Whatever ends the run, what was recorded is reported."""
    stream = folder / "stream.jsonl"
    try:
        run_prepared(prepared, folder, progress, keep)
    except (KeyboardInterrupt, Terminated, Stop):
        if stream.exists():
            _report(stream, folder, progress, form)
        else:
            _drop_empty(folder, prepared.options)
        raise
    _point_latest(folder, prepared.options)
    return _report(stream, folder, progress, form).exit_status


def run_prepared(prepared: Prepared, folder: Path, progress: Progress, keep: Callable[[Any], None] | None = None) -> None:
    """Brings the bed up and runs the plan: a stream in the folder."""
    plan, options = prepared.plan, prepared.options
    try:
        bed = open_bed(prepared, progress)
        with bed:
            total = len(plan.runnable) * options.repeat
            with progress.phase("cases", f"{total} to run, {min(options.jobs, total)} at a time"):
                execute(prepared, bed, bed.facts(), folder, CaseLines(progress, total), keep)
    except BedError as error:
        raise Stop(INFRASTRUCTURE, error.message, error.hint) from None


def _report(stream: Path, folder: Path, progress: Progress, form: str) -> Judged:
    judged = judged_stream(stream)
    try:
        with progress.phase("report", str(folder)):
            write_reports(judged, folder)
    except OSError as error:
        print(f"displif-cts: the reports cannot be written: {error.strerror}", file=sys.stderr)
        judged.trouble.append(f"the reports cannot be written: {error.strerror}")
    if form == "jsonl":
        sys.stdout.write(stream.read_text(encoding="utf-8"))
    else:
        sys.stdout.write(render(judged, form, folder))
    sys.stdout.flush()
    return judged


def _drop_empty(folder: Path, options: RunOptions) -> None:
    """A folder that we made and that holds nothing is no use to anybody."""
    if options.out is None:
        try:
            folder.rmdir()
        except OSError:
            pass


def _point_latest(folder: Path, options: RunOptions) -> None:
    """out/latest: for people; two runs at once leave it at one of them."""
    if options.out is not None:
        return
    link = ROOT / "out" / "latest"
    part = link.with_name(f".latest.{folder.name}")
    try:
        part.symlink_to(folder.name)
        part.replace(link)
    except OSError:
        part.unlink(missing_ok=True)


def list_command(arguments: argparse.Namespace) -> int:
    options = list_options(arguments)
    programs = build_carried(Progress(quiet=True))
    return _print_plan(select(load_suite(programs.runner, options.role), options.selection), arguments.format)


def _print_plan(plan: Plan, form: str) -> int:
    for case in plan.cases:
        if form == "jsonl":
            print(json.dumps(case.to_plan()))
        else:
            print(f"{case.id:<64} {case.title}")
    return 0


def shell_command(arguments: argparse.Namespace) -> int:
    """A fresh machine with the driver loaded in the guest, and no device yet."""
    progress = Progress()
    prepared = prepare(command_line(bed_options(arguments)), progress)
    try:
        with open_bed(prepared, progress) as bed, bed.instance(bed.make_disk(prepared.programs.carried)) as machine:
            console(machine)
    except BedError as error:
        raise Stop(INFRASTRUCTURE, error.message, error.hint) from None
    return 0
