"""The backend under test in a machine: its program's way there, its process, what it says and how it ends."""

from __future__ import annotations

import base64
import os
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from lab.environment import linked
from lab.peer_command import PeerCommand, how_ended, sanitizer_report

from .agent import AgentChannel
from .apt import machines_architecture
from .architecture import ARCHITECTURES, Architecture
from .binaries import elf_machine
from .errors import BedError
from .images import files_below, library_closure

OUTPUT = "/run/displif-cts/peer.out"  # in dom0: what the peer writes
SCREEN_SOCKET = "/run/displif-cts/screen.sock"  # there: where a peer without a device may tell (PROTOCOL.md)
KEPT_OCTETS = 64 * 1024  # of the output, at each end
READY_SECONDS = 60.0
TERM_MS, KILL_MS = 2000, 30_000
PEER_FOLDER = "peer"  # on the carried disk
# Starts the peer with its output in a file, and keeps its process id.
START = f'exec "$@" >{OUTPUT} 2>&1'


def find_program(command: PeerCommand, carried: Path, architecture: Architecture) -> Path | None:
    """The peer's program on this host, for machines of `architecture`; None: one of the carried set. Raises BedError."""
    if isinstance(command.argv, str):
        raise BedError("the qemu bed starts a program, not a shell's text", "name the program and its arguments in a descriptor")
    name = command.argv[0]
    if "/" not in name and (carried / "bin" / name).is_file():
        return None
    found = shutil.which(name)
    if found is None:
        raise BedError(f"the peer's command cannot be started: {name}: not found, or not executable")
    program = Path(found).resolve()
    for other in ARCHITECTURES.values():
        if other is not architecture and elf_machine(program) == other.elf_machine:
            raise BedError(f"{program} is a program for {other.name}, and the machine is {architecture.name}", f"--arch {other.name}")
    return program


def libraries_here(program: Path) -> list[Path]:
    """What the dynamic linker would give it here, and that linker; none for a static one. Raises BedError where it misses one."""
    libraries, missing = linked(program)
    _refuse_missing(program, missing)
    return libraries


def libraries_there(program: Path, trees: Sequence[Path]) -> list[Path]:
    """The same for a program that does not run here: the first of LD_LIBRARY_PATH's folders and `trees` that has one. Raises BedError."""
    folders = [Path(folder) for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    files = [path for path in files_below([*folders, *trees]) if path.is_file() and elf_machine(path) == elf_machine(program)]
    libraries, missing = library_closure([program], [], files)
    _refuse_missing(program, missing)
    return list(libraries.values())


def _refuse_missing(program: Path, missing: Sequence[str]) -> None:
    if missing:
        raise BedError(f"{program} misses {', '.join(missing)}", "set LD_LIBRARY_PATH to where they are")


def collect_peer(program: Path, target: Path, architecture: Architecture, trees: Sequence[Path]) -> None:
    """The program and its libraries: this host's, or of `trees` for another architecture. Xen's are dom0's own."""
    runs_here = architecture.name == machines_architecture()
    libraries = libraries_here(program) if runs_here else libraries_there(program, trees)
    (target / "lib").mkdir(parents=True)
    shutil.copy2(program, target / program.name)
    for path in libraries:
        if not path.name.startswith("libxen") or path.name.startswith("libxenbe"):
            shutil.copy2(path, target / "lib" / path.name)


def peer_argv(command: PeerCommand, program: Path | None, architecture: Architecture) -> list[str]:
    if program is None:
        return [f"/carried/bin/{command.argv[0]}", *command.argv[1:]]
    folder = f"/carried/{PEER_FOLDER}"
    # By its own linker: dom0's C library may be older.
    return [f"{folder}/lib/{Path(architecture.linker).name}", "--library-path", f"{folder}/lib:/lib/{architecture.triplet}",
            f"{folder}/{program.name}", *command.argv[1:]]


class RemotePeer:
    """The backend's process, through the agent. `before`: words in front of its own, of a program that runs it."""

    def __init__(self, agent: AgentChannel, command: PeerCommand, argv: Sequence[str], before: Sequence[str] = ()) -> None:
        self._agent, self._command, self._argv, self._before = agent, command, argv, before
        # Cases ask the agent about a process of the name "peer": the relay to a driver domain is not it.
        self._name = "relay" if before else "peer"
        self._pid = 0

    def restart(self) -> None:
        self.end()
        self.start()

    def end(self) -> None:
        """SIGTERM, and SIGKILL for what is left; what the process still held, the kernel gives back."""
        self._agent.call("kill", name=self._name, signal="TERM")
        if not self._agent.require("wait", name=self._name, timeout_ms=TERM_MS).get("exited"):
            self._agent.call("kill", name=self._name, signal="KILL")
            self._agent.require("wait", name=self._name, timeout_ms=KILL_MS)
        # What it forked, and left behind in its process group.
        self._agent.require("sh", command=f"kill -KILL -{self._pid} 2>/dev/null; :")

    def start(self) -> None:
        environment = [f"{key}={value}" for key, value in {"DISPLIF_SCREEN": SCREEN_SOCKET, **self._command.env}.items()]
        words = [*self._before, "/bin/busybox", "env", *environment, *self._argv]
        started = self._agent.require("start", name=self._name, argv=["/bin/busybox", "sh", "-c", START, "peer", *words])
        self._pid = int(started["pid"])
        pattern = re.compile(self._command.ready.encode(), re.MULTILINE) if self._command.ready else None
        limit = time.monotonic() + READY_SECONDS
        while not (pattern and pattern.search(self._output())):
            if ended := self.trouble():
                raise BedError(f"{ended} before it was ready: {self._command.shown()}")
            if pattern is None:
                return
            if time.monotonic() > limit:
                last = self.said().strip().splitlines()[-1:]
                raise BedError(f"the peer's command did not say that it is ready (/{self._command.ready}/) within "
                               f"{READY_SECONDS:.0f} s: {self._command.shown()}" + "".join(f": {line}" for line in last))
            time.sleep(0.05)

    def _output(self) -> bytes:
        first = self._agent.call("get", path=OUTPUT, max=KEPT_OCTETS)
        if not first.get("ok"):
            return b""
        head, size = base64.b64decode(first["data"]), int(first["size"])
        if size <= len(head):
            return head
        start = max(len(head), size - KEPT_OCTETS)
        tail = base64.b64decode(self._agent.require("get", path=OUTPUT, offset=start, max=KEPT_OCTETS)["data"])
        gap = f"\n[... {start - len(head)} octets left out ...]\n".encode() if start > len(head) else b""
        return head + gap + tail

    def said(self) -> str:
        return self._output().decode("utf-8", "replace")

    def trouble(self) -> str | None:
        answer = self._agent.require("wait", name=self._name, timeout_ms=0)
        if not answer.get("exited"):
            return sanitizer_report(self._output())
        status = -int(answer["signal"]) if answer.get("signal") else int(answer["status"])
        last = self.said().strip().splitlines()[-1:]
        return f"the peer ended {how_ended(status)}" + "".join(f": {line[:300]}" for line in last)
