"""The command: a run of a target with its corpus, its findings and their summary."""
from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from lab.build import ROOT
from lab.errors import INFRASTRUCTURE, USAGE, Stop
from lab.progress import Progress

from .aflpp import PRESET, AflFuzzing, need_aflpp
from .builds import build_target
from .corpus import add, load, reduce
from .coverage import report
from .engine import Found, Fuzzing, Settings, Totals
from .guest_findings import known_in_guest
from .guest_fuzz import GuestFuzzing, GuestTotals, coverage_bed, input_tool, keep, seeds_in
from .guest_replay import complaints_of_peer
from .outside import attacking, expect_start, outside
from .known import known_findings, mask_of
from .planted import Effort, run_planted
from .targets import TARGETS, Target, find_target
from .triage import Wish, target_of, triage

MAX_JOBS = 64
LIBFUZZER, AFLPP = "libfuzzer", "aflpp"
PLANTED_SECONDS = 60.0  # that one planted defect is looked for


def main(arguments: argparse.Namespace) -> int:
    progress = Progress()
    if arguments.target == "triage":
        return _triage([Path(name) for name in arguments.inputs], arguments, progress)
    if arguments.target == "list":
        for target in TARGETS:
            print(f"{target.name:<16} {target.what}")
        return 0
    if arguments.target == "merge":
        return _merge([Path(name) for name in arguments.inputs[1:]], arguments.inputs[:1], progress)
    if arguments.target == "planted":
        if not arguments.inputs:
            raise Stop(USAGE, "fuzz planted needs a target", "e.g. ./displif-cts fuzz planted linux-frontend")
        seconds = None if arguments.runs is not None and arguments.time is None else arguments.time or PLANTED_SECONDS
        return run_planted(find_target(arguments.inputs[0]), arguments.inputs[1:], Effort(seconds, arguments.runs, arguments.seed), progress)
    target = find_target(arguments.target)
    if not target.command and (arguments.peer or arguments.peer_command or arguments.peer_coverage or arguments.mask):
        raise Stop(USAGE, f"--peer, --peer-command, --peer-coverage and --mask are for backend-command, not for {target.name}")
    if arguments.inputs:
        raise Stop(USAGE, f"unexpected: {' '.join(arguments.inputs)}", "inputs are for `fuzz triage`")
    if not 1 <= arguments.jobs <= MAX_JOBS:
        raise Stop(USAGE, f"--jobs {arguments.jobs}: 1 to {MAX_JOBS}")
    if target.guest:
        if arguments.engine != LIBFUZZER:
            raise Stop(USAGE, f"--engine {arguments.engine}: {target.name} has an engine of its own")
        return _fuzz_in_guest(target, arguments, progress)
    if target.command:
        return _fuzz_command(target, arguments, progress)
    if arguments.coverage:
        return report(target, arguments.corpus or target.corpus, progress)
    return _fuzz(target, arguments, progress)


def _triage(paths: list[Path], arguments: argparse.Namespace, progress: Progress) -> int:
    wish = Wish(not arguments.no_guest, arguments.promote)
    named = arguments.peer or arguments.peer_command
    if not named and not any(target_of(path).command for path in paths):
        return triage(paths, progress, wish)
    with outside(arguments, progress) as peer:
        return triage(paths, progress, wish, peer)


def _out_folder(target: Target, out: Path | None) -> Path:
    folder = out or ROOT / "out" / f"fuzz-{target.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    try:
        folder.mkdir(parents=True, exist_ok=out is None)
    except FileExistsError:
        raise Stop(USAGE, f"--out {folder} exists", "name a folder that does not") from None
    except OSError as error:
        raise Stop(INFRASTRUCTURE, f"{folder} cannot be made: {error.strerror}") from None
    return folder.resolve()


def _fuzz(target: Target, arguments: argparse.Namespace, progress: Progress) -> int:
    if arguments.driver_source is not None and not target.driver:
        raise Stop(USAGE, f"--driver-source is for targets that are built from the driver, not for {target.name}")
    aflpp = arguments.engine == AFLPP
    if arguments.sync is not None and not aflpp:
        raise Stop(USAGE, "--sync is for --engine aflpp", "corpora of libFuzzer are brought together by `fuzz merge`")
    if aflpp:
        need_aflpp()
    built = build_target(target, progress, PRESET if aflpp else "fuzz", arguments.driver_source, mutator=aflpp and target.typed)
    known = known_findings(built)
    mask = mask_of(target, arguments.unmask, list(known))
    folder = _out_folder(target, arguments.out)
    corpus = folder / "corpus"
    count = load(built, arguments.corpus or target.corpus, corpus, must_exist=arguments.corpus is None)
    seconds = None if arguments.runs is not None and arguments.time is None else arguments.time or 60.0
    masked = [] if mask == "none" else mask.split(",")
    print(f"target    {target.name}: {target.what}")
    print(f"corpus    {count} inputs from {arguments.corpus or target.corpus}")
    for name in masked:
        print(f"masked    {name}: {known[name].avoided}")
    settings = Settings(seconds, arguments.runs, arguments.jobs, arguments.seed, mask)
    started = time.monotonic()
    totals = (AflFuzzing(built, settings, folder, corpus, arguments.sync, progress).run() if aflpp
              else Fuzzing(built, settings, folder, corpus, progress).run())
    seconds_used = time.monotonic() - started
    if arguments.corpus is not None:
        merging = build_target(target, progress, driver_source=arguments.driver_source) if aflpp else built
        kept = add(merging, corpus, arguments.corpus, mask)
        print(f"kept      {kept} inputs in {arguments.corpus}")
    _summary(totals, seconds_used, folder)
    _record(target, totals, seconds_used, folder)
    return 1 if totals.found else 0


def _fuzz_command(target: Target, arguments: argparse.Namespace, progress: Progress) -> int:
    if arguments.driver_source is not None or arguments.coverage:
        raise Stop(USAGE, f"--driver-source and --coverage are not for {target.name}")
    aflpp = arguments.engine == AFLPP
    if arguments.sync is not None and not (aflpp and arguments.peer_coverage):
        raise Stop(USAGE, f"--sync is for --engine aflpp with --peer-coverage: without it, inputs of {target.name} have nothing that others could go on from")
    blind = aflpp and not arguments.peer_coverage
    if aflpp:
        need_aflpp()
    with outside(arguments, progress) as peer:
        unmasked = mask_of(target, arguments.unmask, list(peer.known))
        masked = [*([] if unmasked == "none" else unmasked.split(",")), *arguments.mask]
        plain = attacking(build_target(target, progress), peer, masked)
        built = plain
        if blind:
            build_target(target, progress, replay=True, mutator=True)
        elif aflpp:
            built = attacking(build_target(target, progress, PRESET, mutator=True), peer, masked)
        expect_start(built)
        folder = _out_folder(target, arguments.out)
        corpus = folder / "corpus"
        count = load(built, arguments.corpus or target.corpus, corpus, must_exist=arguments.corpus is None)
        print(f"target    {target.name}: {peer.shown}")
        print(f"corpus    {count} inputs from {arguments.corpus or target.corpus}")
        for name in masked:
            print(f"masked    {name}")
        seconds = None if arguments.runs is not None and arguments.time is None else arguments.time or 60.0
        settings = Settings(seconds, arguments.runs, arguments.jobs, arguments.seed, "none", blind=blind)
        started = time.monotonic()
        totals = (AflFuzzing(built, settings, folder, corpus, arguments.sync, progress) if aflpp
                  else Fuzzing(built, settings, folder, corpus, progress)).run()
        used = time.monotonic() - started
        if arguments.corpus is not None:
            print(f"kept      {add(plain, corpus, arguments.corpus, 'none')} inputs in {arguments.corpus}")
    _summary(totals, used, folder)
    _record(replace(target, peer=peer.name), totals, used, folder)
    return 1 if totals.found else 0


def _fuzz_in_guest(target: Target, arguments: argparse.Namespace, progress: Progress) -> int:
    known = known_in_guest()
    mask = mask_of(target, arguments.unmask, list(known))
    masked = [] if mask == "none" else mask.split(",")
    tool = input_tool(progress)
    corpus = arguments.corpus or target.corpus
    seeds = seeds_in(tool, corpus, must_exist=arguments.corpus is None)
    bed, places = coverage_bed(progress, arguments.driver_source)
    folder = _out_folder(target, arguments.out)
    complaints = complaints_of_peer()
    runs, seconds = arguments.runs, None if arguments.runs is not None and arguments.time is None else arguments.time or 60.0
    if arguments.coverage:
        runs, seconds = len(seeds), None
    print(f"target    {target.name}: {target.what}")
    print(f"corpus    {len(seeds)} inputs from {corpus}")
    for name in masked:
        print(f"masked    {name}: {known[name].avoided}")
    with bed:
        fuzzing = GuestFuzzing(bed, tool, places, complaints, masked, folder, seconds, runs, arguments.jobs, arguments.seed, progress)
        started, processor = time.monotonic(), os.times()
        totals = fuzzing.run(seeds)
        used = time.monotonic() - started
        after = os.times()
    if arguments.coverage:
        print("\n".join(places.table(totals.blocks)))
    if arguments.corpus is not None:
        print(f"kept      {keep(fuzzing.corpus, arguments.corpus)} inputs in {arguments.corpus}")
    for name, found in sorted(totals.known.items()):
        print(f"known     {name}: {found.times} times, though masked")
    if totals.troubles:
        print(f"trouble   {totals.troubles} sessions came to no verdict")
    _findings(totals.found)
    cpu = after.children_user + after.children_system - processor.children_user - processor.children_system
    print(f"{'FINDINGS' if totals.found else 'NO FINDINGS'}: {totals.runs} sessions in {used:.0f} s ({totals.runs / max(used, 0.001):.2f}/s, "
          f"{totals.runs / max(cpu, 0.001):.2f} per CPU-second), {totals.messages / max(used, 0.001):.1f} messages/s, "
          f"{len(totals.blocks)} of {len(places)} blocks, {totals.machines} machines, {len(totals.found)} unique findings; {folder}")
    _record(target, totals, used, folder)
    if totals.runs == totals.troubles:
        raise Stop(INFRASTRUCTURE, "no session came to a verdict", f"what they said is in {folder}")
    return 1 if totals.found else 0


def _merge(folders: list[Path], names: list[str], progress: Progress) -> int:
    """Corpora, of other machines perhaps, into the first of them: what reaches more than the others, by libFuzzer's -merge. One alone
    is made smaller."""
    if not names or not folders:
        raise Stop(USAGE, "fuzz merge needs a target, the corpus to keep, and others", "e.g. ./displif-cts fuzz merge backend corpus theirs/*")
    target = find_target(names[0])
    if target.command or target.guest:
        raise Stop(USAGE, f"corpora of {target.name} are not merged: libFuzzer does not see what they reach")
    built = build_target(target, progress)
    with tempfile.TemporaryDirectory(prefix="displif-cts-merge-") as name:
        together = Path(name) / "together"
        together.mkdir()
        for number, folder in enumerate(folders):
            load(built, folder, Path(name) / str(number), must_exist=number > 0 or len(folders) == 1)
            for path in (Path(name) / str(number)).iterdir():
                path.rename(together / f"{number}-{path.name}")
        before = sum(1 for _ in together.iterdir())
        kept = reduce(built, together, folders[0], "all")
    print(f"kept      {kept} of {before} inputs in {folders[0]}")
    return 0


def _record(target: Target, totals: Totals | GuestTotals, seconds: float, folder: Path) -> None:
    """For `report --view security --fuzz`."""
    record = {"target": target.name, "role": target.role, "peer": target.peer, "bed": target.bed, "executions": totals.runs, "seconds": round(seconds, 3),
              "findings": [found.finding.title() for found in totals.found.values()],
              "date": datetime.now(timezone.utc).isoformat(timespec="seconds")}
    (folder / "summary.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _findings(found_ones: dict[str, Found]) -> None:
    for key, found in sorted(found_ones.items(), key=lambda item: item[1].seconds):
        print(f"finding   {key}: {found.finding.title()}; {found.times} times, first after {found.seconds:.0f} s")
        print(f"          {found.input}")


def _summary(totals: Totals, seconds: float, folder: Path) -> None:
    _findings(totals.found)
    print(f"{'FINDINGS' if totals.found else 'NO FINDINGS'}: {totals.runs} executions in {seconds:.0f} s "
          f"({totals.runs / max(seconds, 0.001):.0f}/s), {totals.coverage} edges, {len(totals.found)} unique findings; {folder}")
