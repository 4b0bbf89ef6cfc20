"""Fuzz inputs played in machines of the qemu bed: what each session came to."""
from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.build import build_carried
from lab.errors import INFRASTRUCTURE, Stop
from lab.kernel import build_driver, stock_driver_source
from lab.peer import load_peer
from lab.progress import Progress
from lab.qemu import Bed, BedOptions
from lab.qemu.errors import AgentTimeout, BedError, InstanceDied
from lab.qemu.instance import Instance

PEER = "linux-drm-xen-front"
INPUTS = "/run/displif-cts/inputs"  # in dom0
PREFIX = "frontend.fuzz."  # of the cases that inputs become (cases/support/input_case.h)
SESSION_SECONDS = 150.0  # of one session, wall clock; it has limits of its own below that
_KEPT = ("log", "check", "session", "verdict", "error", "health", "msg")


@dataclass
class Outcome:
    """Of one session."""

    name: str
    verdict: str = ""  # empty: it has not come to one
    reason: str = ""
    records: list[dict[str, Any]] = field(default_factory=list)
    last_words: str = ""  # of a machine that ended

    @property
    def session(self) -> dict[str, Any]:
        return next((record for record in self.records if record["t"] == "session"), {})

    @property
    def executed(self) -> frozenset[str]:
        return frozenset(str(self.session.get("executed", "")).split())

    @property
    def kernel_log(self) -> str:
        return "".join(str(record.get("fields", {}).get("text", "")) for record in self.records
                       if record["t"] == "msg" and record.get("kind") == "log"
                       and record.get("fields", {}).get("source") == "guest kernel")

    @property
    def failed(self) -> list[tuple[str, str]]:
        """(requirement, what was seen) of each check that failed in this case's own name."""
        return [(str(record["requirement"]), str(record.get("seen", ""))) for record in self.records
                if record["t"] == "check" and not record.get("ok") and not record.get("during")]

    def text(self) -> str:
        """What was done and seen, for people."""
        lines = []
        for record in self.records:
            if record["t"] == "msg" and record.get("kind") == "log":
                lines.append(str(record.get("fields", {}).get("text", "")).rstrip())
            elif record["t"] == "check" and not record.get("ok"):
                lines.append(f"check failed: {record['requirement']}: {record.get('seen', '')}")
        lines.append(f"verdict: {self.verdict} {self.reason}".rstrip())
        return "\n".join(lines) + ("\n" + self.last_words if self.last_words else "") + "\n"


class SessionBed:
    """Machines whose guest has the driver under test. `coverage`: built from source, so that it tells what it executes;
    else the one that Debian ships, or what is handed in. `paranoid`: the guest's slabs are poisoned and have red zones."""

    def __init__(self, progress: Progress, coverage: bool, driver_source: Path | None = None, paranoid: bool = False) -> None:
        self._stack = ExitStack()
        programs = build_carried(progress)
        modules: list[Path] = []
        try:
            if coverage or driver_source:
                source = driver_source or stock_driver_source(progress=progress.bed)
                modules = build_driver(source, progress.bed, coverage=coverage)
            self._bed = self._stack.enter_context(Bed(BedOptions(module=modules, paranoid=paranoid), programs.bin, progress.bed))
            self._bed.prepare()
            self._disk = self._bed.make_disk(programs.carried)
        except BedError as error:
            raise Stop(INFRASTRUCTURE, error.message, error.hint) from None
        self.modules = modules
        peer = load_peer(PEER, "frontend")
        self.peer_version = peer.version(self._bed.facts())
        self._peer = json.dumps(peer.descriptor | {"version": self.peer_version}).encode()

    def __enter__(self) -> "SessionBed":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def machine(self) -> Iterator[Instance]:
        with self._bed.instance(self._disk) as machine:
            machine.agent.put(machine.peer_file, self._peer)
            yield machine

    def sections(self) -> dict[str, int]:
        """Where the driver's code lies in the guest's kernel: by the module's name, the low half of its .text."""
        result = {}
        with self.machine() as machine:
            for module in self.modules:
                name = module.stem.replace("-", "_")
                answer = machine.agent.require("guest.sh", command=f"cat /sys/module/{name}/sections/.text")
                result[name] = int(str(answer["output"]).strip(), 16) & 0xffffffff
        return result

    def play(self, machine: Instance, inputs: Sequence[tuple[str, str]], mask: str,
             on_outcome: Callable[[Outcome], None] = lambda _: None) -> list[Outcome]:
        """Plays inputs (name, text) in a machine, until one does not leave it as it was found. What was not played is not
        among the outcomes. `on_outcome` is called with each as it comes."""
        outcomes = [Outcome(name) for name, _ in inputs]
        by_case = {PREFIX + outcome.name: outcome for outcome in outcomes}

        def on_line(raw: bytes) -> None:
            try:
                record = json.loads(raw)
            except ValueError:
                return
            outcome = by_case.get(str(record.get("case")))
            if outcome is None or record.get("t") not in _KEPT:
                return
            outcome.records.append(record)
            if record["t"] == "verdict":
                outcome.verdict, outcome.reason = record["verdict"], record.get("reason", "")
                on_outcome(outcome)

        try:
            hello = machine.agent.require("hello")
            machine.agent.require("sh", command=f"rm -rf {INPUTS}; mkdir -p {INPUTS}")
            for name, text in inputs:
                machine.agent.put(f"{INPUTS}/{name}.txt", text.encode())
            argv = [machine.runner, "run", "--role", "frontend", "--bed", "qemu", "--agent", machine.agent_socket,
                    "--domain", str(hello["guest_domid"]), "--peer", machine.peer_file, "--format", "jsonl", "--part",
                    "--while-clean", *(word for name, _ in inputs for word in ("--case", PREFIX + name))]
            status = machine.run(argv, on_line, SESSION_SECONDS * len(inputs),
                                 {"DISPLIF_FUZZ_INPUTS": INPUTS, "DISPLIF_FUZZ_MASK": mask})
            if status == 2:
                raise Stop(INFRASTRUCTURE, f"the session does not begin: {machine.stderr.strip()}")
        except InstanceDied as error:
            words = machine.last_words()
            self._blame(outcomes, "crash", f"the machine ended: {error.message.splitlines()[0]}", words, on_outcome)
        except AgentTimeout as error:
            self._blame(outcomes, "infra-error", error.message, "", on_outcome)
        return [outcome for outcome in outcomes if outcome.verdict]

    @staticmethod
    def _blame(outcomes: list[Outcome], verdict: str, reason: str, last_words: str,
               on_outcome: Callable[[Outcome], None]) -> None:
        """The session that was under way when it ended, or the first."""
        open_ones = [outcome for outcome in outcomes if not outcome.verdict]
        if open_ones:
            open_ones[0].verdict, open_ones[0].reason, open_ones[0].last_words = verdict, reason, last_words
            on_outcome(open_ones[0])
