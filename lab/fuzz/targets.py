"""The fuzz targets: what is built, and where their committed corpora are."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab.build import ROOT
from lab.errors import USAGE, Stop

CORPORA = ROOT / "fuzzers" / "corpus"


@dataclass(frozen=True)
class Target:
    name: str
    folder: str  # of its program in the build
    what: str
    driver: bool = False  # built from Linux's driver
    role: str = "suite"  # frontend or backend: what is attacked; suite: ourselves
    typed: bool = True  # inputs are typed actions, committed as text
    sources: tuple[str, ...] = ()  # of the code under test, as coverage names them
    defects_of: str = ""  # whose planted defects are looked for, where not its own
    corpus_of: str = ""  # whose committed inputs it starts from, where not its own
    peer: str = ""  # what is attacked, as the suite's descriptors name it
    command: bool = False  # what is attacked is a program that the user names
    guest: bool = False  # what is attacked runs in a machine of the qemu bed, and no program of an engine

    @property
    def program(self) -> str:
        return f"displif-fuzz-{self.name}"

    @property
    def corpus(self) -> Path:
        return CORPORA / (self.corpus_of or self.name)

    @property
    def bed(self) -> str:
        return "qemu" if self.guest else "loopback" if self.command else "in process"


TARGETS = (
    Target("linux-frontend", "fuzzers/linux_frontend", "Linux's display frontend, attacked by its backend", driver=True, role="frontend", peer="linux-user-space",
           sources=("xen_drm_front", "xen-front-pgdir-shbuf")),
    Target("guest-frontend", "", "the same driver in a real guest under Xen, in machines of the qemu bed", driver=True, role="frontend",
           peer="linux-drm-xen-front", guest=True, defects_of="linux-frontend"),
    Target("backend", "fuzzers/backend", "our own backend on a connected device, attacked by its frontend", role="backend", peer="displif-fake-backend",
           sources=("fake_backend", "displif")),
    Target("backend-connect", "fuzzers/backend", "the same, a connection of its own for each input, with the bus", role="backend", peer="displif-fake-backend",
           sources=("fake_backend", "displif", "bus")),
    Target("backend-command", "fuzzers/backend", "somebody's backend as a program on loopback (--peer-command), attacked by its frontend", role="backend",
           command=True, corpus_of="backend"),
    Target("parsers", "fuzzers/harness", "the suite's own readers of packets, rings, event pages, directories, nodes and EDIDs",
           typed=False, sources=("displif", "bus")),
    Target("stream", "fuzzers/harness", "the readers of the stream: verdicts folded, messages handed to the monitors", typed=False,
           sources=("runner", "trace")),
    Target("store-server", "fuzzers/harness", "loopback's xenstored, fed by three connections", typed=False, sources=("store",)),
)
IN_PROCESS = tuple(target for target in TARGETS if not target.guest and not target.command)
COMMAND = next(target for target in TARGETS if target.command)
EMPTY = Target("empty", "fuzzers/empty", "the engine and the inputs' reader alone")


def find_target(name: str) -> Target:
    for target in TARGETS:
        if target.name == name:
            return target
    names = ", ".join(target.name for target in TARGETS)
    raise Stop(USAGE, f"there is no fuzz target '{name}'", f"targets: {names}")
