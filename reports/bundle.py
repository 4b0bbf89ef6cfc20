"""The sealed evidence of a certification run: what goes into the archive, and whether one says what its stream says."""
from __future__ import annotations

import calendar
import json
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Mapping, Sequence

from reports import archive, statement
from reports.judge import Judged
from reports.reader import StreamError
from reports.statement import Waiver
from reports.write import FILES, judged_stream, render

SUMS, STREAM, LIST, WAIVERS, STATEMENT, ENVIRONMENT = (
    "SHA256SUMS", "stream.jsonl", "list.txt", "waivers.yaml", "statement.json", "environment.json")
REPORTS = "reports"


def _seconds(judged: Judged) -> int:
    """The run's date, to which everything in the archive is dated."""
    try:
        return max(0, calendar.timegm(time.strptime(judged.date[:19], "%Y-%m-%dT%H:%M:%S")))
    except ValueError:
        return 0


def _derived(judged: Judged, folder: Path, mandatory: Sequence[str], waivers: Sequence[Waiver]) -> dict[str, bytes]:
    """All that follows from the stream, its artifacts, the list and the waivers."""
    run = judged.run
    environment = {"run": {key: value for key, value in run.run.items() if key not in ("v", "t", "seq", "ns")}, "env": run.env}
    made = statement.make(judged, mandatory, waivers)
    return {
        ENVIRONMENT: json.dumps(environment, indent=1, sort_keys=True).encode() + b"\n",
        STATEMENT: statement.dump(made), "statement.txt": statement.text(made).encode(errors="replace"),
        **{f"{REPORTS}/{file}": render(judged, form, folder).encode(errors="replace") for form, file in FILES.items()},
    }


def make(judged: Judged, mandatory: Sequence[str], waivers: Sequence[Waiver], out: BinaryIO) -> dict[str, object]:
    """Writes the archive; returns the statement in it. Raises StreamError when the run's files cannot be read."""
    folder = judged.run.path.parent
    members: dict[str, archive.Content] = {STREAM: judged.run.path}
    for case in judged.run.cases.values():
        for artifact in case.artifacts:
            path = (folder / artifact["path"]).resolve()
            if path.is_relative_to(folder.resolve()):
                members[str(path.relative_to(folder.resolve()))] = path
    derived = _derived(judged, folder, mandatory, waivers)
    members |= derived
    members[LIST] = "".join(f"{case}\n" for case in mandatory).encode()
    members[WAIVERS] = statement.dump_waivers(waivers).encode()
    try:
        members[SUMS] = _sums({name: archive.hash_of(content) for name, content in members.items()})
        archive.write(out, members, _seconds(judged))
    except OSError as error:
        raise StreamError(f"{error.filename}: {error.strerror}") from error
    return json.loads(derived[STATEMENT])


@dataclass
class Verification:
    """What was looked at, and each mismatch with its place."""

    mismatches: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    statement: dict[str, object] = field(default_factory=dict)
    judged: Judged | None = None


def verify(source: BinaryIO, pinned: Sequence[str], commit: str, scratch: Path | None = None) -> Verification:
    """`pinned`: hashes of the lists that this suite knows; `commit`: the suite that verifies."""
    found = Verification()
    try:
        members, seconds = archive.members_of(source)
    except archive.ArchiveError as error:
        found.mismatches.append(f"the archive: {error}")
        return found
    found.checked.append(f"{len(members)} members in the canonical form")
    hashes = {name: archive.hash_of(member) for name, member in members.items()}
    _check_sums(hashes, members[SUMS].read() if SUMS in members else b"", found)
    lacking = [name for name in (STREAM, LIST, WAIVERS, STATEMENT, ENVIRONMENT) if name not in members]
    found.mismatches.extend(f"{name}: it is missing" for name in lacking)
    if lacking:
        return found
    mandatory = members[LIST].read().decode(errors="replace").splitlines()
    if statement.list_hash(mandatory) not in pinned:
        found.mismatches.append(f"{LIST}: its hash {statement.list_hash(mandatory)} is none of the suite's lists")
    else:
        found.checked.append("the list of mandatory cases by its hash")
    with tempfile.TemporaryDirectory(prefix="displif-cts-verify-", dir=scratch) as name:
        _check_contents(members, hashes, mandatory, seconds, commit, Path(name), found)
    return found


def _check_sums(hashes: dict[str, str], table: bytes, found: Verification) -> None:
    sums: dict[str, str] = {}
    for number, line in enumerate(table.decode(errors="replace").splitlines(), 1):
        digest, separator, name = line.partition("  ")
        if not separator or len(digest) != 64:
            found.mismatches.append(f"{SUMS}, line {number}: no checksum")
        sums[name] = digest
    for name in sorted(hashes.keys() - {SUMS} | sums.keys()):
        if name not in sums:
            found.mismatches.append(f"{name}: {SUMS} does not have it")
        elif name not in hashes:
            found.mismatches.append(f"{name}: {SUMS} has it, the archive does not")
        elif hashes[name] != sums[name]:
            found.mismatches.append(f"{name}: its sha256 is {hashes[name]}, {SUMS} has {sums[name]}")
    written = _sums(hashes)
    if not found.mismatches and table != written:  # it says the same, and is not as it is written: every byte of an archive counts
        found.mismatches.append(f"{SUMS}: it is not as it is written" + _first_line(table, written))
    found.checked.append(f"{len(sums)} checksums")


def _sums(hashes: Mapping[str, str]) -> bytes:
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(hashes.items()) if name != SUMS).encode()


def _unpack(members: dict[str, archive.Member], folder: Path) -> str:
    """Into `folder`; the name that leads out of it, if there is one."""
    for name, member in members.items():
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            return name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            for block in member.blocks():
                file.write(block)
    return ""


def _check_contents(members: dict[str, archive.Member], hashes: dict[str, str], mandatory: Sequence[str], seconds: int, commit: str, folder: Path,
                    found: Verification) -> None:
    """Everything that follows from the stream is made again, and compared."""
    if outside := _unpack(members, folder):
        found.mismatches.append(f"{outside}: its name leads out of the archive")
        return
    try:
        waivers = statement.parse_waivers(members[WAIVERS].read().decode(errors="replace"), WAIVERS)
    except statement.WaiverError as error:
        found.mismatches.append(str(error))
        return
    judged = found.judged = judged_stream(folder / STREAM)
    found.mismatches.extend(f"{STREAM}: {text}" for text in judged.trouble)
    if _seconds(judged) != seconds:
        found.mismatches.append("the archive: its members are not dated as the run is")
    found.checked.append(f"{len(judged.results)} verdicts, from their checks")
    _check_artifacts(judged, hashes, found)
    made = _derived(judged, folder, mandatory, waivers)
    found.statement = json.loads(made[STATEMENT])
    other_suite = found.statement["suite"]["commit"] != commit  # type: ignore[index]
    for name, data in sorted(made.items()):
        there = members[name].read() if name in members else b""
        if name in members and there == data:
            continue
        if other_suite and name.startswith(f"{REPORTS}/"):
            found.notes.append(f"{name}: made by another version of the suite; not compared")
        else:
            found.mismatches.append(f"{name}: it does not say what {STREAM} says" + _first_line(there, data))
    allowed = {*made, SUMS, STREAM, LIST, WAIVERS, *(artifact["path"] for case in judged.run.cases.values() for artifact in case.artifacts)}
    found.mismatches.extend(f"{name}: nothing in {STREAM} speaks of it" for name in sorted(members.keys() - allowed))
    found.checked.append("statement, environment and reports, made again from the stream")


def _check_artifacts(judged: Judged, hashes: dict[str, str], found: Verification) -> None:
    for case in judged.run.cases.values():
        for artifact in case.artifacts:
            if hashes.get(artifact["path"]) != artifact["sha256"]:
                found.mismatches.append(f"{artifact['path']}: " + (f"its hash is not the one in {STREAM}" if artifact["path"] in hashes else "it is missing"))


def _first_line(was: bytes, now: bytes) -> str:
    for number, (a, b) in enumerate(zip(was.split(b"\n"), now.split(b"\n")), 1):
        if a != b:
            return f": line {number} is {a[:120].decode(errors='replace').strip(' ')!r}, not {b[:120].decode(errors='replace').strip(' ')!r}"
    return ": it is cut off, or has more"
