"""QEMU's machine protocol, as much of it as a bed needs."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

from .errors import BedError, InstanceDied


class Qmp:
    """Synchronous commands over a connected socket. Events are skipped."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._reader = connection.makefile("rb")
        self._ready = False

    def command(self, name: str, timeout: float = 30.0, **arguments: Any) -> Any:
        self._socket.settimeout(timeout)
        if not self._ready:
            self._read()  # the greeting
            self._ready = True
            self._transact("qmp_capabilities", {})
        return self._transact(name, arguments)

    def send_descriptor(self, name: str, fd: int) -> None:
        """Hands QEMU an open file, from now on known to it as `fd:NAME`."""
        self.command("query-status")  # past the greeting
        request = json.dumps({"execute": "getfd", "arguments": {"fdname": name}}).encode() + b"\n"
        socket.send_fds(self._socket, [request], [fd])
        self._answer("getfd")

    def wait_migrated(self, timeout: float = 60.0) -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            status = self.command("query-migrate")
            if status.get("status") == "completed":
                return
            if status.get("status") in ("failed", "cancelled"):
                raise BedError(f"the machine's state could not be saved: {status.get('error-desc', 'no reason given')}")
            time.sleep(0.01)
        raise BedError(f"the machine's state was not saved within {timeout:g} s")

    def _transact(self, name: str, arguments: dict[str, Any]) -> Any:
        request: dict[str, Any] = {"execute": name}
        if arguments:
            request["arguments"] = arguments
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise InstanceDied(f"QEMU is gone: {error}") from error
        return self._answer(name)

    def _answer(self, name: str) -> Any:
        while True:
            answer = self._read()
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise BedError(f"QEMU refuses {name}: {answer['error'].get('desc')}")

    def _read(self) -> dict[str, Any]:
        try:
            line = self._reader.readline()
        except TimeoutError as error:
            raise BedError("QEMU does not answer on its control socket") from error
        except OSError as error:
            raise InstanceDied(f"QEMU is gone: {error}") from error
        if not line:
            raise InstanceDied("QEMU ended")
        return json.loads(line)

    def close(self) -> None:
        self._reader.close()
        self._socket.close()
