"""A Wayland compositor for a backend that displays on one: weston without a screen, one for each machine."""
from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from lab.process import end_group
from lab.qemu.errors import BedError

SOCKET = "wayland-0"
START_SECONDS = 20.0
LAST_OCTETS = 4096  # of its log, as evidence
# The desktop shell lets a window be of any size; the kiosk shell ends a client whose picture is larger than its screen,
# which displ_be's user may well arrange. Pixman, for there is no GPU, and without a renderer nothing would be composed.
WESTON = ["weston", "--backend=headless-backend.so", "--shell=desktop-shell.so", "--use-pixman", "--idle-time=0",
          f"--socket={SOCKET}", "--logger-scopes=log,proto"]
CONFIG = """\
[shell]
panel-position=none
locking=false
animation=none
close-animation=none
startup-animation=none
"""
SIZE = (1024, 768)  # of the screen, pixels: as the first connector that a case makes


def listens(path: Path) -> bool:
    """The file is there before anybody listens."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


class Compositor:
    """Weston, running in `folder` when this returns; `close()` ends it. Raises BedError."""

    def __init__(self, folder: Path) -> None:
        if shutil.which(WESTON[0]) is None:
            raise BedError("the peer displays on a Wayland compositor, and weston is not installed", "sudo apt-get install weston")
        self._folder = folder
        folder.mkdir(mode=0o700)
        self._log = folder / "weston.log"
        config = folder / "weston.ini"
        config.write_text(CONFIG, encoding="ascii")
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [*WESTON, f"--config={config}", f"--width={SIZE[0]}", f"--height={SIZE[1]}"], stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True, env={**os.environ, "XDG_RUNTIME_DIR": str(folder)})
        limit = time.monotonic() + START_SECONDS
        while not listens(folder / SOCKET):
            if self.trouble() or time.monotonic() > limit:
                said = self.complaints().strip()[-1500:]
                self.close()
                raise BedError("weston did not start", said)
            time.sleep(0.005)

    @property
    def environment(self) -> dict[str, str]:
        return {"XDG_RUNTIME_DIR": str(self._folder), "WAYLAND_DISPLAY": SOCKET}

    def complaints(self) -> str:
        """The end of what it said beside the requests and events: of clients that it has disconnected, and why."""
        with open(self._log, encoding="utf-8", errors="replace") as log:
            kept = [line for line in log if "[proto]" not in line or "wl_display@1.error(" in line]
        return "".join(kept)[-LAST_OCTETS:]

    def trouble(self) -> str | None:
        """Weston's own end, for which no backend is to blame."""
        status = self._process.poll()
        return None if status is None else f"weston ended with status {status}"

    def close(self) -> None:
        end_group(self._process)
