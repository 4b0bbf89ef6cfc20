"""What a session in a real guest found, in the form of every other finding."""
from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import yaml

from lab.build import ROOT

from .findings import Finding
from .sessions import Outcome

MODULES = ("drm_xen_front", "xen_front_pgdir_shbuf")
KNOWN = ROOT / "fuzzers" / "guest" / "known.yaml"
_STAMP = re.compile(r"^\[\s*\d+\.\d+\]\s?", re.MULTILINE)
# As cases/support/kernel_log.cc judges them, the worst first.
_HEADS = (
    ("oops", re.compile(r"BUG: kernel NULL pointer|BUG: unable to handle|general protection fault|kernel BUG at|Oops:|Kernel panic")),
    ("lockup", re.compile(r"soft lockup|hard LOCKUP|self-detected stall|detected stalls on|detected expedited stalls")),
    ("hung-task", re.compile(r"blocked for more than")),
    ("warning", re.compile(r"WARNING: CPU|WARNING:|refcount_t:|list_(?:add|del) corruption|Bad rss-counter|BUG:|nobody cared|"
                           r"Redzone overwritten|Poison overwritten|Object already free")),
)
_FRAME = re.compile(r"^(?:RIP: \w+:|\s+)(?P<function>[\w.]+)\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[(?P<module>\w+)\])?$")
_BLOCK = re.compile(r"^-+\[ cut here \]-+$.*?^---\[ end trace [^\n]*$\n?", re.MULTILINE | re.DOTALL)
_NUMBERS = re.compile(r"0x[0-9a-f]+|[0-9a-f]{12,}|\bPID: \d+|\bCPU: \d+|:\d+ |\[#\d+\]|\d+ ?(?:ms|s)\b")


def finding_of(outcome: Outcome, known_complaints: Sequence[str], spinning: Sequence[str] = ()) -> Finding | None:
    """None: nothing, or trouble of our own. `spinning`: functions that a guest without an answer went on executing."""
    if outcome.verdict in ("pass", "warn", "skip", "infra-error", ""):
        return None
    if any(requirement in ("health.kernel-log-clean", "health.peer-alive") for requirement, _ in outcome.failed):
        logged = of_kernel_log(outcome.kernel_log, known_complaints)
        if logged is not None:
            return logged
    if outcome.verdict == "hang":
        return Finding("hang", "the guest does not answer any more", tuple(spinning))
    for requirement, seen in outcome.failed:
        return Finding(requirement, seen, ())
    return Finding(outcome.verdict, outcome.reason.splitlines()[0] if outcome.reason else outcome.verdict, ())


def of_kernel_log(log: str, known_complaints: Sequence[str]) -> Finding | None:
    text = _STAMP.sub("", log.replace("\r\n", "\n"))  # as a console ends lines
    text = _BLOCK.sub(lambda match: "" if any(word in match[0] for word in known_complaints) else match[0], text)
    lines = text.splitlines()
    found = [Finding(kind, _NUMBERS.sub("", line).strip(), tuple(_frames(lines[at:])))
             for kind, pattern in _HEADS for at, line in enumerate(lines) if pattern.search(line)]
    # Damage that strikes elsewhere says less than the warning of the driver's that came with it.
    return next((each for each in found if each.frames), found[0] if found else None)


def _frames(lines: list[str]) -> list[str]:
    """Functions of the driver, innermost first, of the first trace in `lines`; `?` are what the stack only may have."""
    found: list[str] = []
    for line in lines:
        if line.startswith("---[ end trace"):
            break
        match = _FRAME.match(line)
        if match and match["module"] in MODULES and match["function"] not in found[-1:]:
            found.append(re.sub(r"\.(?:part|cold|isra|constprop)\.?\d*", "", match["function"]))
    return found


@dataclass(frozen=True)
class KnownInGuest:
    """A finding of Debian's driver that a session keeps away from, or, where it cannot, is recognised by."""

    name: str
    what: str
    avoided: str
    keys: tuple[str, ...] = ()  # globs of Finding.key

    def is_this(self, finding: Finding) -> bool:
        return any(fnmatch(finding.key, key) for key in self.keys)


def known_in_guest(file: Path = KNOWN) -> dict[str, KnownInGuest]:
    entries = yaml.safe_load(file.read_text(encoding="utf-8"))
    return {entry["name"]: KnownInGuest(entry["name"], entry["what"], entry["avoided"], tuple(entry.get("keys", ())))
            for entry in entries}
