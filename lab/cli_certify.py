"""`certify`: the mandatory list, run and sealed; `verify`: does a bundle say what its own records say?"""
from __future__ import annotations

import argparse
import datetime
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import BinaryIO

from lab import minisign
from lab.build import build_carried
from lab.cli_options import certify_options
from lab.cli_report import judged_run
from lab.cli_run import run_prepared
from lab.errors import INFRASTRUCTURE, USAGE, Stop
from lab.fetch import fetching
from lab.mandatory import FOLDER, mandatory_list, pinned_hashes, write_list
from lab.progress import Progress
from lab.replay import differences
from lab.run import command_line, make_folder, prepare, suite_version
from lab.suite import Suite, load_suite
from reports import archive, bundle, statement
from reports.judge import Judged
from reports.reader import StreamError
from reports.write import write_reports

UNSIGNED = "NOT SIGNED: anybody could have made this bundle; --key signs it"


def certify(arguments: argparse.Namespace) -> int:
    """0: conformant. 1: not, and the bundle says why. 3: a case that must have run has no verdict."""
    if arguments.make_list:
        return _make_list(arguments.role)
    waivers = _waivers(arguments.waivers)
    judged, folder = _run(arguments) if arguments.run is None else _recorded(arguments.run)
    mandatory = mandatory_list(str(judged.run.run.get("role") or "frontend"))
    target = arguments.bundle or folder / "bundle.tar"
    part = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with open(part, "wb") as file:
            said = bundle.make(judged, mandatory, waivers, file)
        part.replace(target)
    except StreamError as error:
        raise Stop(INFRASTRUCTURE, str(error)) from None
    finally:
        part.unlink(missing_ok=True)
    minisign.signature_of(target).unlink(missing_ok=True)  # of a bundle that was here before
    # Signed before anything is said: whoever reads a line and stops listening has the whole of it.
    signed = UNSIGNED if arguments.key is None else f"signature {minisign.sign(target, arguments.key, str(said['date']))}"
    sys.stdout.write(statement.text(said))
    print(f"bundle    {target}")
    print(signed)
    lacking = any(statement_case not in _judged_ids(judged) for statement_case in mandatory)
    return 3 if lacking or judged.trouble else 0 if said["result"] != "not conformant" else 1


def _judged_ids(judged: Judged) -> set[str]:
    return {result.id for result in judged.results if result.verdict not in (None, "infra-error")}


def _waivers(path: Path | None) -> list[statement.Waiver]:
    if path is None:
        return []
    try:
        return statement.parse_waivers(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise Stop(USAGE, f"--waivers {path}: {error}") from None
    except statement.WaiverError as error:
        raise Stop(USAGE, str(error)) from None


def _recorded(run: str) -> tuple[Judged, Path]:
    judged, stream = judged_run(run)
    return judged, stream.parent


def _run(arguments: argparse.Namespace) -> tuple[Judged, Path]:
    options = command_line(certify_options(arguments))
    progress = Progress()
    prepared = prepare(options, progress, partial(fetching, options.arch))
    _check_list(prepared.suite, options.role)
    folder = make_folder(options.out)
    run_prepared(prepared, folder, progress)
    judged, _ = judged_run(str(folder))
    write_reports(judged, folder)
    return judged, folder


def _check_list(suite: Suite, role: str) -> None:
    known = {case.id for case in suite.cases}
    lacking = [case for case in mandatory_list(role) if case not in known]
    if lacking:
        raise Stop(INFRASTRUCTURE, f"the list names {lacking[0]}, and the suite has no such case", "./displif-cts certify --make-list")


def _make_list(role: str) -> int:
    suite = load_suite(build_carried(Progress(quiet=True)).runner, role)
    digest = write_list(suite, role, datetime.date.today().isoformat())
    print(f"{FOLDER / f'{role}.list'}: sha256 {digest}")
    return 0


def _replay(source: BinaryIO, found: bundle.Verification) -> None:
    """The frontend's monitors over the bundle's messages; a backend is judged by its cases alone."""
    runner = build_carried(Progress()).runner
    try:
        members, _ = archive.members_of(source)
    except archive.ArchiveError:
        return  # said already
    with tempfile.TemporaryDirectory(prefix="displif-cts-replay-") as name:
        stream = Path(name) / "stream.jsonl"
        with open(stream, "wb") as file:
            for block in members[bundle.STREAM].blocks() if bundle.STREAM in members else ():
                file.write(block)
        texts, same = differences(runner, stream)
    found.mismatches.extend(texts)
    found.checked.append(f"{same} checks of monitors, from the messages")


def verify(arguments: argparse.Namespace) -> int:
    """0: it says what its records say, whatever that is. 1: it does not. 2: there is nothing to verify."""
    try:
        source = open(arguments.bundle, "rb")
    except OSError as error:
        raise Stop(USAGE, f"{arguments.bundle}: {error.strerror}") from None
    with source:
        found = bundle.verify(source, list(pinned_hashes()), str(suite_version()["commit"]))
        if arguments.replay:
            _replay(source, found)
    if arguments.key is not None:
        trouble = minisign.check(arguments.bundle, arguments.key)
        if trouble:
            found.mismatches.append(f"the signature: {trouble}")
        else:
            found.checked.append("the signature")
    if not arguments.replay and found.judged is not None and found.judged.run.run.get("role") == "frontend":
        found.notes.append("the monitors over the messages: not replayed; --replay builds the runner and does")
    for text in found.checked:
        print(f"checked   {text}")
    for text in found.notes:
        print(f"note      {text}")
    for text in found.mismatches:
        print(f"MISMATCH  {text}")
    if found.statement and not found.mismatches:
        sys.stdout.write(statement.text(found.statement))
    signed = minisign.signature_of(arguments.bundle).exists()
    if arguments.key is None:
        print("NOT CHECKED: the signature; give --key with the maker's public key" if signed else "NOT SIGNED: anybody could have made this bundle")
    print("VERIFIED" if not found.mismatches else f"NOT VERIFIED: {len(found.mismatches)} mismatches")
    return 1 if found.mismatches else 0
