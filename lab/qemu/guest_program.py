"""A frontend under test that is a program: it sits in the unprivileged guest, in the exerciser's place.

The bed of `Bed`, but for what is in the guest: no driver, and a program that serves the exerciser's verbs itself
(lab/guest/PROTOCOL.md), with the libraries that it needs, all from this host. Xen's grants, event channels and XenStore
reach it through Linux's devices (/dev/xen/gntalloc, /dev/xen/evtchn, /dev/xen/xenbus).
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .agent import AgentChannel
from .bed import Bed
from .cache import content_key, file_hash
from .errors import AgentTimeout, BedError
from .machine import Shape
from .remote_peer import libraries_here
from .template import changed

FOLDER = "/peer"  # in the guest
EXERCISER = "/bin/displif-cts-exerciser"  # there: what its init starts, and starts again when it ends
START_SECONDS = 60.0


class GuestProgramBed(Bed):
    """`program` is on this host; `arguments` are its own words."""

    cases_per_machine = 1  # each case has a program that was started anew, as on loopback

    def __init__(self, *positional: Any, program: Path, arguments: Sequence[str], **keywords: Any) -> None:
        super().__init__(*positional, **keywords)
        self._program, self._arguments = program, list(arguments)

    def _obtain_template(self, booted_key: str) -> Path:
        content = content_of(self._program)
        described = {name: file_hash(path) for name, path in content.items()}
        key = content_key([booted_key, described, self._arguments, file_hash(Path(__file__))])

        def start(booted: Path, target: Path) -> None:
            build_started(booted, self._shape, content, start_script(self._program, self._arguments), target)

        return self._derived(key, booted_key, "start the program in the guest", start)

    def facts(self) -> dict[str, Any]:
        return super().facts() | {"peer_command": shlex.join([self._program.name, *self._arguments])}


def content_of(program: Path) -> dict[str, Path]:
    """Path in the guest -> file here. Raises BedError where a library is missing."""
    return {f"{FOLDER}/{program.name}": program} | {f"{FOLDER}/lib/{path.name}": path for path in libraries_here(program)}


def start_script(program: Path, arguments: Sequence[str]) -> bytes:
    """What the guest's init starts instead of the exerciser. By its own linker: the guest has no libraries."""
    linkers = [path.name for path in libraries_here(program) if path.name.startswith("ld-linux")]
    own = [f"{FOLDER}/lib/{linkers[0]}", "--library-path", f"{FOLDER}/lib"] if linkers else []
    words = shlex.join([*own, f"{FOLDER}/{program.name}", *arguments])
    return f"#!/bin/busybox sh\nexec {words}\n".encode()


def build_started(base: Path, shape: Shape, content: dict[str, Path], script: bytes, target: Path) -> None:
    """`base` with the program running in its guest, and connected to the agent."""
    with changed(base, shape, target) as (agent, facts):
        facts["modules"] = {}
        agent.require("guest.sh", command=f"mkdir -p {FOLDER}/lib")
        for name, path in content.items():
            agent.put(name, path.read_bytes(), 0o755, guest=True, timeout=300)
        agent.put(f"{EXERCISER}.next", script, 0o755, guest=True)
        facts["guest"] = take_over(agent)


def take_over(agent: AgentChannel) -> dict[str, Any]:
    """Ends the exerciser, so that the guest's init starts what is in its place. Returns that one's hello."""
    before = agent.require("guest.hello")
    ended = "(usleep 300000; killall displif-cts-exerciser) </dev/null >/dev/null 2>&1 &"
    agent.require("guest.sh", command=f"mv {EXERCISER}.next {EXERCISER} && {{ {ended} }}")
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        time.sleep(0.2)
        try:
            hello = agent.call("guest.hello", timeout=5)
        except AgentTimeout:  # asked of the one that went
            continue
        if hello.get("ok") and hello.get("program") != before.get("program"):
            return hello
    raise BedError(f"the program in the guest did not connect to the agent within {START_SECONDS:g} s",
                   "it serves the exerciser's verbs over a vchan (lab/guest/PROTOCOL.md)")
