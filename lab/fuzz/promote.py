"""From a finding to a case of the suite: its minimised input, readable, in cases/frontend/regressions."""
from __future__ import annotations

from pathlib import Path

from cases.generate_regressions import HEAD, NAME, parse
from lab.build import ROOT
from lab.errors import USAGE, Stop

from .findings import Finding

FOLDER = ROOT / "cases" / "frontend" / "regressions"
# What a finding in the guest breaks, by its kind.
_BROKEN = {"oops": "health.peer-alive", "hang": "health.peer-alive", "crash": "health.peer-alive", "lockup": "health.peer-alive",
           "hung-task": "health.kernel-log-clean", "warning": "health.kernel-log-clean"}


def broken_requirement(finding: Finding) -> str:
    return finding.kind if finding.broken_requirement else _BROKEN.get(finding.kind, "health.peer-alive")


def promote(name: str, finding: Finding, lines: list[str], peer: str) -> Path:
    """`lines`: the actions. Raises Stop when the name is none, or taken."""
    if not NAME.fullmatch(name):
        raise Stop(USAGE, f"--promote {name}: a case's name has [a-z0-9.-] only", "e.g. import-of-own-buffer")
    path = FOLDER / f"{name}.txt"
    if path.exists():
        raise Stop(USAGE, f"--promote {name}: {path} exists", "choose another name")
    where = f" in {finding.frames[0]}()" if finding.frames else ""
    text = "\n".join([
        HEAD,
        f"# title: The frontend survives the input {name}.",
        f"# requirements: {broken_requirement(finding)}",
        f"# finding: {finding.key} on {peer}: {finding.text}{where}",
        *lines, ""])
    parse(name, text)
    FOLDER.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
