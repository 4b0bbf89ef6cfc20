"""One QEMU process: plain emulation (TCG), its channels on socket pairs, and its certain end.

Nothing is left behind when this process ends in any way: the kernel kills QEMU (PR_SET_PDEATHSIG by setpriv), the
channels have no names in the file system, and the machine's directory is swept by the next run.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from .architecture import AMD64, Hardware
from .cache import file_hash
from .errors import BedError
from .qmp import Qmp

# PR_SET_PDEATHSIG means the death of the *thread* that started the process. Instances are started from short-lived
# threads, so all are started by this one, which lives as long as the interpreter.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="qemu-spawner")


@dataclass(frozen=True)
class Shape:
    """What one machine has and another has not."""

    display: bool = False  # a display device for dom0
    # One serves all domains. With more, Xen's locks are held by processors that the host has put aside while others spin
    # for them: twice the time, and several times as much on a busy host. Races between domains want more.
    processors: int = 1
    hardware: Hardware = AMD64.hardware

    def arguments(self) -> list[str]:
        return ["-smp", str(self.processors), *(self.hardware.display if self.display else [])]


def hardware_description(shape: Shape = Shape()) -> list[object]:
    """What a saved device state depends on, for the template's key."""
    hardware = shape.hardware
    path = qemu_path(hardware)
    status = path.stat()
    booted = hardware.boot(hardware.xen_command_line, hardware.dom0_command_line)
    return [hardware.arguments(), hardware.devices, shape.arguments(), booted, str(path), status.st_size, status.st_mtime_ns]


def qemu_path(hardware: Hardware = AMD64.hardware) -> Path:
    found = shutil.which(hardware.qemu)
    if not found:
        raise BedError(f"{hardware.qemu} is not installed", f"sudo apt-get install {hardware.package}")
    return Path(found).resolve()


def firmware_files(hardware: Hardware = AMD64.hardware) -> list[dict[str, str]]:
    """What QEMU gives the machine before Xen runs: its BIOS and the loader of `-kernel`."""
    folders = subprocess.run([str(qemu_path(hardware)), "-L", "help"], capture_output=True, text=True, check=False).stdout.split()
    found = ((name, next((Path(folder) / name for folder in folders if (Path(folder) / name).is_file()), None)) for name in hardware.firmware)
    return [{"name": name, "sha256": file_hash(path)} for name, path in found if path is not None]


class Machine:
    """`ram` is the RAM file; `shared` writes go into it (templates), else they stay with the process (instances).

    Paths of booted images and of RAM are relative to `directory`, QEMU's working directory: QEMU splits some of its
    arguments at blanks and commas.
    """

    def __init__(
        self,
        directory: Path,
        ram: str,
        disk: Path,
        log_directory: Path,
        shared: bool,
        boot: bool = False,
        state: Path | None = None,
        shape: Shape = Shape(),
    ) -> None:
        self._shape = shape
        self.serial_log = log_directory / "serial.log"
        self.qemu_log = log_directory / "qemu.log"
        ours, theirs = zip(*(socket.socketpair() for _ in range(3)), strict=True)
        self.agent_socket, self.stream_socket, control = ours
        self.qmp = Qmp(control)
        hardware = shape.hardware
        arguments = [str(qemu_path(hardware)), *hardware.arguments(), *self._memory(ram, shared), *self._channels(theirs, disk)]
        if boot:
            arguments += hardware.boot(hardware.xen_command_line, hardware.dom0_command_line)
        with ExitStack() as inherited:
            fds = [inherited.enter_context(end).fileno() for end in theirs]
            if state:
                fds.append(inherited.enter_context(state.open("rb")).fileno())
                arguments += ["-incoming", "defer"]
            self.process = _spawner.submit(self._spawn, arguments, directory, fds).result()
        if state:
            self._restore(fds[-1])

    def _restore(self, state_fd: int) -> None:
        """The saved machine was running, so this one runs as soon as its state is loaded."""
        try:
            self._ignore_ram()
            self.qmp.command("migrate-incoming", uri=f"fd:{state_fd}")
        except BaseException as error:
            self.close()
            if isinstance(error, BedError):
                raise type(error)(f"{error.message}\n{self.last_words()}", error.hint) from error
            raise

    def _memory(self, ram: str, shared: bool) -> list[str]:
        backend = f"memory-backend-file,id=ram,size={self._shape.hardware.memory_mb}M,mem-path={ram},share={'on' if shared else 'off'}"
        return ["-object", backend]

    def _channels(self, sockets: tuple[socket.socket, ...], disk: Path) -> list[str]:
        agent, stream, control = (s.fileno() for s in sockets)
        escaped = str(disk).replace(",", ",,")
        return [
            "-chardev", f"file,id=serial,path={str(self.serial_log).replace(',', ',,')}",
            "-serial", "chardev:serial",
            "-chardev", f"socket,id=control,fd={control}", "-mon", "chardev=control,mode=control",
            "-chardev", f"socket,id=agent,fd={agent}", "-chardev", f"socket,id=stream,fd={stream}",
            "-drive", f"if=none,id=carried,format=raw,readonly=on,file={escaped}",
            *self._shape.hardware.devices, *self._shape.arguments(),
        ]  # fmt: skip

    def _spawn(self, arguments: list[str], directory: Path, fds: list[int]) -> subprocess.Popen[bytes]:
        with self.qemu_log.open("wb") as log:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *arguments],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=fds,
                start_new_session=True,  # Ctrl-C is for the caller, who ends the machine in order
            )

    def save_state(self, path: Path) -> None:
        """Writes the device state and ends the machine; RAM is in its file already."""
        self._ignore_ram()
        with path.open("wb") as target:
            self.qmp.send_descriptor("state", target.fileno())
            self.qmp.command("migrate", uri="fd:state")
            self.qmp.wait_migrated()
        self.qmp.command("quit")
        self.process.wait(timeout=30)

    def _ignore_ram(self) -> None:
        """RAM is a file of its own: without it the device state is 350 KB."""
        capability = {"capability": "x-ignore-shared", "state": True}
        self.qmp.command("migrate-set-capabilities", capabilities=[capability])

    def screendump(self, path: Path) -> None:
        """What the display device shows, as a PPM."""
        self.qmp.command("screendump", filename=str(path))

    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """Ends QEMU at once; may be called again."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.kill()
        self.qmp.close()
        self.agent_socket.close()
        self.stream_socket.close()

    def last_words(self, lines: int = 12) -> str:
        """The end of QEMU's own complaints and of the Xen and dom0 console, for an error message."""
        text = tail(self.qemu_log, 3) + tail(self.serial_log, lines)
        return "\n".join(f"  | {line}" for line in text)


def tail(path: Path, lines: int) -> list[str]:
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - 16384))
            text = stream.read().decode(errors="replace")
    except OSError:
        return []
    return [line.rstrip("\r") for line in text.split("\n") if line.strip()][-lines:]
