"""Writes all reports of a run into its folder."""
from __future__ import annotations

import os
from pathlib import Path

from reports import console, html, junit, ktap, lava, markdown, sarif
from reports.judge import Judged, judge
from reports.model import read_run

FILES = {"html": "report.html", "junit": "junit.xml", "ktap": "report.ktap", "lava": "report.lava", "sarif": "report.sarif",
         "markdown": "report.md"}
FORMATS = ("human", *FILES)
_WRITERS = {"junit": junit.write, "ktap": ktap.write, "lava": lava.write, "sarif": sarif.write, "markdown": markdown.write}


def judged_stream(stream: Path) -> Judged:
    return judge(read_run(stream))


def render(judged: Judged, form: str, folder: Path) -> str:
    if form == "html":
        return html.write(judged, folder)
    if form in _WRITERS:
        return _WRITERS[form](judged)
    return console.write(judged, folder / FILES["html"] if (folder / FILES["html"]).exists() else None)


def write_file(path: Path, text: str) -> None:
    """Whole or not at all: a reader never meets half a report."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8", errors="replace")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_reports(judged: Judged, folder: Path, forms: tuple[str, ...] = ("junit", "html")) -> None:
    """Raises OSError when the folder cannot be written."""
    for form in forms:
        write_file(folder / FILES[form], render(judged, form, folder))
