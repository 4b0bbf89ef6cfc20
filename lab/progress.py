"""Phases with elapsed time, on stderr. The clock starts with the process, packages included."""
from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import contextmanager
from typing import Iterator, TextIO


def process_age() -> float:
    """Seconds since this process was started; the shell that became it counts (exec keeps the id)."""
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as stat:
            started = int(stat.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        with open("/proc/uptime", encoding="ascii") as uptime:
            return max(0.0, float(uptime.read().split()[0]) - started)
    except (OSError, ValueError, IndexError):
        return 0.0


class Progress:
    """Thread-safe. A quiet one says nothing."""

    def __init__(self, out: TextIO | None = None, quiet: bool = False) -> None:
        self._out = out or sys.stderr
        self._quiet = quiet
        self._start = time.monotonic() - process_age()
        self._lock = threading.Lock()
        self._transient = False

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._start

    def say(self, phase: str, text: str) -> None:
        if self._quiet:
            return
        with self._lock:
            self._clear()
            print(f"[{self.elapsed:6.1f}s] {phase:<9} {text}".rstrip(), file=self._out, flush=True)

    def transient(self, phase: str, text: str) -> None:
        """A line that the next one replaces; shown on terminals only."""
        if self._quiet or not self._out.isatty():
            return
        with self._lock:
            line = f"[{self.elapsed:6.1f}s] {phase:<9} {text}"
            self._out.write("\r\x1b[K" + line[:_columns()])
            self._out.flush()
            self._transient = True

    def _clear(self) -> None:
        if self._transient:
            self._out.write("\r\x1b[K")
            self._transient = False

    @contextmanager
    def phase(self, name: str, text: str = "") -> Iterator[None]:
        """Says when the phase begins and how long it took."""
        started = time.monotonic()
        self.say(name, text or "...")
        yield
        self.say(name, f"done in {time.monotonic() - started:.1f} s")

    def bed(self, what: str, seconds: float | None) -> None:
        """The bed's own report: something begins (None), or ended after so many seconds."""
        phase = next((phase for start, phase in _BED_PHASES if what.startswith(start)), "bed")
        text = "" if what == phase else f"{what} "
        self.say(phase, text + ("..." if seconds is None else f"done in {seconds:.1f} s"))


# What the bed and the driver's build say they do, by its beginning, and the phase of a run that it belongs to.
_BED_PHASES = (
    ("packages", "packages"), ("download", "packages"), ("unpack", "packages"), ("build the driver", "driver"),
    ("build", "images"), ("carried", "images"), ("boot", "boot"), ("load", "boot"),
)


def _columns() -> int:
    try:
        return max(20, os.get_terminal_size(2).columns - 1)
    except OSError:
        return 79
