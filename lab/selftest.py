"""`selftest`: the suite's proof of itself. Each deviation and omission of both fakes plays the peer under test, and must be
caught by a failed check of the requirement that it violates; a fake at its defaults must fail nothing, nor (`--full`) under
any legal stress."""
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

import yaml

from lab.build import ROOT, LoopbackPrograms
from lab.errors import INFRASTRUCTURE, USAGE, Stop
from lab.loopback import LoopbackBed, PeerCommand
from lab.progress import Progress
from lab.qemu.errors import BedError
from lab.run import DEFAULT_BACKEND, DEFAULT_GUEST, Prepared, RunOptions, default_jobs, make_folder, prepare
from lab.suite import LONG, Case

PEERS = {"backend": DEFAULT_BACKEND, "frontend": DEFAULT_GUEST}  # by role; the fakes' names, too
# What a conformant peer does with the monitors looking on, for faults that they alone can see: first the richest.
DRIVES = ("frontend.pg-flip.fields", "frontend.set-config.pictures.4")
KNOWN = ROOT / "lab" / "selftest.yaml"
ATTEMPTS = 3  # of a case against a fault that ends in trouble of our own
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
    failed: dict[str, str]  # requirements with a failed check, and whose: the case's, or a monitor's that looked on
    fault: str = ""
    late_only: bool = False  # what failed are limits in time, and nothing else

    @property
    def may_be_ours(self) -> bool:
        """The reference's limits are short. Where other machines take the processors, they judge nobody."""
        return self.verdict == "infra-error" or self.late_only


@dataclass(frozen=True)
class Line:
    """A fault's row of the kill matrix. `by`: the cases that caught it; none: it survived, and `why` says how."""

    fault: Fault
    by: tuple[str, ...]
    tried: int
    why: str = ""


def parse_faults(text: str) -> list[Fault]:
    """What `--list-faults` of a fake prints."""
    found = (_FAULT.fullmatch(line.rstrip()) for line in text.splitlines())
    return [Fault(match[1], match[2], match[3] or "") for match in found if match]


def mutants_of(faults: Sequence[Fault]) -> list[Fault]:
    """Those that are no conformant peer: stress is legal."""
    return [fault for fault in faults if fault.kind != "stress"]


def list_faults(programs: LoopbackPrograms, role: str) -> list[Fault]:
    fake = PEERS[role]
    done = subprocess.run([programs.bin[fake], "--list-faults"], capture_output=True, text=True, check=False)
    faults = parse_faults(done.stdout)
    if not faults:
        raise Stop(INFRASTRUCTURE, f"{fake} lists no fault: {done.stderr.strip()}")
    return faults


def choose(faults: Sequence[Fault], globs: Sequence[str]) -> list[Fault]:
    for glob in globs:
        if not any(fnmatch.fnmatchcase(fault.id, glob) for fault in faults):
            raise Stop(USAGE, f"--fault {glob} matches none", "`displif-fake-backend --list-faults` prints them, and "
                       "`displif-fake-frontend --list-faults`")
    return [f for f in faults if not globs or any(fnmatch.fnmatchcase(f.id, glob) for glob in globs)]


class Bench:
    """Runs single cases against the fake, with or without a fault."""

    def __init__(self, prepared: Prepared, program: Path | None = None) -> None:
        """`program`: in the place of the fake's own."""
        assert isinstance(prepared.programs, LoopbackPrograms)
        self._prepared, self.programs = prepared, prepared.programs
        self._command = PeerCommand.of(prepared.peer.descriptor, None)
        if program is not None:
            self._command = replace(self._command, argv=[str(program), *self._command.argv[1:]])

    def playing(self, program: Path) -> Bench:
        return Bench(self._prepared, program)

    def suite_cases(self) -> Sequence[Case]:
        return self._prepared.plan.runnable

    def only_long(self, fault: Fault) -> bool:
        """Whether the fault shows in long cases only."""
        cases = self._prepared.suite.citing(fault.requirement)
        return bool(cases) and all(case.group == LONG for case in cases)

    def candidates(self, fault: Fault, long: bool) -> list[Case]:
        """The cases that cite the fault's requirement, `long` ones too; where a monitor does, whatever makes the peer
        work."""
        runnable = {case.id: case for case in self.suite_cases()}
        suite = self._prepared.suite
        cases = [case for case in suite.citing(fault.requirement) if long or case.group != LONG]
        if any(case.monitor and fault.requirement in case.requirements for case in suite.cases):
            cases += [runnable[name] for name in (*DRIVES, *runnable) if name in runnable and runnable[name] not in cases]
        return cases

    def attempt(self, case: Case, fault: Fault | None = None) -> Trial:
        command = self._command
        if fault is not None:
            command = replace(command, argv=[*command.argv, "--fault", fault.id])
        failed: dict[str, str] = {}
        role, peer_domain = self._prepared.options.role, 0 if self._prepared.options.role == "backend" else 1
        verdicts: list[dict[str, Any]] = []
        timed: list[bool] = []

        def on_line(raw: bytes) -> None:
            record = json.loads(raw)
            if record.get("t") == "check" and record.get("ok") is False:
                failed.setdefault(str(record["requirement"]), str(record["case"]))
                timed.append(record.get("timed") is True)
            if record.get("t") == "verdict" and record.get("case") == case.id:
                verdicts.append(record)

        try:
            with LoopbackBed(self.programs, command, role).instance(self.programs.carried) as machine:
                machine.put(machine.peer_file, json.dumps(self._prepared.peer.descriptor).encode())
                machine.run([str(machine.runner), "run", "--role", role, "--bed", "loopback",
                             "--agent", str(machine.agent_socket), "--domain", str(peer_domain), "--case", case.id,
                             "--peer", str(machine.peer_file), "--format", "jsonl", "--part"],
                            on_line, case.timeout_ms / 1000 + 30)
        except BedError as error:
            return Trial(case.id, "infra-error", error.message, failed, fault.id if fault else "")
        if not verdicts:
            return Trial(case.id, "infra-error", "no verdict", failed, fault.id if fault else "")
        return Trial(case.id, verdicts[-1]["verdict"], verdicts[-1]["reason"], failed, fault.id if fault else "",
                     bool(timed) and all(timed))

    def line(self, fault: Fault, cases: Sequence[Case], full: bool) -> Line:
        """Up to the first case that catches the fault; `full`: all of them."""
        killers, tried, others = [], 0, []
        for case in cases:
            trial = self.attempt(case, fault)
            # Trouble of our own judges nothing: on a busy machine the fake's limits in time may be over before the case looks.
            for _ in range(ATTEMPTS - 1):
                if trial.verdict != "infra-error" or fault.requirement in trial.failed:
                    break
                trial = self.attempt(case, fault)
            tried += 1
            if fault.requirement in trial.failed:
                killers.append(trial.failed[fault.requirement])
                if not full:
                    break
            elif trial.verdict not in ("pass", "skip"):
                others.append(f"{case.id}: {trial.verdict}: {trial.reason}")
        why = ""
        if not killers:
            why = others[0] if others else "every case passes or is skipped" if cases else "no case cites the requirement"
        return Line(fault, tuple(killers), tried, why)


def command(arguments: argparse.Namespace) -> int:
    if arguments.mechanical:
        from lab.selftest_mechanical import mechanical

        return mechanical(arguments)
    progress = Progress()
    lines: list[Line] = []
    alarms: list[Trial] = []
    repeated: list[Trial] = []
    left: list[Fault] = []
    roles = [arguments.role] if arguments.role else list(PEERS)
    chosen: dict[str, list[Fault]] = {}
    benches: dict[str, Bench] = {}
    for role in roles:
        benches[role] = Bench(prepare(RunOptions(role=role, bed="loopback", peer=PEERS[role]), progress))
        chosen[role] = list_faults(benches[role].programs, role)
    wanted = choose([fault for role in roles for fault in chosen[role]], arguments.fault)
    jobs = arguments.jobs or default_jobs()
    for role, bench in benches.items():
        faults = [fault for fault in chosen[role] if fault in wanted]
        if not arguments.fault:
            alarms += _false_alarms(bench, [None], role, jobs, progress, repeated)
        if arguments.full:
            alarms += _false_alarms(bench, [fault for fault in faults if fault.kind == "stress"], role, jobs, progress, repeated)
        mutants = mutants_of(faults)
        long = bool(arguments.full or arguments.fault)
        left += [] if long else [fault for fault in mutants if bench.only_long(fault)]
        mutants = [fault for fault in mutants if fault not in left]
        with progress.phase("faults", f"{len(mutants)} deviations and omissions of a {role}, {jobs} at a time"):
            lines += _lines(bench, mutants, arguments.full, long, jobs, progress)
    folder = make_folder(None)
    known = known_survivors()
    write_matrix(folder / "kill-matrix.json", lines, alarms, repeated)
    for trial in repeated:
        print(f"judged once more, alone: {trial.case}{' under ' + trial.fault if trial.fault else ''}: first {trial.verdict}: {trial.reason}")
    for fault in left:
        print(f"not tried without --full or --fault: {fault.id}: only long cases look")
    print(table(lines, alarms, known))
    print(f"kill matrix   {folder / 'kill-matrix.json'}")
    return 1 if alarms or any(bool(line.by) == (line.fault.id in known) for line in lines) else 0


def known_survivors() -> dict[str, str]:
    """Why no case catches a fault yet, by its id."""
    return {entry["fault"]: entry["reason"] for entry in yaml.safe_load(KNOWN.read_text(encoding="utf-8"))}


def _false_alarms(bench: Bench, faults: Sequence[Fault | None], role: str, jobs: int, progress: Progress,
                  repeated: list[Trial]) -> list[Trial]:
    """`repeated` gets those that were judged once more, as they were judged first."""
    cases = bench.suite_cases()
    under = "" if faults == [None] else f" under {len(faults)} legal stresses"
    with progress.phase("reference", f"{len(cases)} cases against the conformant {role}{under}"), ThreadPoolExecutor(jobs) as pool:
        trials = list(pool.map(lambda pair: bench.attempt(*pair), ((case, fault) for fault in faults for case in cases)))
    # Trouble of our own says nothing about the suite's judgement, unless it comes again when nothing runs beside it.
    again = [trial for trial in trials if trial.may_be_ours and trial.verdict not in ("pass", "skip")]
    for trial in again:
        progress.say("reference", f"once more, with nothing beside it: {trial.case}: {trial.verdict}: {trial.reason}"[:240])
    repeated += again
    trials = [_once_more(bench, trial, faults) if trial in again else trial for trial in trials]
    return [trial for trial in trials if trial.verdict not in ("pass", "skip")]


def _once_more(bench: Bench, trial: Trial, faults: Sequence[Fault | None]) -> Trial:
    case = next(case for case in bench.suite_cases() if case.id == trial.case)
    return bench.attempt(case, next((fault for fault in faults if fault and fault.id == trial.fault), None))


def _lines(bench: Bench, faults: Sequence[Fault], full: bool, long: bool, jobs: int, progress: Progress) -> list[Line]:
    lock, done = threading.Lock(), [0]

    def one(fault: Fault) -> Line:
        line = bench.line(fault, bench.candidates(fault, long), full)
        with lock:
            done[0] += 1
            said = f"caught by {line.by[0]}" if line.by else f"SURVIVED: {line.why}"
            progress.say("faults", f"{done[0]}/{len(faults)} {fault.id}  {said[:200]}")
        return line

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, faults))


def table(lines: Sequence[Line], alarms: Sequence[Trial], known: dict[str, str]) -> str:
    """A row for each fault, then what is wrong, and what is known to be missing."""
    width = max(len(line.fault.id) for line in lines)
    rows = [f"{line.fault.id:<{width}}  {line.fault.requirement:<40}  {line.by[0] if line.by else 'SURVIVED'}" for line in lines]
    survivors = [line for line in lines if not line.by]
    for line in survivors:
        reason = known.get(line.fault.id)
        rows.append(f"known survivor: {line.fault.id}: {reason}" if reason
                    else f"survivor: {line.fault.id} ({line.fault.title}): {line.why}")
    rows += [f"caught, and still in {KNOWN.name}: {line.fault.id}" for line in lines if line.by and line.fault.id in known]
    rows += [f"false alarm: {trial.case}{' under ' + trial.fault if trial.fault else ''}: {trial.verdict}: {trial.reason}"
             for trial in alarms]
    rows.append(f"{len(lines) - len(survivors)} of {len(lines)} faults caught, {len(alarms)} false alarms, "
                f"{sum(line.fault.id in known for line in survivors)} known survivors")
    return "\n".join(rows)


def write_matrix(path: Path, lines: Sequence[Line], alarms: Sequence[Trial], repeated: Sequence[Trial] = ()) -> None:
    path.write_text(json.dumps({
        "faults": [{"id": line.fault.id, "kind": line.fault.kind, "requirement": line.fault.requirement,
                    "title": line.fault.title, "killed_by": list(line.by), "tried": line.tried, "why": line.why}
                   for line in lines],
        "false_alarms": [_described(trial) for trial in alarms],
        "judged_once_more": [_described(trial) for trial in repeated],
    }, indent=1) + "\n", encoding="utf-8")


def _described(trial: Trial) -> dict[str, str]:
    return {"case": trial.case, "fault": trial.fault, "verdict": trial.verdict, "reason": trial.reason}
