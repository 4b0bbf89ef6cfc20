"""An input replayed in the real guest, with the driver that is shipped: what it shows there, and why it may not."""
from __future__ import annotations

from dataclasses import dataclass

from cases.generate_regressions import HEAD
from lab.errors import INFRASTRUCTURE, Stop
from lab.peer import load_peer
from lab.progress import Progress
from lab.qemu.errors import BedError

from .findings import Finding
from .guest_findings import finding_of
from .sessions import PEER, Outcome, SessionBed

ATTEMPTS = 3  # sessions, each in a machine of its own: some findings need a moment to be hit
MOST_REPLAYS = 60  # of one minimisation in the guest

# What the model has and the guest has not, by the words of an action that needs it.
_ONLY_IN_MODEL = (
    ("fail ", "it needs an allocation, a grant or a call of the kernel to fail where the input says so"),
    ("call=export-map", "it needs another driver that imports the buffer"),
    ("call=export-vmap", "it needs another driver that imports the buffer"),
    ("call=import-foreign", "it needs another driver's buffer"),
)
# What only AddressSanitizer, or the model's own books, can see: Debian's kernel has no KASAN and no kmemleak.
_ONLY_SEEN_IN_MODEL = ("memory-left", "heap-use-after-free", "heap-buffer-overflow", "directory-freed-while-mapped", "double-free",
                       "attempting", "undefined-behaviour", "object-leaks", "handle-left", "drm-device-left")


@dataclass(frozen=True)
class Replay:
    finding: Finding | None
    outcome: Outcome  # of the session that showed it, or of the last
    sessions: int


def complaints_of_peer() -> list[str]:
    return [str(entry["text"]) for entry in load_peer(PEER, "frontend").descriptor.get("known_complaints", [])]


class GuestReplay:
    """A bed that is brought up when it is first needed."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bed: SessionBed | None = None
        self._complaints = complaints_of_peer()

    def close(self) -> None:
        if self._bed is not None:
            self._bed.__exit__()

    @property
    def peer_version(self) -> str:
        return self._open().peer_version

    def _open(self) -> SessionBed:
        if self._bed is None:
            self._bed = SessionBed(self._progress, coverage=False)
        return self._bed

    def play(self, text: str, attempts: int = ATTEMPTS, key: str | None = None) -> Replay:
        """Until it shows something (of that key), in a fresh machine each."""
        bed, outcome = self._open(), Outcome("replay")
        for number in range(1, attempts + 1):
            try:
                with bed.machine() as machine:
                    (outcome,) = bed.play(machine, [("replay", text)], "none") or [outcome]
            except BedError as error:
                raise Stop(INFRASTRUCTURE, error.message, error.hint) from None
            if outcome.verdict in ("", "infra-error"):
                raise Stop(INFRASTRUCTURE, f"the session came to no verdict: {outcome.reason or 'nothing was said'}")
            finding = finding_of(outcome, self._complaints)
            if finding is not None and key in (None, finding.key):
                return Replay(finding, outcome, number)
        return Replay(None, outcome, attempts)

    def minimise(self, lines: list[str], key: str) -> list[str]:
        """The fewest actions that still show it, as far as MOST_REPLAYS sessions tell."""
        left, step = MOST_REPLAYS, max(1, len(lines) // 2)
        while left > 0:
            at, shorter = 0, False
            while at < len(lines) and left > 0:
                fewer = lines[:at] + lines[at + step:]
                left -= 1
                if self.play("\n".join([HEAD, *fewer, ""]), 1, key).finding is not None:
                    lines, shorter = fewer, True
                    self._progress.say("minimise", f"{len(lines)} actions")
                else:
                    at += step
            if step == 1 and not shorter:
                break
            step = max(1, step // 2)
        return lines


def reason_for_model_only(found: Finding, lines: list[str], sessions: int) -> str:
    """Why the guest does not show what the model shows; empty: nothing is known that explains it."""
    for words, reason in _ONLY_IN_MODEL:
        if any(words in line + " " for line in lines):
            return reason + ", which the guest cannot be made to do"
    if found.kind.startswith(_ONLY_SEEN_IN_MODEL):
        return (f"it is seen by AddressSanitizer or by the model's own books alone ({found.kind}); the guest's kernel has neither, and "
                f"{sessions} sessions there had no effect that shows")
    if any(line.startswith("interleave") for line in lines):
        return ("it needs an interruption between two calls of the kernel, which the model can place exactly; "
                f"{sessions} sessions in the guest did not hit it")
    return ""


def evidence(replay: Replay, most: int = 8) -> list[str]:
    """What the guest said, or what failed, in a few lines."""
    if replay.finding is None:
        return []
    lines = [line for line in replay.outcome.kernel_log.splitlines()
             if any(word in line for word in ("BUG:", "WARNING:", "Oops", "RIP:", "[drm_xen_front]", "[xen_front_pgdir_shbuf]", "lockup"))
             and "Modules linked" not in line]
    failed = [f"{requirement}: {seen[:160]}" for requirement, seen in replay.outcome.failed if requirement != "health.kernel-log-clean"]
    return lines[:most] + failed
