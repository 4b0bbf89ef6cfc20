"""Findings that are known: a run passes over them by default, and says so."""
from __future__ import annotations

import subprocess
from dataclasses import dataclass

from lab.errors import USAGE, Stop

from .builds import Built
from .engine import environment
from .targets import Target


def mask_of(target: Target, unmask: list[str], known: list[str]) -> str:
    """For DISPLIF_FUZZ_MASK. Raises Stop when a name is none."""
    if "all" in unmask:
        return "none"
    for name in unmask:
        if name not in known:
            raise Stop(USAGE, f"--unmask {name}: no known finding of {target.name} has that name",
                       f"known: {', '.join(known)}" if known else "this target has no known findings")
    return ",".join(name for name in known if name not in unmask) or "none"


@dataclass(frozen=True)
class Known:
    """A finding that a run passes over by default."""

    name: str
    what: str
    avoided: str  # what is not done, or not reported, while it is masked
    seen: str  # the case that shows it in the real guest, or nothing


def known_findings(built: Built) -> dict[str, Known]:
    """By name. The program says them itself."""
    if not built.target.driver:
        return {}
    done = subprocess.run([str(built.program), "-help=1"], capture_output=True, text=True, check=False,
                          env=environment("all") | {"DISPLIF_FUZZ_LIST": "1"})
    known = [Known(*line.split("\t")) for line in done.stdout.splitlines() if line.count("\t") == 3]
    return {each.name: each for each in known}
