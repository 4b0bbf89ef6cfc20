"""`expectations`: shows, or makes, the edits that end what is red in a run; a person gives the reason."""
from __future__ import annotations

import argparse
import fnmatch
import sys
from pathlib import Path
from typing import Any

from lab.build import ROOT
from lab.cli_report import judged_run
from lab.errors import USAGE, Stop
from reports.edits import ASKED, Edit, apply_edits, filled, plan_edits
from reports.expectations import ExpectationError
from reports.judge import Judged
from reports.write import write_file


def command(arguments: argparse.Namespace) -> int:
    judged, _ = judged_run(arguments.run)
    if judged.trouble:
        raise Stop(USAGE, f"this run is no ground for an edit: {judged.trouble[0]}", "run again")
    edits = [edit for edit in plan_edits(judged) if _wanted(edit, arguments.case)]
    if not edits:
        print("nothing to edit: every result is as expected, or is missing")
        return judged.exit_status
    for edit in edits:
        print(edit.text)
    if arguments.what == "show":
        return judged.exit_status
    file = _file(judged, arguments.file)
    answers = {name: getattr(arguments, name) for name in ASKED if getattr(arguments, name)}
    ready = [filled(edit, _ask(edit, answers)) if edit.asks else edit for edit in edits]
    try:
        text = file.read_text(encoding="utf-8") if file.exists() else "# Known deviations of this peer.\n"
        write_file(file, apply_edits(text, str(file), ready))
    except ExpectationError as error:
        raise Stop(USAGE, str(error)) from None
    print(f"{file} has {len(ready)} edit{'s' if len(ready) != 1 else ''}; run again to see it as expected")
    return 0


def _wanted(edit: Edit, globs: list[str]) -> bool:
    case = edit.entry.case if edit.entry is not None else str((edit.values or {})["case"])
    return not globs or any(fnmatch.fnmatchcase(case, glob) for glob in globs)


def _file(judged: Judged, given: str | None) -> Path:
    name = given or judged.run.run.get("expectations_file")
    if not name:
        raise Stop(USAGE, "the run had no expectations", "name the file to write with --file")
    path = Path(str(name))
    return path if path.is_absolute() or given else ROOT / path


def _ask(edit: Edit, answers: dict[str, str]) -> dict[str, Any]:
    """What the options do not say is asked for, each time: two entries seldom have one reason."""
    given = dict(answers)
    lacking = [name for name in edit.asks if name not in given]
    if lacking and not sys.stdin.isatty():
        raise Stop(USAGE, f"{edit.text}: {', '.join(lacking)} must be said",
                   "answer in a terminal, or give " + " ".join(f"--{name}" for name in lacking) + ", with --case for one entry at a time")
    for name in lacking:
        given[name] = ""
        while not given[name].strip():
            given[name] = input(f"{name} ({edit.text}): ")
    return given
