"""The target backend-command: somebody's backend, as a command on loopback's machine, and what its descriptor says of it."""
from __future__ import annotations

import argparse
import shlex
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Iterator

import yaml

from lab.build import ROOT, LoopbackPrograms, build
from lab.errors import INFRASTRUCTURE, Stop
from lab.loopback.bed import own_program
from lab.loopback.compositor import Compositor
from lab.peer import load_peer
from lab.peer_command import PeerCommand
from lab.progress import Progress
from lab.qemu.errors import BedError
from lab.run import ANY_BACKEND, DEFAULT_BACKEND

from .builds import Built
from .engine import environment
from .sockets import sockets_folder

REQUIREMENTS = ROOT / "cases" / "requirements.yaml"
NOT_STARTED = 3  # fuzzers/backend/command_target.cc
PASS_OVER = "DISPLIF_FUZZ_PASS_OVER"  # fuzzers/backend/finding.cc
_HINTS = (("AFL++'s map", "build it with afl-clang-fast, or run it under afl-qemu-trace"),
          ("afl-qemu-trace: not found", "Debian's afl++ has none: it is built by qemu_mode/build_qemu_support.sh of AFL++'s source"),
          ("", "--peer FILE says what it prints when it is ready"))
_OWED = ("must", "robust")


@dataclass(frozen=True)
class Outside:
    """What is attacked, and how the target's program hears of it."""

    name: str
    shown: str
    known: tuple[str, ...]  # findings that are passed over by default
    environment: dict[str, str]  # fuzzers/backend/command_backend.h
    covered: bool = False  # it writes AFL++'s map

    def passing_over(self, names: list[str]) -> dict[str, str]:
        """With what a backend need not keep: a finding is what it must."""
        return {**self.environment, PASS_OVER: ",".join([*names, *_optional()])}


def _optional() -> list[str]:
    document = yaml.safe_load(REQUIREMENTS.read_text(encoding="utf-8"))
    return [each["id"] for each in document["requirements"] if each["level"] not in _OWED]


@contextmanager
def outside(arguments: argparse.Namespace, progress: Progress) -> Iterator[Outside]:
    name = arguments.peer or (ANY_BACKEND if arguments.peer_command else DEFAULT_BACKEND)
    descriptor = load_peer(name, "backend").descriptor
    with progress.phase("build", "loopback's libraries, our own backend"):
        programs = LoopbackPrograms(build("release", ["displif-fake-backend", "displif_loopback_libraries"]))
    try:
        command = own_program(programs, PeerCommand.of(descriptor, arguments.peer_command))
        if command.display:
            raise Stop(INFRASTRUCTURE, "a backend on a DRM device runs in the qemu bed; fuzzing has loopback only")
        text = command.argv if isinstance(command.argv, str) else "exec " + shlex.join(command.argv)
        times = descriptor["times_ms"]
        variables = {**command.env, "DISPLIF_FUZZ_COMMAND": text, "DISPLIF_FUZZ_READY": command.ready or "",
                     "DISPLIF_FUZZ_LIBRARIES": str(programs.libraries), "DISPLIF_FUZZ_CAPABILITIES": ",".join(descriptor.get("capabilities", [])),
                     "DISPLIF_FUZZ_TIMES": f"{times['response']},{times['flip_event']},{times['removal']}"}
        if arguments.peer_coverage:
            variables["DISPLIF_FUZZ_PEER_COVERAGE"] = "1"
        with ExitStack() as stack:
            if command.compositor:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="displif-")))
                compositor = Compositor(folder / "wayland")
                stack.callback(compositor.close)
                variables |= compositor.environment
            yield Outside(str(descriptor["name"]), command.shown(), tuple(descriptor.get("known_findings", [])), variables, arguments.peer_coverage)
    except BedError as error:
        raise Stop(INFRASTRUCTURE, error.message, error.hint) from None


def expect_start(built: Built) -> None:
    """The command comes as far as to be attacked, which is said once, before any input."""
    with sockets_folder() as sockets, tempfile.NamedTemporaryFile() as empty:
        done = subprocess.run([str(built.program), empty.name], capture_output=True, text=True, errors="replace", check=False,
                              stdin=subprocess.DEVNULL, env=environment("none", built) | sockets)
    if done.returncode == NOT_STARTED:
        lines = [line for line in done.stderr.splitlines() if line.startswith("displif-fuzz: ")]
        said = lines[-1].removeprefix("displif-fuzz: ") if lines else "the peer's command cannot be attacked"
        raise Stop(INFRASTRUCTURE, said, next(hint for word, hint in _HINTS if word in said))


def attacking(built: Built, peer: Outside, passed_over: list[str]) -> Built:
    return replace(built, environment=peer.passing_over(passed_over))
