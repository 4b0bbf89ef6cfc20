"""`selftest`: the suite's proof of itself. Each deviation and omission of the fake backend plays the peer under test, and
must be caught by a failed check of the requirement that it violates; the fake at its defaults must fail nothing."""
from __future__ import annotations

import argparse
import fnmatch
import json
import re
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Sequence

from lab.build import LoopbackPrograms
from lab.errors import INFRASTRUCTURE, USAGE, Stop
from lab.loopback import LoopbackBed, PeerCommand
from lab.progress import Progress
from lab.qemu.errors import BedError
from lab.run import DEFAULT_BACKEND, Prepared, RunOptions, default_jobs, make_folder, prepare
from lab.suite import Case, Suite

FAKE = "displif-fake-backend"
MUTANT_KINDS = ("deviation", "omission")
_FAULT = re.compile(r"(\S+)\s+(.*?)(?: \[(\S+)\])?")


@dataclass(frozen=True)
class Fault:
    id: str
    title: str
    requirement: str

    @property
    def kind(self) -> str:
        return self.id.split(".")[1]


@dataclass(frozen=True)
class Trial:
    """One case against one fake."""

    case: str
    verdict: str
    reason: str
    failed: frozenset[str]  # requirements with a failed check


@dataclass(frozen=True)
class Line:
    """A fault's row of the kill matrix. `by`: the cases that caught it; none: it survived, and `why` says how."""

    fault: Fault
    by: tuple[str, ...]
    tried: int
    why: str = ""


def parse_faults(text: str) -> list[Fault]:
    """What `--list-faults` of a fake prints, without stress: that is legal."""
    faults = []
    for line in text.splitlines():
        found = _FAULT.fullmatch(line.rstrip())
        if found and found[1].split(".")[1] in MUTANT_KINDS:
            faults.append(Fault(found[1], found[2], found[3] or ""))
    return faults


def list_faults(programs: LoopbackPrograms) -> list[Fault]:
    done = subprocess.run([programs.bin[FAKE], "--list-faults"], capture_output=True, text=True, check=False)
    faults = parse_faults(done.stdout)
    if not faults:
        raise Stop(INFRASTRUCTURE, f"{FAKE} lists no fault: {done.stderr.strip()}")
    return faults


def choose(faults: Sequence[Fault], globs: Sequence[str]) -> list[Fault]:
    for glob in globs:
        if not any(fnmatch.fnmatchcase(fault.id, glob) for fault in faults):
            raise Stop(USAGE, f"--fault {glob} matches none", f"`{FAKE} --list-faults` prints them")
    return [f for f in faults if not globs or any(fnmatch.fnmatchcase(f.id, glob) for glob in globs)]


class Bench:
    """Runs single cases against the fake, with or without a fault."""

    def __init__(self, prepared: Prepared) -> None:
        assert isinstance(prepared.programs, LoopbackPrograms)
        self._prepared, self._programs = prepared, prepared.programs
        self._command = PeerCommand.of(prepared.peer.descriptor, None)

    def attempt(self, case: Case, fault: Fault | None = None) -> Trial:
        command = self._command
        if fault is not None:
            command = replace(command, argv=[*command.argv, "--fault", fault.id])
        failed: set[str] = set()
        verdicts: list[dict[str, Any]] = []

        def on_line(raw: bytes) -> None:
            record = json.loads(raw)
            if record.get("t") == "check" and record.get("ok") is False and "during" not in record:
                failed.add(str(record["requirement"]))
            if record.get("t") == "verdict":
                verdicts.append(record)

        try:
            with LoopbackBed(self._programs, command).instance(self._programs.carried) as machine:
                machine.put(machine.peer_file, json.dumps(self._prepared.peer.descriptor).encode())
                machine.run([str(machine.runner), "run", "--role", "backend", "--bed", "loopback",
                             "--agent", str(machine.agent_socket), "--domain", "0", "--case", case.id,
                             "--peer", str(machine.peer_file), "--format", "jsonl", "--part"],
                            on_line, case.timeout_ms / 1000 + 30)
        except BedError as error:
            return Trial(case.id, "infra-error", error.message, frozenset(failed))
        if not verdicts:
            return Trial(case.id, "infra-error", "no verdict", frozenset(failed))
        return Trial(case.id, verdicts[-1]["verdict"], verdicts[-1]["reason"], frozenset(failed))

    def line(self, fault: Fault, cases: Sequence[Case], full: bool) -> Line:
        """Up to the first case that catches the fault; `full`: all of them."""
        killers, tried, others = [], 0, []
        for case in cases:
            trial = self.attempt(case, fault)
            tried += 1
            if fault.requirement in trial.failed:
                killers.append(case.id)
                if not full:
                    break
            elif trial.verdict not in ("pass", "skip"):
                others.append(f"{case.id}: {trial.verdict}: {trial.reason}")
        why = ""
        if not killers:
            why = others[0] if others else "every case passes or is skipped" if cases else "no case cites the requirement"
        return Line(fault, tuple(killers), tried, why)


def command(arguments: argparse.Namespace) -> int:
    progress = Progress()
    prepared = prepare(RunOptions(role="backend", bed="loopback", peer=DEFAULT_BACKEND), progress)
    assert isinstance(prepared.programs, LoopbackPrograms)
    faults = choose(list_faults(prepared.programs), arguments.fault)
    bench, jobs = Bench(prepared), arguments.jobs or default_jobs()
    alarms = [] if arguments.fault else _false_alarms(bench, prepared, jobs, progress)
    with progress.phase("faults", f"{len(faults)} deviations and omissions, {jobs} at a time"):
        lines = _lines(bench, faults, prepared.suite, arguments.full, jobs, progress)
    folder = make_folder(None)
    write_matrix(folder / "kill-matrix.json", lines, alarms)
    print(table(lines, alarms))
    print(f"kill matrix   {folder / 'kill-matrix.json'}")
    return 1 if alarms or any(not line.by for line in lines) else 0


def _false_alarms(bench: Bench, prepared: Prepared, jobs: int, progress: Progress) -> list[Trial]:
    with progress.phase("reference", f"{len(prepared.plan.runnable)} cases against the conformant backend"), \
            ThreadPoolExecutor(jobs) as pool:
        trials = list(pool.map(bench.attempt, prepared.plan.runnable))
    return [trial for trial in trials if trial.verdict not in ("pass", "skip")]


def _lines(bench: Bench, faults: Sequence[Fault], suite: Suite, full: bool, jobs: int,
           progress: Progress) -> list[Line]:
    lock, done = threading.Lock(), [0]

    def one(fault: Fault) -> Line:
        line = bench.line(fault, suite.citing(fault.requirement), full)
        with lock:
            done[0] += 1
            said = f"caught by {line.by[0]}" if line.by else f"SURVIVED: {line.why}"
            progress.say("faults", f"{done[0]}/{len(faults)} {fault.id}  {said[:200]}")
        return line

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, faults))


def table(lines: Sequence[Line], alarms: Sequence[Trial]) -> str:
    """A row for each fault, then what is wrong."""
    width = max(len(line.fault.id) for line in lines)
    rows = [f"{line.fault.id:<{width}}  {line.fault.requirement:<40}  {line.by[0] if line.by else 'SURVIVED'}" for line in lines]
    survivors = [line for line in lines if not line.by]
    rows += [f"survivor: {line.fault.id} ({line.fault.title}): {line.why}" for line in survivors]
    rows += [f"false alarm: {trial.case}: {trial.verdict}: {trial.reason}" for trial in alarms]
    rows.append(f"{len(lines) - len(survivors)} of {len(lines)} faults caught, {len(alarms)} false alarms")
    return "\n".join(rows)


def write_matrix(path: Path, lines: Sequence[Line], alarms: Sequence[Trial]) -> None:
    path.write_text(json.dumps({
        "faults": [{"id": line.fault.id, "kind": line.fault.kind, "requirement": line.fault.requirement,
                    "title": line.fault.title, "killed_by": list(line.by), "tried": line.tried, "why": line.why}
                   for line in lines],
        "false_alarms": [{"case": trial.case, "verdict": trial.verdict, "reason": trial.reason} for trial in alarms],
    }, indent=1) + "\n", encoding="utf-8")
