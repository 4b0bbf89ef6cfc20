"""`report`: every report again, from the stream alone."""
from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lab.build import ROOT
from lab.errors import INFRASTRUCTURE, USAGE, Stop
from reports import html, security, times
from reports.judge import Judged
from reports.kills import KillMatrixError, read_kills
from reports.reader import StreamError
from reports.write import FILES, judged_stream, render, write_file, write_reports


def find_stream(run: str | None) -> Path:
    if run is not None:
        path = Path(run)
        return path / "stream.jsonl" if path.is_dir() else path
    streams = sorted((ROOT / "out").glob("*/stream.jsonl"), key=lambda path: path.stat().st_mtime)
    if not streams:
        raise Stop(USAGE, "out/ holds no run yet", "`./displif-cts run` makes one")
    return streams[-1]


def judged_run(run: str | None) -> tuple[Judged, Path]:
    """A run that the user named, or the newest, and its stream. Raises Stop."""
    stream = find_stream(run)
    try:
        return judged_stream(stream), stream
    except StreamError as error:
        raise Stop(USAGE, str(error)) from None


def command(arguments: argparse.Namespace) -> int:
    if arguments.view == "security":
        return _security(arguments)
    if arguments.kill_matrix is not None:
        return _with_kills(arguments)
    if len(arguments.run) > 1:
        raise Stop(USAGE, "one run at a time; `compare` takes two")
    if arguments.view == "times":
        return _times(arguments)
    return report(arguments.run[0] if arguments.run else None, arguments.format, arguments.out)


def _with_kills(arguments: argparse.Namespace) -> int:
    if arguments.format != "html":
        raise Stop(USAGE, "--kill-matrix is for --format html")
    judged, stream = judged_run(arguments.run[0] if arguments.run else None)
    try:
        page = html.write(judged, stream.parent, read_kills(arguments.kill_matrix))
    except KillMatrixError as error:
        raise Stop(USAGE, str(error)) from None
    target = Path(arguments.out) if arguments.out else stream.parent / FILES["html"]
    write_file(target, page)
    print(target)
    return judged.exit_status


def _security(arguments: argparse.Namespace) -> int:
    """0: no class of attack is newly broken. 1: one is. 3: a run is not whole."""
    if arguments.format not in ("human", "html"):
        raise Stop(USAGE, f"--view security is printed as human or html, not as {arguments.format}")
    runs = [judged_run(run)[0] for run in arguments.run or [None]]
    try:
        sessions = [security.read_fuzz(path) for path in arguments.fuzz]
        tables = [security.table_of(judged, sessions) for judged in runs]
    except security.SecurityError as error:
        raise Stop(USAGE, str(error)) from None
    text = security.html(tables, sessions) if arguments.format == "html" else security.text(tables, sessions)
    if arguments.out:
        write_file(Path(arguments.out), text)
    else:
        sys.stdout.write(text)
    if any(table.trouble for table in tables):
        return INFRASTRUCTURE
    return 1 if any(row.result == "broken" for table in tables for row in table.rows) else 0


def _times(arguments: argparse.Namespace) -> int:
    if arguments.format != "human":
        raise Stop(USAGE, f"--view times is printed as human, not as {arguments.format}")
    text = times.text(judged_run(arguments.run[0] if arguments.run else None)[0])
    if arguments.out:
        write_file(Path(arguments.out), text)
    else:
        sys.stdout.write(text)
    return 0


def report(run: str | None, form: str, out: str | None) -> int:
    """The exit status is the run's."""
    judged, stream = judged_run(run)
    folder = stream.parent
    try:
        if form == "all":
            target = Path(out) if out else folder
            target.mkdir(parents=True, exist_ok=True)
            for name, file in FILES.items():
                write_file(target / file, render(judged, name, folder))
            form = "human"
        elif form == "html" and out is None:
            write_reports(judged, folder, ("html",))
            form = "human"
    except OSError as error:
        raise Stop(INFRASTRUCTURE, f"{error.filename}: {error.strerror}") from None
    text = render(judged, form, folder)
    if out and form != "human":
        write_file(Path(out), text)
    else:
        sys.stdout.write(text)
    return judged.exit_status
