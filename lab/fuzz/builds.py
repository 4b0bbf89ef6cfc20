"""Builds fuzz targets with clang, and fetches the driver's source where one needs it."""
from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from lab.build import ROOT, build_configured
from lab.errors import INFRASTRUCTURE, Stop
from lab.kernel.source import find_source, stock_driver_source
from lab.progress import Progress
from lab.qemu.errors import BedError

from .targets import Target

COMPILER = "clang++-14"  # CMakePresets.json
NEED = 64 << 20  # octets: a build and a short run
INPUT_TOOL = "displif-fuzz-input"
REPLAY = "-replay"
MUTATOR = "-mutator"


@dataclass(frozen=True)
class Built:
    folder: Path
    target: Target
    environment: dict[str, str] = field(default_factory=dict)  # that its programs want besides the usual

    @property
    def program(self) -> Path:
        return self.folder / self.target.folder / self.target.program

    @property
    def replay(self) -> Path:
        """The target with the smallest engine, where it was asked for."""
        return self.program.with_name(self.program.name + REPLAY)

    @property
    def mutator(self) -> Path:
        """The suite's mutator for this target, as AFL++ loads it (preset fuzz-aflpp)."""
        return self.program.with_name(self.program.name + MUTATOR + ".so")

    @property
    def tool(self) -> Path:
        return self.folder / "fuzzers" / "input" / INPUT_TOOL


def stock_driver(progress: Progress) -> Path:
    """The source of the driver that Debian ships."""
    try:
        return stock_driver_source(progress=progress.bed)
    except BedError as error:
        raise Stop(INFRASTRUCTURE, error.message, error.hint) from None


def _overlaid(stock: Path, given: Path) -> Path:
    """The stock tree with the user's files in their places, in a folder by its content."""
    source = find_source(given)
    name = hashlib.sha256(json.dumps([str(stock), source.description()]).encode()).hexdigest()[:16]
    folder = ROOT / "build" / "fuzz-sources" / name
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=_made(folder.parent)) as temporary:
            tree = Path(temporary) / "tree"
            shutil.copytree(stock, tree)
            for place, path in source.files.items():
                (tree / place).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, tree / place)
            tree.rename(folder)
    return folder


def driver_settings(progress: Progress, driver_source: Path | None, driver_tree: Path | None = None) -> list[str]:
    """For CMake: the tree that the shim takes its headers from, which does not change, and the driver's."""
    source = stock_driver(progress)
    driver = driver_tree or (source if driver_source is None else _overlaid(source, driver_source))
    return [f"-DDISPLIF_CTS_LINUX_SOURCE={source}", f"-DDISPLIF_CTS_LINUX_DRIVER={driver}"]


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def build_target(target: Target, progress: Progress, preset: str = "fuzz", driver_source: Path | None = None,
                 peer: Path | None = None, replay: bool = False, mutator: bool = False, driver_tree: Path | None = None) -> Built:
    """`driver_source`: a kernel tree or its drivers/gpu/drm/xen, in the place of Debian's. `driver_tree`: a whole one, built where it
    lies, so that of one whose files change only these are compiled again. `peer`: a folder with files of
    our own backend, or of our readers, that take the places of the tree's. `replay`: with the smallest engine, not with the preset's. `mutator`: also the
    library for AFL++."""
    if not shutil.which(COMPILER):
        raise Stop(INFRASTRUCTURE, f"{COMPILER} is not installed: the fuzz targets are built with clang",
                   "sudo apt-get install --no-install-recommends clang-14 libclang-rt-14-dev llvm-14")
    if shutil.disk_usage(ROOT).free < NEED:
        raise Stop(INFRASTRUCTURE, f"no space to build in {ROOT}", "free some, or move the tree")
    settings = [*driver_settings(progress, driver_source, driver_tree), f"-DDISPLIF_CTS_FUZZ_PEER={peer or ''}"]
    with progress.phase("build", f"{target.program}, preset {preset}"):
        programs = [target.program + REPLAY if replay else target.program, INPUT_TOOL]
        if mutator:
            programs.append(target.program + MUTATOR)
        folder = build_configured(preset, programs, settings)
    return Built(folder, target)
