"""`merge`: the shards of one run, run apart, as the one run that they are."""
from __future__ import annotations

import argparse
import json
import shutil
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Sequence

from lab.cli_report import find_stream
from lab.errors import INFRASTRUCTURE, USAGE, Stop
from lab.recording import Recording
from lab.suite import parse_shard
from reports import console
from reports.reader import StreamError, StreamReader
from reports.statement import list_hash
from reports.write import FILES, judged_stream, write_reports

# What the shards of one run have in common.
_SAME_IN_RUN = ("suite", "suite_version", "role", "bed", "peer", "peer_version", "expectations", "seed", "repeat")
_SAME_IN_ENV = ("arch", "guest_type", "xen", "kernels", "modules", "peer_files", "programs")
_SAME_IN_PLAN = ("known", "requirements")


@dataclass
class Shard:
    stream: Path
    number: int
    of: int
    run: dict[str, Any]
    env: dict[str, Any]
    plan: dict[str, Any]
    places: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))  # case that ran -> where its records begin


def read_shard(stream: Path) -> Shard:
    """Raises Stop for what is no whole shard."""
    heads: dict[str, dict[str, Any]] = {}
    places: dict[str, list[int]] = defaultdict(list)
    reader = StreamReader(stream)
    try:
        for line in reader:
            record = line.record
            if "case" not in record:
                heads.setdefault(record["t"], record)
            elif not (record["t"] == "verdict" and not places.get(record["case"])):  # a monitor's is given anew, over all shards
                places[str(record.get("during") or record["case"])].append(line.offset)
    except StreamError as error:
        raise Stop(USAGE, str(error)) from None
    if not reader.damage.complete:
        raise Stop(INFRASTRUCTURE, f"{stream}: {reader.damage.notes[0]}", "a shard that is not whole is run again")
    selection = heads.get("run", {}).get("selection") or {}
    try:
        number, of = parse_shard(str(selection.get("shard")))
    except ValueError:
        raise Stop(USAGE, f"{stream}: it is no shard", "./displif-cts run --shard I/N makes one") from None
    return Shard(stream, number, of, heads["run"], heads.get("env", {}), heads["plan"], places)


def check(shards: Sequence[Shard]) -> None:
    """Are these all shards of one run? Raises Stop."""
    first = shards[0]
    for shard in shards[1:]:
        for key, ours, theirs in [*((key, shard.run, first.run) for key in _SAME_IN_RUN), *((key, shard.env, first.env) for key in _SAME_IN_ENV),
                                  *((key, shard.plan, first.plan) for key in _SAME_IN_PLAN)]:
            if _content(ours.get(key)) != _content(theirs.get(key)):
                raise Stop(USAGE, f"{shard.stream} and {first.stream} are not of one run: {key} differs")
        if _selected(shard) != _selected(first) or shard.of != first.of:
            raise Stop(USAGE, f"{shard.stream} and {first.stream} are not of one run: the selection differs")
    numbers = sorted(shard.number for shard in shards)
    if numbers != list(range(1, first.of + 1)):
        lacking = sorted(set(range(1, first.of + 1)) - set(numbers))
        what = f"shard {lacking[0]}/{first.of} is missing" if lacking else "one shard is there twice"
        raise Stop(INFRASTRUCTURE, f"{what}: nothing was merged")


def _content(value: Any) -> Any:
    """Without the places of files, which differ from machine to machine; their hashes stand beside them."""
    if isinstance(value, dict):
        return {key: _content(item) for key, item in value.items() if key != "file"}
    return value


def _selected(shard: Shard) -> dict[str, Any]:
    return {key: value for key, value in shard.run["selection"].items() if key != "shard"}


def merge(shards: Sequence[Shard], folder: Path) -> Path:
    """Writes one stream of them, and copies their artifacts."""
    first = shards[0]
    plan = {case["id"]: case for shard in shards for case in shard.plan["cases"]}
    cases = [plan[name] for name in sorted(plan)]
    recording = Recording(folder, [case["id"] for case in cases if case.get("monitor")])
    try:
        selection = _selected(first)
        whole = None if not any(selection.values()) else {**selection, "shard": None}
        recording.take({**first.run, "selection": whole, "merged": [{"shard": f"{shard.number}/{shard.of}", "env": shard.env.get("host", {})} for shard in shards]})
        recording.take(dict(first.env))
        recording.take({**first.plan, "cases": cases, "count": len(cases), "sha256": list_hash(sorted(plan))})
        owner = {name: shard for shard in shards for name in shard.places}
        for name in sorted(owner):
            _copy(recording, owner[name], name)
        recording.judge_monitors()
        recording.seal()
    finally:
        recording.close()
    return recording.stream


def _copy(recording: Recording, shard: Shard, name: str) -> None:
    with open(shard.stream, "rb") as file:
        for place in shard.places[name]:
            file.seek(place)
            record = json.loads(file.readline())
            if record["t"] == "artifact":
                target = recording.folder / record["path"]
                if not target.resolve().is_relative_to(recording.folder.resolve()):
                    raise Stop(USAGE, f"{shard.stream}: the artifact {record['path']} lies outside of its run")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(shard.stream.parent / record["path"], target)
            recording.take(record)


def command(arguments: argparse.Namespace) -> int:
    """The exit status is the whole run's."""
    shards = sorted((read_shard(find_stream(run)) for run in arguments.runs), key=lambda shard: shard.number)
    check(shards)
    arguments.out.mkdir(parents=True, exist_ok=True)
    judged = judged_stream(merge(shards, arguments.out))
    write_reports(judged, arguments.out)
    print(console.write(judged, arguments.out / FILES["html"]), end="")
    return judged.exit_status
