"""`report`: every report again, from the stream alone."""
from __future__ import annotations

import sys
from pathlib import Path

from lab.build import ROOT
from lab.errors import INFRASTRUCTURE, USAGE, Stop
from reports.judge import Judged
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
