"""One machine of one's own: a template's RAM and state restored, with the carried set on its disk."""

from __future__ import annotations

import itertools
import select
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from . import timer
from .agent import AgentChannel, Pending
from .cache import Cache
from .errors import AgentTimeout, BedError, InstanceDied
from .limit import Limit
from .machine import Machine, Shape
from .picture import Picture, parse_ppm
from .processor import Shares, virtual_processors

LONGEST_MS = 86_400_000  # more than any program runs; `timeout` of run() ends it


class Instance:
    """A context manager; the machine and its files end with the block. Calls may come from several threads, `run`
    from one at a time."""

    runner = "/carried/bin/displif-cts-runner"
    agent_socket = "/run/displif-cts/agent.sock"
    peer_file = "/run/displif-cts/peer.json"

    def __init__(self, cache: Cache, template: Path, disk: Path, log_directory: Path | None = None,
                 shape: Shape = Shape()) -> None:
        self._cache, self._template, self._disk = cache, template, disk
        self._log_directory, self._shape = log_directory, shape
        self._looking = threading.Lock()
        self._cleanup = ExitStack()
        self._numbers = itertools.count(1)
        self.stderr = ""  # the end of what the last `run` wrote to its standard error
        # Seconds since the beginning: QEMU started, the agent's first answer, the carried set mounted.
        self.timings: dict[str, float] = {}

    def __enter__(self) -> Instance:
        start = time.monotonic()
        with ExitStack() as stack:
            if self._log_directory:
                self._log_directory.mkdir(parents=True, exist_ok=True)
            directory = self._log_directory or stack.enter_context(self._cache.temporary("instance"))
            state = self._template / "state"
            self._machine = Machine(self._template, "ram", self._disk, directory, shared=False, state=state,
                                    shape=self._shape)
            self._directory = directory
            stack.callback(self._machine.close)
            self.timings["spawn"] = time.monotonic() - start
            self.agent = AgentChannel(self._machine.agent_socket)
            stack.callback(self.agent.close)
            try:
                self.agent.require("hello", timeout=60)
                self.timings["first answer"] = time.monotonic() - start
                timer.set_again(self.agent, self._shape.hardware)
                self.agent.require("mount-carried", timeout=60)
            except BedError as error:
                raise type(error)(f"{error.message}\n{self.last_words()}", error.hint) from error
            self.timings["ready"] = time.monotonic() - start
            self._cleanup = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        # The machine ends first, then whoever waits for the agent's answers learns of it.
        self._machine.kill()
        self._cleanup.close()

    @property
    def pid(self) -> int:
        return self._machine.process.pid

    def processors(self) -> Shares:
        """What its virtual processors got of the host's."""
        return virtual_processors(self.pid)

    @property
    def serial_log(self) -> Path:
        """The console of Xen and dom0 since the restore."""
        return self._machine.serial_log

    def screen(self) -> Picture:
        """What the display device shows; the machine must have one. Raises BedError."""
        path = self._directory / "screen.ppm"
        with self._looking:
            self._machine.screendump(path)
            return parse_ppm(path.read_bytes())

    def alive(self) -> bool:
        # The channel's end shows first, the process's status a moment later.
        return self._machine.alive() and not self.agent.closed

    def kill(self) -> None:
        self._machine.kill()

    def last_words(self) -> str:
        return self._machine.last_words()

    def run(
        self,
        argv: list[str],
        on_line: Callable[[bytes], None],
        timeout: float | Limit,
        env: dict[str, str] | None = None,
    ) -> int:
        """Runs a program in dom0; its standard output comes line by line, as it is written, without the line ends.

        Returns its exit status (128+N for signal N). Raises BedError when it cannot be started, AgentTimeout when
        it did not end within `timeout` seconds (it is killed then; `on_line` may restart a Limit), InstanceDied when the machine
        ended.
        """
        limit = timeout if isinstance(timeout, Limit) else Limit(timeout)
        name = f"run{next(self._numbers)}"
        environment = [f"{key}={value}" for key, value in (env or {}).items()]
        self.agent.require("start", name=name, argv=argv, env=environment or None, stdout="port")
        wait = self.agent.submit("wait", name=name, timeout_ms=LONGEST_MS)
        if not self._pump(wait, on_line, limit):
            self._end(name)
            raise AgentTimeout(f"{argv[0]} did not end within {limit.seconds:g} s")
        answer = wait.result(0)
        self.stderr = str(answer.get("stderr", ""))
        return 128 + int(answer["signal"]) if answer.get("signal") else int(answer["status"])

    def _pump(self, wait: Pending, on_line: Callable[[bytes], None], limit: Limit) -> bool:
        """Passes lines on until the program has ended and all that it wrote is here; False when time is up."""
        stream = self._machine.stream_socket
        buffer, received = b"", 0
        while not (wait.done() and received >= self._octets(wait)):
            remaining = limit.remaining()
            if remaining <= 0:
                return False
            readable = select.select([stream, wait] if not wait.done() else [stream], [], [], remaining)[0]
            if stream not in readable:
                continue
            data = stream.recv(1 << 16)
            if not data:
                raise InstanceDied(f"the machine ended while a program ran in it\n{self.last_words()}")
            received += len(data)
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                on_line(line)
        if buffer:
            on_line(buffer)
        return True

    def _octets(self, wait: Pending) -> int:
        answer = wait.result(0)
        if not answer.get("ok") or not answer.get("exited"):
            raise BedError(f"the agent lost sight of a program: {answer}")
        return int(answer["stream_octets"])

    def _end(self, name: str) -> None:
        """Ends a program that took too long, and swallows what it still wrote."""
        self.agent.require("kill", timeout=10, name=name, signal=9)
        self.agent.require("wait", timeout=10, name=name, timeout_ms=5000)
        stream = self._machine.stream_socket
        while select.select([stream], [], [], 0.2)[0] and stream.recv(1 << 16):
            pass
