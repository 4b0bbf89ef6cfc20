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

from .cache import file_hash
from .errors import BedError
from .qmp import Qmp

QEMU = "qemu-system-x86_64"
MEMORY_MB = 1536
DOM0_MEMORY_MB = 640

# smap=off: QEMU 7.2's emulated iretq faults in a PV kernel otherwise, and dom0 dies at once.
# fsgsbase=off: with it Linux asks Xen for a base at every context switch (arch/x86/kernel/process_64.c, save_fsgs), a
# fifth of dom0's time. erms, fsrm: the emulator moves octet by octet what Linux then leaves to one instruction.
# xsave, avx: where domains share a processor, programs in dom0 were seen to find their heap damaged, and machines to
# wedge, under QEMU 7.2's emulation of the extended state; never without it.
CPU = "max,smap=off,fsgsbase=off,erms=off,fsrm=off,xsave=off,avx=off,avx2=off"
# TCG always, also where /dev/kvm exists: nested PV under KVM is not what the templates are made for.
HARDWARE = [
    "-machine", "q35,memory-backend=ram", "-cpu", CPU, "-accel", "tcg,thread=multi",
    "-name", "displif-cts,debug-threads=on", "-m", str(MEMORY_MB), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
]  # fmt: skip

FIRMWARE = ("bios-256k.bin", "multiboot_dma.bin", "multiboot.bin")

# Fixed slots: Linux numbers vportNpM by virtio device, in the order of the bus.
DEVICES = [
    "-device", "virtio-serial-pci,id=ports,addr=3",
    "-device", "virtserialport,bus=ports.0,nr=1,chardev=agent,name=displif-cts.agent",
    "-device", "virtserialport,bus=ports.0,nr=2,chardev=stream,name=displif-cts.stream",
    "-device", "virtio-blk-pci,drive=carried,addr=4",
]  # fmt: skip

# For a backend that displays on a DRM device: QEMU's standard VGA, which the module bochs drives (plain virtio-vga showed
# black in a PV dom0). Its preferred mode is that of the first connector that a case makes.
DISPLAY = ["-device", "VGA,addr=5,vgamem_mb=64,xres=1024,yres=768"]

# Mitigations and scrubbing cost seconds under emulation and protect nobody here; 64 frames as in the guest's config.
XEN_COMMAND_LINE = (
    f"console=com1 com1=115200,8n1 loglvl=all guest_loglvl=all dom0_mem={DOM0_MEMORY_MB}M,max:{DOM0_MEMORY_MB}M "
    "dom0_max_vcpus=1 gnttab_max_frames=64 spec-ctrl=no xpti=no pv-l1tf=no bootscrub=0 cpufreq=none"
)
# For dom0 only, as it is not what is tested: no zeroing of every page, no security modules, no self-tests of ciphers.
# The TSC is the host's, so programs read the clock without a system call. norandmaps: the emulator translates a program
# again wherever else it is mapped.
DOM0_COMMAND_LINE = (
    "console=hvc0 rdinit=/init init_on_alloc=0 lsm= audit=0 psi=0 mitigations=off noautogroup "
    "cryptomgr.notests=1 swiotlb=4096 tsc=reliable clocksource=tsc norandmaps"
)

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

    def arguments(self) -> list[str]:
        return ["-smp", str(self.processors), *(DISPLAY if self.display else [])]


def hardware_description(shape: Shape = Shape()) -> list[object]:
    """What a saved device state depends on, for the template's key."""
    path = qemu_path()
    status = path.stat()
    return [HARDWARE, DEVICES, shape.arguments(), XEN_COMMAND_LINE, DOM0_COMMAND_LINE, str(path), status.st_size, status.st_mtime_ns]


def qemu_path() -> Path:
    found = shutil.which(QEMU)
    if not found:
        raise BedError(f"{QEMU} is not installed", "sudo apt-get install qemu-system-x86")
    return Path(found).resolve()


def firmware_files() -> list[dict[str, str]]:
    """What QEMU gives the machine before Xen runs: its BIOS and the loader of `-kernel`."""
    folders = subprocess.run([str(qemu_path()), "-L", "help"], capture_output=True, text=True, check=False).stdout.split()
    found = ((name, next((Path(folder) / name for folder in folders if (Path(folder) / name).is_file()), None)) for name in FIRMWARE)
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
        arguments = [str(qemu_path()), *HARDWARE, *self._memory(ram, shared), *self._channels(theirs, disk)]
        if boot:
            arguments += ["-kernel", "xen", "-append", XEN_COMMAND_LINE]
            arguments += ["-initrd", f"dom0-kernel {DOM0_COMMAND_LINE},dom0-initramfs"]
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
        backend = f"memory-backend-file,id=ram,size={MEMORY_MB}M,mem-path={ram},share={'on' if shared else 'off'}"
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
            *DEVICES, *self._shape.arguments(),
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
