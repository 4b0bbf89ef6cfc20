"""The line protocol to the agent in dom0 (lab/guest/PROTOCOL.md), from the host's end of its virtio port."""

from __future__ import annotations

import itertools
import json
import socket
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from .errors import AgentTimeout, BedError, InstanceDied

# Everything printable except the protocol's own `%`, `,` and `=`.
PLAIN = "".join(chr(c) for c in range(0x21, 0x7F) if chr(c) not in "%,=")


# Arguments to the answer's fields.
Service = Callable[[dict[str, str]], dict[str, Any]]


def encode_value(value: object) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, (list, tuple)):
        return ",".join(encode_value(item) for item in value)
    return quote(str(value).encode(), safe=PLAIN)


def encode_request(seq: int, verb: str, arguments: dict[str, object]) -> bytes:
    pairs = [f"{key}={encode_value(value)}" for key, value in arguments.items() if value is not None]
    return " ".join([str(seq), verb, *pairs]).encode() + b"\n"


class Pending:
    """An answer that is still on its way. `select` finds it readable when it is there."""

    def __init__(self, channel: AgentChannel, seq: int, verb: str) -> None:
        self._channel, self._seq, self._verb = channel, seq, verb
        self._event = threading.Event()
        self._answer: dict[str, Any] | None = None
        self._signal: socket.socket | None = None
        self._lock = threading.Lock()

    def fileno(self) -> int:
        with self._lock:
            if self._signal is None:
                self._signal, self._trigger = socket.socketpair()
                if self._event.is_set():
                    self._trigger.close()
            return self._signal.fileno()

    def done(self) -> bool:
        return self._event.is_set()

    def result(self, timeout: float) -> dict[str, Any]:
        if not self._event.wait(timeout):
            self._channel.forget(self._seq)
            raise AgentTimeout(f"no answer to `{self._verb}` from the agent within {timeout:g} s")
        if self._answer is None:
            raise InstanceDied(f"the machine ended while `{self._verb}` was under way")
        return self._answer

    def settle(self, answer: dict[str, Any] | None) -> None:
        with self._lock:
            self._answer = answer
            self._event.set()
            if self._signal is not None:
                self._trigger.close()


class AgentChannel:
    """Requests to the agent; may be used by several threads at once."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._pending: dict[int, Pending] = {}
        self._services: dict[str, Service] = {}
        self.closed = False  # the machine has ended
        self._reader = threading.Thread(target=self._read_answers, name="agent-channel", daemon=True)
        self._reader.start()

    def call(
        self, verb: str, timeout: float = 60.0, payload: bytes | None = None, **arguments: object
    ) -> dict[str, Any]:
        """The agent's answer, also when it says `"ok": false`. `payload` goes as raw bytes after the line (`put`).

        Raises AgentTimeout after `timeout` seconds, InstanceDied when the machine ends.
        """
        return self.submit(verb, payload, **arguments).result(timeout)

    def require(
        self, verb: str, timeout: float = 60.0, payload: bytes | None = None, **arguments: object
    ) -> dict[str, Any]:
        """As `call`, but an answer that is not ok is a BedError."""
        answer = self.call(verb, timeout, payload, **arguments)
        if not answer.get("ok"):
            text = answer.get("error") or answer.get("errno") or "unsupported"
            raise BedError(f"the agent could not {verb} {arguments or ''}: {text}")
        return answer

    def submit(self, verb: str, payload: bytes | None = None, **arguments: object) -> Pending:
        if payload is not None:
            arguments["size"] = len(payload)
        with self._lock:
            seq = next(self._numbers)
            pending = Pending(self, seq, verb)
            if self.closed:
                pending.settle(None)
                return pending
            self._pending[seq] = pending
        try:
            with self._write_lock:
                self._socket.sendall(encode_request(seq, verb, arguments) + (payload or b""))
        except OSError as error:
            raise InstanceDied(f"the machine ended: {error.strerror}") from error
        return pending

    def put(self, path: str, data: bytes, mode: int = 0o644, guest: bool = False, timeout: float = 60.0) -> None:
        """A file in dom0, or in the guest."""
        self.require("guest.put" if guest else "put", timeout, payload=data, path=path, mode=f"{mode:o}")

    def offer(self, services: dict[str, Service]) -> None:
        """Answers these verbs for whoever asks the agent, from now on, each on a thread of its own."""
        self._services = services
        self.require("offer", verbs=list(services))

    def _serve(self, asked: dict[str, Any]) -> None:
        try:
            fields = self._services[asked["verb"]](asked["args"])
            self.submit("answer", ask=asked["ask"], fields=json.dumps(fields))
        except InstanceDied:
            pass
        except (BedError, OSError, KeyError, ValueError) as error:
            self.submit("answer", ask=asked["ask"], error=str(error))

    def forget(self, seq: int) -> None:
        with self._lock:
            self._pending.pop(seq, None)

    def close(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._reader.join(timeout=5)

    def _read_answers(self) -> None:
        buffer = b""
        while True:
            try:
                data = self._socket.recv(1 << 16)
            except OSError:
                data = b""
            if not data:
                break
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                self._settle(line)
        with self._lock:
            self.closed = True
            waiting, self._pending = self._pending, {}
        for pending in waiting.values():
            pending.settle(None)

    def _settle(self, line: bytes) -> None:
        try:
            answer = json.loads(line)
            if answer.get("event") == "ask":
                threading.Thread(target=self._serve, args=(answer,), name="agent-service", daemon=True).start()
                return
            seq = int(answer["seq"])
        except (ValueError, KeyError, TypeError):
            return
        with self._lock:
            pending = self._pending.pop(seq, None)
        if pending:
            pending.settle(answer)
