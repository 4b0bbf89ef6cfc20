"""The command that starts a backend under test, on every bed, and what its end and its output tell."""
from __future__ import annotations

import os
import re
import shlex
import signal
from dataclasses import dataclass, field, replace
from typing import Any, Sequence

from lab.qemu.errors import BedError

_SANITIZER = re.compile(rb"(?:ERROR|WARNING): (?:Address|Leak|Memory|Thread|HWAddress)Sanitizer|runtime error: ")


@dataclass(frozen=True)
class PeerCommand:
    """`argv`: a list, or one text for the shell. `ready`: a pattern that its output matches when it is ready; none:
    as soon as it runs."""

    argv: Sequence[str] | str
    ready: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    display: bool = False  # it displays on a DRM device, which the bed provides
    compositor: bool = False  # it displays on a Wayland compositor, which the bed starts
    name: str = ""  # as messages and reports show the command; none: as it is

    @staticmethod
    def of(descriptor: dict[str, Any], text: str | None) -> "PeerCommand":
        """A descriptor's word $NAME stands for the environment variable's value. Raises BedError when there is none."""
        words = list(descriptor["command"])
        argv = text if text is not None else [_expanded(word, str(descriptor.get("name", ""))) for word in words]
        return PeerCommand(argv, descriptor.get("ready"), dict(descriptor.get("env", {})),
                           display="display" in descriptor, compositor="compositor" in descriptor,
                           name="" if text is not None else " ".join(words))

    def without_shell(self) -> "PeerCommand":
        """For machines where no shell starts it: a text's first word is the program that is carried over."""
        return replace(self, argv=shlex.split(self.argv)) if isinstance(self.argv, str) else self

    def shown(self) -> str:
        return self.name or (self.argv if isinstance(self.argv, str) else shlex.join(self.argv))


def _expanded(word: str, peer: str) -> str:
    if not re.fullmatch(r"\$[A-Z][A-Z0-9_]*", word):
        return word
    value = os.environ.get(word[1:])
    if not value:
        raise BedError(f"the environment variable {word[1:]} does not name the program of {peer}",
                       f"{word[1:]}=/path/to/program ./displif-cts run ...")
    return value


def sanitizer_report(output: bytes) -> str | None:
    report = _SANITIZER.search(output)
    if report is None:
        return None
    line = output[report.start():].split(b"\n")[0]
    return "the peer's sanitizer reports " + line.decode("utf-8", "replace")[:300]


def how_ended(status: int) -> str:
    if status < 0:
        try:
            return f"by {signal.Signals(-status).name}"
        except ValueError:
            return f"by signal {-status}"
    return f"with status {status}"
