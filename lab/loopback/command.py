"""The backend under test as a process of this host: its output, and how it ends."""
from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import threading
import time
from typing import Iterator

from lab.peer_command import PeerCommand, how_ended, sanitizer_report
from lab.process import end_group
from lab.qemu.errors import BedError
from lab.qemu.limit import Limit

READY_SECONDS = 10.0
SETTLE_SECONDS = 0.1  # a command without a sign of being ready must have run for so long
TERM_SECONDS = 2.0
KEPT_OCTETS = 64 * 1024  # of the output, at each end: a peer may flood

# harness/loopback/client/absent.cc
_ABSENT = re.compile(rb"displif-loopback: \S+: (\w+)\(\) is not there without a hypervisor")


class Output:
    """The first and the last of what a process wrote."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._head, self._tail, self._total = b"", b"", 0

    def add(self, data: bytes) -> None:
        with self._lock:
            self._total += len(data)
            room = KEPT_OCTETS - len(self._head)
            self._head += data[:room]
            self._tail = (self._tail + data[max(0, room):])[-KEPT_OCTETS:]

    def octets(self) -> bytes:
        with self._lock:
            left_out = self._total - len(self._head) - len(self._tail)
            gap = f"\n[... {left_out} octets left out ...]\n".encode() if left_out > 0 else b""
            return self._head + gap + self._tail

    def text(self) -> str:
        return self.octets().decode("utf-8", "replace")


class RunningPeer:
    """The command, started in a process group of its own; `end()` leaves nothing of the group behind."""

    def __init__(self, command: PeerCommand, environment: dict[str, str]) -> None:
        self._command = command
        self.output = Output()
        try:
            self._process = subprocess.Popen(
                command.argv, shell=isinstance(command.argv, str), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, start_new_session=True, env={**os.environ, **environment, **command.env})
        except OSError as error:
            raise BedError(f"the peer's command cannot be started: {command.shown()}: {error.strerror}") from None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def group(self) -> int:
        """The process group that the command and all that it starts are in."""
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stdout is not None
        while data := os.read(self._process.stdout.fileno(), 1 << 16):
            self.output.add(data)

    def await_ready(self) -> None:
        """Raises BedError with the output's end when it is not ready in time."""
        pattern = re.compile(self._command.ready.encode(), re.MULTILINE) if self._command.ready else None
        started = time.monotonic()
        limit = started + READY_SECONDS
        while True:
            ended = self._process.poll()
            if ended is not None:
                self._reader.join(1)
                last = self._last_words().splitlines()[-1:]
                raise BedError(f"the peer's command ended {how_ended(ended)} before it was ready: {self._command.shown()}"
                               + "".join(f": {line[:300]}" for line in last) + lacking(self.output.octets()), self._last_words())
            if pattern.search(self.output.octets()) if pattern else time.monotonic() > started + SETTLE_SECONDS:
                return
            if time.monotonic() > limit:
                raise BedError(f"the peer's command did not say that it is ready (/{self._command.ready}/) within "
                               f"{READY_SECONDS:.0f} s: {self._command.shown()}{lacking(self.output.octets())}", self._last_words())
            time.sleep(0.005)

    def _last_words(self) -> str:
        return self.output.text().strip()[-1500:]

    def trouble(self) -> str | None:
        """What the process itself shows of a crash: an end that nobody asked for, or a sanitizer's report."""
        ended = self._process.poll()
        if ended is not None:
            self._reader.join(1)
            words = self._last_words().splitlines()
            last = f": {words[-1][:300]}" if words else ""
            return f"the peer ended {how_ended(ended)}" + last + lacking(self.output.octets())
        return sanitizer_report(self.output.octets())

    def said(self) -> str:
        return self.output.text()

    def end(self) -> None:
        """SIGTERM, and SIGKILL for whatever of the group is left."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)  # not reaped yet: the group is there
            try:
                self._process.wait(TERM_SECONDS)
            except subprocess.TimeoutExpired:
                pass
        end_group(self._process)
        self._reader.join(1)


def lacking(output: bytes) -> str:
    """What an end may have to do with: functions that it called and loopback does not have; empty: none."""
    names = sorted({found.decode() for found in _ABSENT.findall(output)})
    return f" (it uses {', '.join(name + '()' for name in names)}, which loopback lacks: try --bed qemu)" if names else ""


def read_lines(process: "subprocess.Popen[bytes]", limit: Limit) -> Iterator[bytes]:
    """The lines of a process's output as they come, until it ends its output; TimeoutError when `limit` is over."""
    assert process.stdout is not None
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0.0, limit.remaining())):
                raise TimeoutError
            data = os.read(process.stdout.fileno(), 1 << 16)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            yield from lines
    if rest:
        yield rest
