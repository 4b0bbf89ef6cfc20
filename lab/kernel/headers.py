"""The headers, configuration and build programs of the guest's kernel, in one tree that can lie anywhere."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab.qemu.binaries import ModuleTree
from lab.qemu.cache import Cache
from lab.qemu.errors import BedError
from lab.qemu.apt import TRIPLETS, last_line, machines_architecture
from lab.qemu.packages import Package, PackageStore, parse_depends

from .download import Progress, download, kernel_package, obtain, unpack
from .errors import DriverBuildError


@dataclass(frozen=True)
class KernelHeaders:
    """`folder` is what `make -C` wants; `key` changes with the content."""

    folder: Path
    release: str
    key: str
    arch: str = ""  # as Debian calls it; none: this machine's

    @property
    def cross(self) -> str:
        """What a compiler's name begins with that runs here and compiles for this kernel; empty where it is the usual one."""
        return "" if self.arch in ("", machines_architecture()) else f"{TRIPLETS[self.arch]}-"

    def compiler(self) -> str:
        """The compiler that the kernel was built with, and that its modules are built with."""
        variables = self.folder / ".kernelvariables"
        text = variables.read_text() if variables.is_file() else ""
        found = re.search(r"^CC\s*[:?]?=.*?([\w-]*gcc[\w.-]*)\s*$", text, re.MULTILINE)
        return self.cross + (found[1] if found else "gcc")


def debian_headers(cache: Cache, store: PackageStore, progress: Progress) -> KernelHeaders:
    """For the kernel that the bed's guest runs by default."""
    kernel = kernel_package(store)
    release = kernel.name.removeprefix("linux-image-").removesuffix("-unsigned")

    def build(target: Path) -> None:
        headers, programs = _packages(store, kernel, release)
        # The build programs run here, whatever the kernel is for.
        here = PackageStore(cache, machines_architecture(), progress)
        found = here.find(programs).values() if programs else ()
        progress(f"download the kernel's headers ({sum(p.size for p in (*headers, *found)) >> 20} MB)", None)
        with tempfile.TemporaryDirectory(dir=target.parent) as downloads:
            debs = [*download(store, headers, Path(downloads)), *download(here, found, Path(downloads))]
            target.mkdir()
            for deb in debs:
                unpack(deb, target)
        _make_movable(target, release)

    name = f"kernel-headers-{release}_{kernel.version.replace(':', '%3a')}"
    tree = obtain(cache, name, build, progress)
    return KernelHeaders(_folder(tree, release), release, name, store.arch)


def own_headers(modules_dir: Path, arch: str = "") -> KernelHeaders:
    """For a kernel that the user handed in: the `build` link beside its modules."""
    modules = ModuleTree.find(modules_dir.absolute())
    folder = modules.directory / "build"
    symbols = folder / "Module.symvers"
    if not (folder / "Makefile").is_file() or not symbols.is_file():
        raise DriverBuildError(
            f"{modules.directory} has no `build` folder with the kernel's build tree, which a module's build needs",
            "build the driver there, and hand the result in by --module FILE.ko",
        )
    key = f"{folder.resolve()}:{modules.release}:{symbols.stat().st_mtime_ns}"
    return KernelHeaders(folder.resolve(), modules.release, key, arch)


def _folder(tree: Path, release: str) -> Path:
    return tree / "usr" / "src" / f"linux-headers-{release}"


def _packages(store: PackageStore, kernel: Package, release: str) -> tuple[list[Package], list[str]]:
    """The headers and the common headers; and the names of the packages of build programs."""
    name = f"linux-headers-{release}"
    result = store.ask(["apt-cache", "depends", "--no-recommends", "--no-suggests", f"{name}={kernel.version}"])
    needs = next(iter(parse_depends(result.stdout).values()), [])
    parts = [need for need in needs if re.match(r"linux-(headers|kbuild)-", need)]
    if result.returncode != 0 or len(parts) < 2:
        raise BedError(
            f"apt does not know the package {name}, version {kernel.version}: {last_line(result.stderr)}",
            "run `sudo apt-get update`; or build the driver elsewhere, and hand it in by --module FILE.ko",
        )
    # The archive keeps one build of the programs, which may be newer than the signed kernel's headers.
    programs = [part for part in parts if part.startswith("linux-kbuild-")]
    headers = [name, *(part for part in parts if part not in programs)]
    return list(store.find(headers, kernel.version).values()), programs


def _make_movable(tree: Path, release: str) -> None:
    """The package's Makefile includes another by its installed path; make that relative to itself."""
    makefile = _folder(tree, release) / "Makefile"
    try:
        text = makefile.read_text()
    except OSError as error:
        raise BedError(f"{makefile} cannot be read: {error.strerror}",
                       "the package is made differently from Debian 12's") from error
    here = "$(dir $(lastword $(MAKEFILE_LIST)))../"
    changed = re.sub(r"^include /usr/src/", lambda _: f"include {here}", text, flags=re.MULTILINE)
    if "/usr/src/" in changed:
        raise BedError(f"{makefile} names installed files: {text.strip()}",
                       "the package is made differently from Debian 12's")
    makefile.write_text(changed)
