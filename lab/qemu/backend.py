"""A backend under test in dom0 of the qemu bed, and the runner in the unprivileged guest.

The bed of `Bed`, but for what is in the guest: no driver, but the runner, and a relay that leads to the agent in dom0
(harness/agent/relay.h). The peer and the libraries that it needs come from this host, on the disk of the carried set.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab.peer_command import PeerCommand
from lab.witness import Witness

from . import display, driver_domain
from .agent import AgentChannel
from .bed import Bed
from .cache import content_key, file_hash
from .errors import BedError
from .images import Ingredients, blank_disk, collect_libraries, files_below
from .instance import Instance
from .limit import Limit
from .machine import Shape
from .processor import Shares
from .remote_peer import PEER_FOLDER, RemotePeer, collect_peer, find_program, peer_argv
from .template import changed

DOM0 = 0
GUEST_PROGRAMS = ("displif-cts-runner", "displif-cts-relay")
RELAY = "displif-cts-relay"
# Sockets of the relay in the guest, and where they lead to in dom0.
GUEST_AGENT, GUEST_STORE = "/run/displif-cts/agent.sock", "/run/displif-cts/xenstored.sock"
FORWARDS = {GUEST_AGENT: Instance.agent_socket, GUEST_STORE: "/run/xenstored/socket"}
GUEST_PEER_FILE = "/run/displif-cts/peer.json"
SCREEN = "/run/displif-cts/screen.xrgb"  # in dom0: what the display device showed last
# Cases that follow each other in one machine, each with a peer started anew.
CASES_PER_MACHINE = 16


class BackendBed(Bed):
    """`carried` holds the runner and the relay; `command` is the peer's."""

    cases_per_machine = CASES_PER_MACHINE

    def __init__(self, *arguments: Any, command: PeerCommand, carried: Path, driver_domain: bool = False, **keywords: Any) -> None:
        if command.compositor:
            raise BedError("a backend on a Wayland compositor runs on loopback; the qemu bed starts no compositor",
                           "leave --bed out, or give a descriptor without `compositor`")
        if command.display and driver_domain:
            raise BedError("the display device is dom0's; a driver domain has none", "leave --driver-domain out")
        super().__init__(*arguments, **keywords)
        hardware = self._architecture.hardware
        if driver_domain:
            hardware = replace(hardware, xen_command_line=hardware.xen_command_line + self._architecture.xen_with_driver_domain)
        self._shape = replace(self._shape, display=command.display, hardware=hardware)
        self._command, self._carried, self._driver_domain = command, carried, driver_domain
        self._program = find_program(command, carried, self._architecture)
        self._scratch = ExitStack()

    def _obtain_template(self, booted_key: str) -> Path:
        guest = self._with_libraries([self._carried / "bin" / name for name in GUEST_PROGRAMS])
        driver = self._driver_content() if self._driver_domain else {}
        described = [{name: file_hash(path) for name, path in content.items()} for content in (guest, driver)]
        ready = file_hash(Path(display.__file__)) if self._shape.display else None
        key = content_key([booted_key, described, driver_domain.description(self._architecture) if driver else None, ready])

        def furnish(booted: Path, target: Path) -> None:
            build_furnished(booted, self._ingredients, guest, driver, target)

        return self._derived(key, booted_key, "furnish the guest", furnish)

    def close(self) -> None:
        self._scratch.close()
        super().close()

    def _with_libraries(self, programs: list[Path], folder: str = "bin") -> dict[str, Path]:
        """Path in a domain -> file here, of programs of the carried set and the libraries that they need."""
        libraries = collect_libraries(programs, files_below(self._ingredients.library_trees), self._architecture)
        return {f"{folder}/{path.name}": path for path in programs} | libraries

    def _driver_content(self) -> dict[str, Path]:
        """What the driver domain has in its initramfs: the relay, and the peer at the place where dom0's disk has it."""
        content = self._with_libraries([self._carried / "bin" / RELAY])
        if self._program is None:
            return content | self._with_libraries([self._carried / "bin" / self._command.argv[0]], "carried/bin")
        work = self._scratch.enter_context(self._cache.temporary("peer"))
        self._collect_peer(work)
        return content | {f"carried/{path.relative_to(work)}": path for path in sorted(work.rglob("*")) if path.is_file()}

    def _collect_peer(self, folder: Path) -> None:
        assert self._program is not None
        collect_peer(self._program, folder / PEER_FOLDER, self._architecture, self._ingredients.library_trees)

    def make_disk(self, carried_dir: Path) -> Path:
        """The carried set, and beside it the peer with its libraries."""
        if self._program is None or self._driver_domain:
            return super().make_disk(carried_dir)
        with self._cache.temporary("peer") as work:
            tree = work / "tree"
            shutil.copytree(carried_dir, tree, symlinks=True)
            self._collect_peer(tree)
            return super().make_disk(tree)

    def facts(self) -> dict[str, Any]:
        where = {"backend_domain": "driver domain" if self._driver_domain else "dom0"}
        return super().facts() | where | {"peer_command": self._command.shown()}

    @contextmanager
    def instance(self, disk: Path, log_directory: Path | None = None) -> Iterator["BackendMachine"]:  # type: ignore[override]
        assert self._template is not None
        domain = int(json.loads((self._template / "facts.json").read_text())["backend_domain"])
        with super().instance(disk, log_directory) as inner:
            machine = BackendMachine(inner, self._command, peer_argv(self._command, self._program, self._architecture), domain)
            machine.start()
            yield machine


def build_furnished(base: Path, parts: Ingredients, guest: dict[str, Path], driver: dict[str, Path], target: Path) -> None:
    """`base` with files in its guest and, where there is something for one, with a driver domain."""
    def make_disk(disk: Path) -> None:
        if driver:
            driver_domain.make_disk(parts, driver, target.parent, disk)
        else:
            blank_disk(disk)

    with changed(base, parts.shape, target, make_disk) as (agent, facts):
        facts |= {"modules": {}, "backend_domain": DOM0}
        folders = sorted({str(Path(name).parent) for name in guest} | {"run/displif-cts"})
        agent.require("guest.sh", command="mkdir -p " + " ".join(f"/{folder}" for folder in folders))
        for name, path in guest.items():
            agent.put(f"/{name}", path.read_bytes(), 0o755, guest=True, timeout=300)
        if parts.shape.display:
            display.occupy_beginning(agent, parts.program("displif-cts-exerciser"))
        if driver:
            agent.put(f"/tmp/{RELAY}", driver[f"bin/{RELAY}"].read_bytes(), 0o755)
            facts["backend_domain"] = driver_domain.create(agent, f"/tmp/{RELAY}")


class RunnersAgent:
    """The agent as the scheduler sees it: files are for the runner, hence the guest's."""

    def __init__(self, agent: AgentChannel, backend_domain: int) -> None:
        self._agent, self._backend_domain = agent, backend_domain

    def require(self, verb: str, timeout: float = 60.0, payload: bytes | None = None, **arguments: object) -> dict[str, Any]:
        answer = self._agent.require(verb, timeout, payload, **arguments)
        return answer | {"guest_domid": self._backend_domain} if verb == "hello" else answer

    def call(self, verb: str, timeout: float = 60.0, payload: bytes | None = None, **arguments: object) -> dict[str, Any]:
        return self._agent.call(verb, timeout, payload, **arguments)

    def put(self, path: str | Path, data: bytes, mode: int = 0o644) -> None:
        self._agent.put(str(path), data, mode, guest=True)


class BackendMachine:
    """A machine whose domain `backend_domain` runs the backend under test; `run` starts the runner in the guest."""

    runner = "/bin/displif-cts-runner"
    agent_socket = GUEST_AGENT
    peer_file = GUEST_PEER_FILE

    def __init__(self, inner: Instance, command: PeerCommand, argv: Sequence[str], backend_domain: int) -> None:
        self._inner, self._command = inner, command
        relayed = [f"/carried/bin/{RELAY}", "serve", "--domain", str(backend_domain), "--"]
        self._peer = RemotePeer(inner.agent, command, argv, relayed if backend_domain != DOM0 else ())
        self.agent = RunnersAgent(inner.agent, backend_domain)

    def start(self) -> None:
        self._domain = int(self._inner.agent.require("hello")["guest_domid"])
        if self._command.display:
            self._inner.agent.offer({"screen": self._screen})
        self._peer.start()

    def _screen(self, _arguments: dict[str, str]) -> dict[str, Any]:
        """What QEMU's display device shows, as a file of dom0; it has one connector."""
        picture = self._inner.screen()
        self._inner.agent.put(SCREEN, picture.xrgb)
        return {"width": picture.width, "height": picture.height, "path": SCREEN, "size": len(picture.xrgb)}

    @property
    def stderr(self) -> str:
        return self._inner.stderr

    def processors(self) -> Shares:
        return self._inner.processors()

    def run(self, argv: Sequence[str], on_line: Callable[[bytes], None], timeout: float | Limit) -> int:
        """The runner, once for each case that `argv` names, before a peer that was started for it. Ends after a case
        that does not leave the machine as it was found."""
        limit = timeout if isinstance(timeout, Limit) else Limit(timeout)
        cases, common = split_cases(argv)
        status = 0
        for number, case in enumerate(cases):
            if number > 0:
                self._peer.restart()
            verdicts = VerdictWatch(on_line)
            status = self._run_alone([*common, "--case", case], verdicts.line, limit)
            if not verdicts.harmless:
                break
        return status

    def _run_alone(self, argv: Sequence[str], on_line: Callable[[bytes], None], limit: Limit) -> int:
        joined = self._inner.agent.submit("guest.sh", command=f"/bin/{RELAY} join", timeout_ms=86_400_000)
        witness = Witness(self._peer, None, on_line)
        forwards = [word for there, here in FORWARDS.items() for word in ("--forward", f"{there}={here}")]
        # The tool stack's hands (cases/support/tool_stack.h).
        wrapped = ["/bin/busybox", "env", f"DISPLIF_CTS_CONTROL_STORE={GUEST_STORE}", *argv]
        serve = [f"/carried/bin/{RELAY}", "serve", "--domain", str(self._domain), *forwards, "--", *wrapped]
        try:
            return self._inner.run(serve, witness.line, limit)
        finally:
            if joined.done() and joined.result(0).get("status") not in (0, None):
                self._inner.stderr += f" | in the guest: {joined.result(0).get('output', '')[-500:]}"

    def kill(self) -> None:
        self._inner.kill()


def split_cases(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The ids after each --case, and the other words."""
    cases, common = [], []
    words = iter(argv)
    for word in words:
        if word == "--case":
            cases.append(next(words))
        else:
            common.append(word)
    return cases, common


class VerdictWatch:
    """Passes lines on. `harmless`: a verdict has come, after which another case may run in the same machine."""

    def __init__(self, on_line: Callable[[bytes], None]) -> None:
        self._on_line, self.harmless = on_line, False

    def line(self, raw: bytes) -> None:
        record = json.loads(raw) if b'"verdict"' in raw else {}
        if record.get("t") == "verdict":
            self.harmless = record["verdict"] in ("pass", "warn", "fail", "skip")
        self._on_line(raw)
