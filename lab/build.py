"""Builds what a command needs, and no more, with CMake's presets."""
from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Sequence

from lab.errors import INFRASTRUCTURE, Stop
from lab.process import run_grouped, tail
from lab.progress import Progress
from lab.qemu.apt import machines_architecture
from lab.sysroot import sysroot

ROOT = Path(__file__).resolve().parent.parent
CARRIED_TARGETS = ("displif-cts-runner", "displif-cts-agent", "displif-cts-relay", "displif-cts-exerciser", "displif-fake-backend",
                   "displif-fake-frontend", "displif-xen-contract",
                   "displif-zero-copy", "displif-store-sequences")
LOOPBACK_TARGETS = ("displif-cts-runner", "displif-cts-agent", "displif-fake-backend", "displif-fake-frontend",
                    "displif-fake-guest", "displif-loopback", "displif_loopback_libraries")
# qemu-user's
_USER_EMULATORS = {"amd64": "qemu-x86_64", "arm64": "qemu-aarch64"}


@dataclass(frozen=True)
class Programs:
    """The carried set (`cmake --install --component carried`)."""

    carried: Path
    foreign: str | None = None  # the architecture, when it is another one than this machine's
    root: Path = Path("/")  # where that architecture's packages are unpacked

    @property
    def bin(self) -> Path:
        return self.carried / "bin"

    @property
    def runner(self) -> Path:
        return self.bin / "displif-cts-runner"

    @property
    def lister(self) -> tuple[str, ...]:
        """The runner as a command of this machine; it can list its cases."""
        emulator = [_USER_EMULATORS[self.foreign], "-L", str(self.root)] if self.foreign else []
        return (*emulator, str(self.runner))


@dataclass(frozen=True)
class LoopbackPrograms:
    """What the loopback bed starts, where the build has left it."""

    build: Path

    @property
    def carried(self) -> Path:
        return self.build

    @property
    def runner(self) -> Path:
        return self.build / "cases" / "displif-cts-runner"

    @property
    def lister(self) -> tuple[str, ...]:
        return (str(self.runner),)

    @property
    def loopback(self) -> Path:
        return self.build / "harness" / "loopback" / "displif-loopback"

    @property
    def agent(self) -> Path:
        return self.build / "harness" / "agent" / "displif-cts-agent"

    @property
    def libraries(self) -> Path:
        return self.build / "harness" / "loopback" / "xen-libraries"

    @property
    def bin(self) -> dict[str, Path]:
        return {"displif-fake-backend": self.build / "fake_backend" / "displif-fake-backend",
                "displif-fake-frontend": self.build / "fake_frontend" / "displif-fake-frontend",
                "displif-fake-guest": self.build / "lab" / "guest" / "fake" / "displif-fake-guest",
                "displif-linux-guest": self.build / "fuzzers" / "linux_frontend" / "displif-linux-guest"}


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One build at a time in a folder; a second run waits."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".displif-cts.lock", "w", encoding="ascii")
    except OSError as error:
        raise Stop(INFRASTRUCTURE, f"cannot build in {folder}: {error.strerror}") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _environment() -> dict[str, str]:
    """With ccache where it is installed: clones in other folders share what was compiled."""
    environment = dict(os.environ)
    if shutil.which("ccache"):
        environment.setdefault("CMAKE_CXX_COMPILER_LAUNCHER", "ccache")
        environment.setdefault("CCACHE_BASEDIR", str(ROOT))
        environment.setdefault("CCACHE_NOHASHDIR", "1")
    return environment


def _step(argv: Sequence[str | Path], log: Path, what: str) -> None:
    with open(log, "ab") as output:
        status = run_grouped(argv, cwd=ROOT, output=output, environment=_environment())
    if status != 0:
        raise Stop(INFRASTRUCTURE, f"{what} failed (status {status}); the end of {log}:\n{tail(log)}")


def build(preset: str, targets: Sequence[str] = (), anew: bool = False) -> Path:
    """Configures and builds; returns the build folder. No targets: all of them. `anew`: packages have come that the
    build looks for only when it is configured."""
    folder = ROOT / "build" / preset
    with _locked(folder):
        if anew:
            (folder / "build.ninja").unlink(missing_ok=True)
        _build_locked(folder, preset, targets)
    return folder


def build_configured(preset: str, targets: Sequence[str], settings: Sequence[str]) -> Path:
    """As build(), configured with `settings` (-DNAME=VALUE), which may differ from the last time's."""
    folder = ROOT / "build" / preset
    with _locked(folder):
        log = folder / "build.log"
        log.unlink(missing_ok=True)
        _step(["cmake", "--preset", preset, *settings], log, "configuring the build")
        _step(["cmake", "--build", folder, "--parallel", str(os.cpu_count() or 1), "--target", *targets], log, "the build")
    return folder


def _build_locked(folder: Path, preset: str, targets: Sequence[str]) -> None:
    log = folder / "build.log"
    log.unlink(missing_ok=True)
    if not (folder / "build.ninja").exists():
        _step(["cmake", "--preset", preset], log, "configuring the build")
    wanted = ["--target", *targets] if targets else []
    _step(["cmake", "--build", folder, "--parallel", str(os.cpu_count() or 1), *wanted], log, "the build")


def build_carried(progress: Progress, arch: str | None = None) -> Programs:
    """The programs that the bed needs, built and installed into one folder; `arch`: for machines of that architecture."""
    if arch is not None and arch != machines_architecture():
        return _cross_build(progress, arch)
    folder = ROOT / "build" / "release"
    with progress.phase("build", "runner, agent, exerciser, fake backend"), _locked(folder):
        _build_locked(folder, "release", CARRIED_TARGETS)
        return Programs(_install_carried(folder))


def _install_carried(folder: Path) -> Path:
    carried = folder / "carried"
    _step(["cmake", "--install", folder, "--component", "carried", "--prefix", carried, "--strip"],
          folder / "build.log", "installing the carried set")
    return carried


def _cross_build(progress: Progress, arch: str) -> Programs:
    preset = f"release-{arch}"
    folder = ROOT / "build" / preset
    with sysroot(arch, progress.bed) as tree, progress.phase("build", f"runner, agent, exerciser, fake backend for {arch}"), _locked(folder):
        configured = folder / "sysroot"
        if not configured.is_file() or configured.read_text() != str(tree):
            # What CMake found in another tree it would keep.
            (folder / "CMakeCache.txt").unlink(missing_ok=True)
            _step(["cmake", "--preset", preset, f"-DDISPLIF_CTS_SYSROOT={tree}"], folder / "build.log", "configuring the build")
            configured.write_text(str(tree))
        _build_locked(folder, preset, CARRIED_TARGETS)
        return Programs(_install_carried(folder), arch, tree)


def build_loopback(progress: Progress) -> LoopbackPrograms:
    """The programs that the loopback bed needs."""
    folder = ROOT / "build" / "release"
    with progress.phase("build", "runner, loopback, fakes"), _locked(folder):
        _build_locked(folder, "release", LOOPBACK_TARGETS)
    return LoopbackPrograms(folder)
