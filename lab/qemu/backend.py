"""A backend under test in dom0 of the qemu bed, and the runner in the unprivileged guest.

The bed of `Bed`, but for what is in the guest: no driver, but the runner, and a relay that leads to the agent in dom0
(harness/agent/relay.h). The peer and the libraries that it needs come from this host, on the disk of the carried set.
"""

from __future__ import annotations

import base64
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.environment import linked
from lab.peer_command import PeerCommand, how_ended, sanitizer_report
from lab.witness import Witness

from .agent import AgentChannel
from .bed import Bed
from .cache import content_key, file_hash
from .errors import BedError
from .images import blank_disk, collect_libraries, files_below
from .instance import Instance
from .limit import Limit
from .machine import Machine
from .template import build_booted, copy_sparse, quiet, running

BACKEND = 0  # the peer's domain
GUEST_PROGRAMS = ("displif-cts-runner", "displif-cts-relay")
RELAY = "displif-cts-relay"
# Sockets of the relay in the guest, and where they lead to in dom0.
GUEST_AGENT, GUEST_STORE = "/run/displif-cts/agent.sock", "/run/displif-cts/xenstored.sock"
FORWARDS = {GUEST_AGENT: Instance.agent_socket, GUEST_STORE: "/run/xenstored/socket"}
GUEST_PEER_FILE = "/run/displif-cts/peer.json"
OUTPUT = "/run/displif-cts/peer.out"  # in dom0: what the peer writes
KEPT_OCTETS = 64 * 1024  # of that, at each end
READY_SECONDS = 60.0
PEER_FOLDER = "peer"  # on the carried disk
# Starts the peer with its output in a file, and keeps its process id.
START = f'exec "$@" >{OUTPUT} 2>&1'


class BackendBed(Bed):
    """`carried` holds the runner and the relay; `command` is the peer's."""

    cases_per_machine = 1  # the peer is started anew for each case

    def __init__(self, *arguments: Any, command: PeerCommand, carried: Path, **keywords: Any) -> None:
        if command.compositor:
            raise BedError("a backend on a Wayland compositor runs on loopback; the qemu bed starts no compositor",
                           "leave --bed out, or give a descriptor without `compositor`")
        super().__init__(*arguments, **keywords)
        self._command, self._carried = command, carried
        self._program = find_program(command, carried)

    def _obtain_template(self, booted_key: str, driver_key: str) -> Path:
        programs = [self._carried / "bin" / name for name in GUEST_PROGRAMS]
        files = files_below(self._ingredients.library_trees)
        libraries = collect_libraries(programs, files)
        content = {f"bin/{path.name}": path for path in programs} | libraries
        key = content_key([booted_key, {name: file_hash(path) for name, path in content.items()}])

        def boot(target: Path) -> None:
            build_booted(self._ingredients, target, self._progress, self.timings)

        def furnish(target: Path) -> None:
            with self._phase("furnish the guest"):
                build_furnished(self._obtain("templates", booted_key, boot), content, target)

        held = self._cache.hold("templates", key)
        if held:
            self._held.append(held)
            return self._cache.entry("templates", key)
        return self._obtain("templates", key, furnish)

    def make_disk(self, carried_dir: Path) -> Path:
        """The carried set, and beside it the peer with its libraries."""
        if self._program is None:
            return super().make_disk(carried_dir)
        with self._cache.temporary("peer") as work:
            tree = work / "tree"
            shutil.copytree(carried_dir, tree, symlinks=True)
            collect_peer(self._program, tree / PEER_FOLDER)
            return super().make_disk(tree)

    def facts(self) -> dict[str, Any]:
        return super().facts() | {"peer_command": self._command.shown()}

    @contextmanager
    def instance(self, disk: Path, log_directory: Path | None = None) -> Iterator["BackendMachine"]:  # type: ignore[override]
        with super().instance(disk, log_directory) as inner:
            machine = BackendMachine(inner, self._command, peer_argv(self._command, self._program))
            machine.start()
            yield machine


def build_furnished(base: Path, content: dict[str, Path], target: Path) -> None:
    """`base` with files in its guest."""
    work = target.parent
    target.mkdir()
    copy_sparse(base / "ram", target / "ram")
    blank_disk(work / "disk")
    machine = Machine(work, "new/ram", work / "disk", target, shared=True, state=base / "state")
    with running(machine, work) as agent:
        folders = sorted({str(Path(name).parent) for name in content} | {"run/displif-cts"})
        agent.require("guest.sh", command="mkdir -p " + " ".join(f"/{folder}" for folder in folders))
        for name, path in content.items():
            agent.put(f"/{name}", path.read_bytes(), 0o755, guest=True, timeout=300)
        quiet(agent)
        machine.save_state(target / "state")
    facts = (base / "facts.json").read_text().rstrip().removesuffix("}")
    (target / "facts.json").write_text(facts + ', "modules": {}}')


def find_program(command: PeerCommand, carried: Path) -> Path | None:
    """The peer's program on this host; None: one of the carried set. Raises BedError."""
    if isinstance(command.argv, str):
        raise BedError("the qemu bed starts a program, not a shell's text", "name the program and its arguments in a descriptor")
    name = command.argv[0]
    if "/" not in name and (carried / "bin" / name).is_file():
        return None
    found = shutil.which(name)
    if found is None:
        raise BedError(f"the peer's command cannot be started: {name}: not found, or not executable")
    return Path(found).resolve()


def collect_peer(program: Path, target: Path) -> None:
    """The program, the libraries that the dynamic linker would give it here, and that linker. Xen's are dom0's own."""
    libraries, missing = linked(program)
    if missing:
        raise BedError(f"{program} misses {', '.join(missing)}", "set LD_LIBRARY_PATH to where they are")
    (target / "lib").mkdir(parents=True)
    shutil.copy2(program, target / program.name)
    for path in libraries:
        if not path.name.startswith("libxen") or path.name.startswith("libxenbe"):
            shutil.copy2(path, target / "lib" / path.name)


def peer_argv(command: PeerCommand, program: Path | None) -> list[str]:
    if program is None:
        return [f"/carried/bin/{command.argv[0]}", *command.argv[1:]]
    folder = f"/carried/{PEER_FOLDER}"
    # By its own linker: dom0's C library may be older.
    return [f"{folder}/lib/ld-linux-x86-64.so.2", "--library-path", f"{folder}/lib:/lib/x86_64-linux-gnu",
            f"{folder}/{program.name}", *command.argv[1:]]


class RemotePeer:
    """The backend's process in dom0, through the agent."""

    def __init__(self, agent: AgentChannel, command: PeerCommand, argv: Sequence[str]) -> None:
        self._agent, self._command, self._argv = agent, command, argv

    def start(self) -> None:
        environment = [f"{key}={value}" for key, value in self._command.env.items()]
        self._agent.require("start", name="peer", argv=["/bin/busybox", "sh", "-c", START, "peer", *self._argv],
                            env=environment or None)
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
        answer = self._agent.require("wait", name="peer", timeout_ms=0)
        if not answer.get("exited"):
            return sanitizer_report(self._output())
        status = -int(answer["signal"]) if answer.get("signal") else int(answer["status"])
        last = self.said().strip().splitlines()[-1:]
        return f"the backend ended {how_ended(status)}" + "".join(f": {line[:300]}" for line in last)


class RunnersAgent:
    """The agent as the scheduler sees it: files are for the runner, hence the guest's."""

    def __init__(self, agent: AgentChannel) -> None:
        self._agent = agent

    def require(self, verb: str, timeout: float = 60.0, payload: bytes | None = None, **arguments: object) -> dict[str, Any]:
        answer = self._agent.require(verb, timeout, payload, **arguments)
        return answer | {"guest_domid": BACKEND} if verb == "hello" else answer

    def call(self, verb: str, timeout: float = 60.0, payload: bytes | None = None, **arguments: object) -> dict[str, Any]:
        return self._agent.call(verb, timeout, payload, **arguments)

    def put(self, path: str | Path, data: bytes, mode: int = 0o644) -> None:
        self._agent.put(str(path), data, mode, guest=True)


class BackendMachine:
    """A machine whose dom0 runs the backend under test; `run` starts the runner in the guest."""

    runner = "/bin/displif-cts-runner"
    agent_socket = GUEST_AGENT
    peer_file = GUEST_PEER_FILE

    def __init__(self, inner: Instance, command: PeerCommand, argv: Sequence[str]) -> None:
        self._inner = inner
        self._peer = RemotePeer(inner.agent, command, argv)
        self.agent = RunnersAgent(inner.agent)

    def start(self) -> None:
        self._domain = int(self._inner.agent.require("hello")["guest_domid"])
        self._peer.start()

    @property
    def stderr(self) -> str:
        return self._inner.stderr

    def run(self, argv: Sequence[str], on_line: Callable[[bytes], None], timeout: float | Limit) -> int:
        joined = self._inner.agent.submit("guest.sh", command=f"/bin/{RELAY} join", timeout_ms=86_400_000)
        witness = Witness(self._peer, None, on_line)
        forwards = [word for there, here in FORWARDS.items() for word in ("--forward", f"{there}={here}")]
        # The tool stack's hands (cases/support/tool_stack.h).
        wrapped = ["/bin/busybox", "env", f"DISPLIF_CTS_CONTROL_STORE={GUEST_STORE}", *argv]
        serve = [f"/carried/bin/{RELAY}", "serve", "--domain", str(self._domain), *forwards, "--", *wrapped]
        try:
            return self._inner.run(serve, witness.line, timeout)
        finally:
            if joined.done() and joined.result(0).get("status") not in (0, None):
                self._inner.stderr += f" | in the guest: {joined.result(0).get('output', '')[-500:]}"

    def kill(self) -> None:
        self._inner.kill()
