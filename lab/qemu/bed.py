"""The qemu bed: a real Xen, dom0 and guest, restored from a RAM template for every case."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .architecture import ARCHITECTURES
from .binaries import ModuleTree
from .cache import Cache, Lock, content_key, file_hash
from .errors import BedError
from .images import DISK_BYTES, Ingredients, make_ext2
from .instance import Instance
from .machine import Shape, firmware_files, hardware_description, qemu_path
from .packages import Package, PackageStore, Wanted
from .template import build_booted, build_with_driver, choose_driver, phase


def silent(_phase: str, _seconds: float | None) -> None:
    pass


@dataclass
class BedOptions:
    """What the user chooses; everything left alone is Debian's own."""

    module: list[Path] = field(default_factory=list)  # driver modules instead of the guest kernel's
    kernel: Path | None = None  # the guest's kernel (dom0 keeps Debian's) ...
    modules_dir: Path | None = None  # ... and its modules: /lib/modules/VERSION
    xen: Path | None = None  # hypervisor: xen.gz or ELF ...
    xen_tools: Path | None = None  # ... and the tree of its programs and libraries (`make dist-tools`)
    cache_dir: Path | None = None
    arch: str = "amd64"
    paranoid: bool = False  # the guest with slab poisoning and red zones
    processors: int = 1  # that the domains share
    dom0_modules: tuple[Path, ...] = ()  # modules for dom0's kernel, in the place of its own ...
    dom0_more: tuple[str, ...] = ()  # ... and the names of those that are loaded beside what every dom0 loads


class Bed:
    """`programs` holds displif-cts-agent and displif-cts-exerciser.

    `progress(phase, None)` is called when a phase begins, `progress(phase, seconds)` when it ended; `timings` keeps
    the seconds. Use it as a context manager, or let it go: what it holds in the cache is free when it is gone.
    """

    def __init__(
        self,
        options: BedOptions,
        programs: Path,
        progress: Callable[[str, float | None], None] = silent,
    ) -> None:
        if options.arch not in ARCHITECTURES:
            raise BedError(f"the qemu bed does not know the architecture {options.arch}", f"it knows {', '.join(ARCHITECTURES)}")
        if options.kernel and not options.modules_dir:
            raise BedError("--kernel needs that kernel's modules too", "add --modules DIR (/lib/modules/VERSION)")
        self.options = options
        self.programs = programs.absolute()
        self.timings: dict[str, float] = {}
        self._progress = progress
        self._cache = Cache(options.cache_dir)
        self._store = PackageStore(self._cache, options.arch, self._progress)
        self._held: list[Lock] = []
        self._architecture = ARCHITECTURES[options.arch]
        self._shape = Shape(processors=options.processors, hardware=self._architecture.hardware)
        self._template: Path | None = None
        self._packages: list[Package] = []

    def __enter__(self) -> Bed:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Allows the cache to evict what this bed used."""
        for lock in self._held:
            lock.release()
        self._held.clear()
        self._store.close()

    def gather(self) -> Ingredients:
        """What a machine is made of, out of packages and options; nothing is booted."""
        with self._phase("packages"):
            wanted, self._packages, trees = self._unpacked()
            self._ingredients = self._collect(wanted, trees)
        return self._ingredients

    def prepare(self) -> None:
        """Everything up to the template that instances are restored from. Well below a second when nothing changed."""
        start = time.monotonic()
        qemu_path(self._shape.hardware)
        self._cache.sweep()
        self.gather()
        self._booted_key = content_key([hardware_description(self._shape), DISK_BYTES, self._ingredients.description()])
        self._template = self._obtain_template(self._booted_key)
        self.timings["prepare"] = time.monotonic() - start

    def _obtain_template(self, booted_key: str) -> Path:
        driver = choose_driver([path.absolute() for path in self.options.module], self._ingredients.guest_modules)
        driver_key = content_key([booted_key, [[m.name, file_hash(m.origin)] for m in driver]])

        def load(booted: Path, target: Path) -> None:
            build_with_driver(booted, driver, self._ingredients.guest_modules.release, self._shape, target)

        return self._derived(driver_key, booted_key, "load the driver", load)

    def _derived(self, key: str, booted_key: str, what: str, change: Callable[[Path, Path], None]) -> Path:
        """The template `key`, which `change(booted, target)` makes of the booted one."""
        held = self._cache.hold("templates", key)
        if held:
            self._held.append(held)
            return self._cache.entry("templates", key)
        booted = self._booted(booted_key)

        def make(target: Path) -> None:
            with self._phase(what):
                change(booted, target)

        return self._obtain("templates", key, make)

    def _booted(self, key: str) -> Path:
        def boot(target: Path) -> None:
            build_booted(self._ingredients, target, self._progress, self.timings)

        return self._obtain("templates", key, boot)

    def instance(self, disk: Path, log_directory: Path | None = None) -> Instance:
        """A machine of one's own (use with `with`). Its logs live as long as it does, or stay in `log_directory`."""
        if self._template is None:
            raise BedError("the bed has not been prepared")
        return Instance(self._cache, self._template, disk, log_directory, self._shape)

    def bare(self) -> tuple[Path, ModuleTree]:
        """The template whose guest has no driver yet, for whoever loads one into each machine, and the modules that its
        kernel has."""
        if self._template is None:
            raise BedError("the bed has not been prepared")
        return self._booted(self._booted_key), self._ingredients.guest_modules

    def make_disk(self, carried_dir: Path) -> Path:
        """The carried set as a disk image, to be mounted read-only at /carried."""
        key = content_key([DISK_BYTES, tree_description(carried_dir)])

        def build(target: Path) -> None:
            make_ext2(carried_dir, target, "carried")

        with self._phase("carried disk"):
            return self._obtain("disks", key + ".ext2", build)

    def facts(self) -> dict[str, Any]:
        """What the bed is made of, for the stream's `env` record."""
        if self._template is None:
            raise BedError("the bed has not been prepared")
        seen = json.loads((self._template / "facts.json").read_text())
        parts = self._ingredients
        hardware = self._shape.hardware
        qemu = subprocess.run([str(qemu_path(hardware)), "--version"], capture_output=True, text=True)
        return {
            "bed": "qemu",
            "guest_type": self._architecture.guest_type,
            "arch": self.options.arch,
            "xen": {
                "file": str(parts.xen_image),
                "sha256": file_hash(parts.xen_image),
                "build_id": seen["xen_build_id"],
            },
            "kernels": {
                "dom0": {"release": parts.dom0_modules.release, "sha256": file_hash(parts.dom0_kernel)},
                "guest": {
                    "release": parts.guest_modules.release,
                    "sha256": file_hash(parts.guest_kernel),
                    "paranoid": self.options.paranoid,
                },
            },
            "modules": seen["modules"],
            "packages": [
                {"name": p.name, "version": p.version, "sha256": p.sha256}
                for p in sorted(self._packages, key=lambda p: p.name)
            ],
            "board": {"machine": f"QEMU {hardware.machine}, emulated", "cpu": hardware.cpu, "processors": self._shape.processors,
                      "memory_mb": hardware.memory_mb},
            "firmware": firmware_files(hardware),
            "host": {"qemu": qemu.stdout.splitlines()[0], "kernel": platform.release(), "cpus": os.cpu_count()},
        }

    @property
    def cache(self) -> Cache:
        return self._cache

    @property
    def cache_root(self) -> Path:
        return self._cache.root

    @property
    def kernel_release(self) -> str:
        """The guest kernel's version, as `uname -r` says it."""
        return self._ingredients.guest_modules.release

    def _unpacked(self) -> tuple[Wanted, list[Package], dict[str, Path]]:
        wanted, packages = self._store.standard()
        return wanted, list(packages.values()), self._store.unpack(packages.values())

    def _collect(self, wanted: Wanted, trees: dict[str, Path]) -> Ingredients:
        options = self.options
        kernel = trees[wanted.kernel]
        debian_modules = ModuleTree.find(kernel)
        libraries = [trees[name] for name in wanted.tools]
        return Ingredients(
            xen_image=absolute(options.xen) or single(trees[wanted.hypervisor], self._architecture.hypervisor),
            dom0_kernel=single(kernel, "boot/vmlinuz-*"),
            dom0_modules=debian_modules.overlaid(options.dom0_modules),
            guest_kernel=absolute(options.kernel) or single(kernel, "boot/vmlinuz-*"),
            guest_modules=ModuleTree.find(options.modules_dir.absolute()) if options.modules_dir else debian_modules,
            busybox=trees["busybox-static"] / "bin" / "busybox",
            xen_trees=[options.xen_tools.absolute()] if options.xen_tools else libraries,
            library_trees=libraries,
            programs=self.programs,
            paranoid=options.paranoid,
            shape=self._shape,
            architecture=self._architecture,
            dom0_more=options.dom0_more,
        )

    def _obtain(self, kind: str, name: str, build: Callable[[Path], None]) -> Path:
        def waiting() -> None:
            self._progress("wait for another run that builds the same", None)

        path, lock, _ = self._cache.obtain(kind, name, build, waiting)
        self._held.append(lock)
        if self._cache.grown:
            self._cache.evict()
        return path

    def _phase(self, name: str) -> AbstractContextManager[None]:
        return phase(name, self._progress, self.timings)


def absolute(path: Path | None) -> Path | None:
    return path.absolute() if path else None


def single(tree: Path, pattern: str) -> Path:
    found = sorted(tree.glob(pattern))
    if not found:
        raise BedError(f"{tree} holds no {pattern}", "the package is made differently from Debian 12's")
    return found[-1]


def tree_description(directory: Path) -> list[list[str]]:
    """Names, modes and contents below a directory."""
    if not directory.is_dir():
        raise BedError(f"{directory} is no directory", "build the carried set first")
    rows = []
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.is_symlink():
            rows.append([name, "link", os.readlink(path)])
        elif path.is_file():
            rows.append([name, oct(path.stat().st_mode & 0o777), file_hash(path)])
    return rows
