"""Machines without a hypervisor: a fresh pair of domains and a freshly started peer for each case.

The runner plays the other side. A backend under test sits in domain 0, and the machine's oracle is all the agent there
is; a frontend under test, with the programs that use it (lab/guest/PROTOCOL.md), in a guest domain, and
displif-cts-agent serves domain 0 as on every other bed."""
from __future__ import annotations

import os
import platform
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Iterator, Sequence

from lab.build import LoopbackPrograms
from lab.peer_command import PeerCommand
from lab.process import end_group
from lab.qemu.agent import AgentChannel
from lab.qemu.errors import AgentTimeout, BedError, InstanceDied
from lab.qemu.limit import Limit
from lab.witness import Witness

from .command import RunningPeer, read_lines
from .compositor import Compositor

BACKEND, FRONTEND = 0, 1
NEIGHBOUR = 2  # a second guest, which cases for a backend start and let die
# As many as the largest case shares; a guest's gntalloc has its own limit.
SHARED_PAGES = 20_000
START_SECONDS = 20.0
LOOK_SECONDS = 0.01


class LoopbackBed:
    """What lab.schedule needs of a bed. No privileges, milliseconds a machine."""

    cases_per_machine = 1

    def __init__(self, programs: LoopbackPrograms, command: PeerCommand, role: str) -> None:
        if command.display:
            raise BedError("a backend on a DRM device runs in the qemu bed; loopback has none", "add --bed qemu")
        self._programs, self._command, self._role = programs, own_program(programs, command), role

    def __enter__(self) -> "LoopbackBed":
        with self.instance(self._programs.carried):
            pass  # a command that does not start is said once, before any case
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def facts(self) -> dict[str, Any]:
        return {"guest_type": "loopback", "peer_command": self._command.shown(),
                "host": {"kernel": platform.release(), "cpus": os.cpu_count()}}

    def make_disk(self, carried: Path) -> Path:
        return carried

    @contextmanager
    def instance(self, _disk: Path) -> Iterator["LoopbackMachine"]:
        with ExitStack() as stack:
            # Short: a socket's address has 107 characters.
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="displif-")))
            machine = LoopbackMachine(self._programs, folder, self._command, self._role)
            stack.callback(machine.close)
            machine.start()
            yield machine


def own_program(programs: LoopbackPrograms, command: PeerCommand) -> PeerCommand:
    """A descriptor names the build's own programs without their place."""
    if isinstance(command.argv, str) or command.argv[0] not in programs.bin:
        return command
    return replace(command, argv=[str(programs.bin[command.argv[0]]), *command.argv[1:]])


class LoopbackMachine:
    """Two domains, the peer under test in one of them; `run` starts the runner in the other."""

    def __init__(self, programs: LoopbackPrograms, folder: Path, command: PeerCommand, role: str) -> None:
        self._programs, self._folder, self._command, self._role = programs, folder, command, role
        self._peer_domain, self._own_domain = (BACKEND, FRONTEND) if role == "backend" else (FRONTEND, BACKEND)
        self._lock = threading.Lock()
        self._children: list[subprocess.Popen[bytes]] = []
        self._killed = False
        self._peer: RunningPeer | None = None
        self._compositor: Compositor | None = None
        self.stderr = ""
        self.agent = self  # the little that lab.schedule asks of it
        self._oracle = folder / "agent.sock"  # displif-loopback --oracle
        self.agent_socket = self._oracle if role == "backend" else folder / "dom0.sock"
        self.runner, self.peer_file = programs.runner, folder / "peer.json"

    # --- as an agent

    def require(self, verb: str, timeout: float = 60.0, payload: bytes | None = None, **_: object) -> dict[str, Any]:
        if verb != "hello":
            raise BedError(f"loopback has no verb {verb}")
        return {"ok": True, "guest_domid": self._peer_domain}

    call = require

    def put(self, path: str | Path, data: bytes, mode: int = 0o644) -> None:
        Path(path).write_bytes(data)

    # --- as a machine

    def start(self) -> None:
        domains = [f"{BACKEND},shared-pages={SHARED_PAGES}", f"{FRONTEND},name=guest,shared-pages={SHARED_PAGES}",
                   f"{NEIGHBOUR},name=neighbour,shared-pages={SHARED_PAGES},ends-with-processes"]
        host = self._spawn([str(self._programs.loopback), "--dir", str(self._folder), "--oracle", "--with-parent",
                            *(word for domain in domains for word in ("--domain", domain))], {}, subprocess.PIPE)
        try:
            lines = read_lines(host, Limit(START_SECONDS))
            first = next(lines, b"")
        except TimeoutError:
            first = b""
        if not first.startswith(b"ready "):
            raise BedError(f"displif-loopback did not start: {first.decode('utf-8', 'replace')}")
        environment = self._environment(self._peer_domain)
        if self._command.compositor:
            self._compositor = Compositor(self._folder / "wayland")
            environment |= self._compositor.environment
        self._peer = RunningPeer(self._command, environment)
        (self._folder / "peer.pid").write_text(f"{self._peer.group}\n")  # for the oracle
        self._peer.await_ready()
        if self._role == "frontend":
            self._start_agent()

    def _start_agent(self) -> None:
        console = self._folder / "console"  # a loopback guest has no kernel; its output is the witness's
        console.touch()
        self._spawn([str(self._programs.agent), "--socket", str(self.agent_socket), "--guest", str(FRONTEND),
                     "--guest-console", str(console), "--kernel-log", os.devnull, "--oracle", str(self._oracle)],
                    self._environment(BACKEND), subprocess.DEVNULL)
        self._await_guest(Limit(START_SECONDS))

    def _await_guest(self, limit: Limit) -> None:
        """Until the guest's programs answer: what a case finds in use must not change with when they came."""
        with socket.socket(socket.AF_UNIX) as connection:
            while connection.connect_ex(str(self.agent_socket)) != 0:
                self._wait(limit, "displif-cts-agent did not start")
            with closing(AgentChannel(connection)) as agent:
                while not agent.require("hello")["guest_connected"]:
                    self._wait(limit, "the guest's programs did not reach displif-cts-agent")

    def _wait(self, limit: Limit, otherwise: str) -> None:
        if limit.remaining() <= 0:
            raise BedError(otherwise, self._peer.output.text() if self._peer else "")
        time.sleep(LOOK_SECONDS)

    def _environment(self, domain: int) -> dict[str, str]:
        libraries = os.pathsep.join(filter(None, [str(self._programs.libraries), os.environ.get("LD_LIBRARY_PATH", "")]))
        return {"LD_LIBRARY_PATH": libraries, "DISPLIF_LOOPBACK": str(self._folder),
                "DISPLIF_LOOPBACK_DOMAIN": str(domain), "XENSTORED_PATH": str(self._folder / f"store-{domain}.sock"), "DISPLIF_SCREEN": str(self._folder / "screen.sock")}

    def _spawn(self, argv: Sequence[str], environment: dict[str, str], stdin: Any) -> "subprocess.Popen[bytes]":
        with self._lock:
            if self._killed:
                raise InstanceDied("the machine is being ended")
            child = subprocess.Popen(argv, stdin=stdin, stdout=subprocess.PIPE, stderr=self._errors(), start_new_session=True,
                                     env={**os.environ, **environment})
            self._children.append(child)
            return child

    def _errors(self) -> Any:
        return open(self._folder / "stderr", "ab")

    def run(self, argv: Sequence[str], on_line: Callable[[bytes], None], timeout: float | Limit,
            env: dict[str, str] | None = None) -> int:
        limit = timeout if isinstance(timeout, Limit) else Limit(timeout)
        environment = {**self._environment(self._own_domain), **(env or {}),
                       "DISPLIF_CTS_CONTROL_STORE": str(self._folder / f"store-{BACKEND}.sock"),
                       "DISPLIF_CTS_NEIGHBOUR_DOMAIN": str(NEIGHBOUR),
                       "DISPLIF_CTS_NEIGHBOUR_STORE": str(self._folder / f"store-{NEIGHBOUR}.sock"),
                       "DISPLIF_CTS_NEIGHBOUR_PROGRAM": str(self._programs.bin["displif-fake-frontend"])}
        witness = Witness(self._peer, self._compositor, on_line, self._role)
        child = self._spawn(argv, environment, subprocess.DEVNULL)
        try:
            for line in read_lines(child, limit):
                witness.line(line)
        except TimeoutError:
            end_group(child)
            raise AgentTimeout(f"{argv[0]} did not end within {limit.seconds:g} s") from None
        status = child.wait()
        self.stderr = (self._folder / "stderr").read_text("utf-8", "replace")[-2000:]
        if self._killed:
            raise InstanceDied("the machine was ended")
        return status if status >= 0 else 128 - status

    def kill(self) -> None:
        with self._lock:
            self._killed = True
            children = list(self._children)
        for child in children:
            end_group(child)

    def close(self) -> None:
        if self._peer is not None:
            self._peer.end()
        if self._compositor is not None:
            self._compositor.close()
        self.kill()
        for child in self._children:
            if child.stdout is not None:
                child.stdout.close()
