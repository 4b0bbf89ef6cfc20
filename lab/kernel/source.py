"""Where a driver's source lies, and Debian's own."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab.qemu.cache import Cache, file_hash
from lab.qemu.errors import BedError
from lab.qemu.packages import Package, PackageStore

from .download import Progress, download, kernel_package, obtain, silent
from .errors import DriverBuildError

DRIVER = Path("drivers/gpu/drm/xen")
BUFFERS = Path("drivers/xen/xen-front-pgdir-shbuf.c")
# The protocol's headers: a tree's own come before those of the guest's kernel.
HEADERS = (
    Path("include/xen/interface/io/displif.h"),
    Path("include/xen/interface/io/ring.h"),
    Path("include/xen/interface/grant_table.h"),
    Path("include/xen/xen-front-pgdir-shbuf.h"),
)
MAIN_FILE = "xen_drm_front.c"
KUNIT = Path("tools/testing/kunit")  # the kernel's own reader of KTAP


@dataclass(frozen=True)
class DriverSource:
    """What goes into a build: files by their place in a kernel tree."""

    given: Path
    files: dict[Path, Path]

    @property
    def with_buffers(self) -> bool:
        """Is xen-front-pgdir-shbuf to be built too?"""
        return BUFFERS in self.files

    def description(self) -> list[list[str]]:
        return [[str(place), file_hash(path)] for place, path in sorted(self.files.items())]


def find_source(given: Path) -> DriverSource:
    """`given` is a kernel tree, or the driver's folder in one. Raises DriverBuildError."""
    try:
        names = {path.name for path in given.iterdir()}
        folder = given if MAIN_FILE in names else given / DRIVER
        if not (folder / MAIN_FILE).exists():
            raise DriverBuildError(
                f"{given} holds no display frontend: {MAIN_FILE} is neither in it nor in {DRIVER} below it",
                "name a kernel tree, or its drivers/gpu/drm/xen",
            )
        files = {DRIVER / path.name: path for path in folder.iterdir()
                 if path.suffix in (".c", ".h") and not path.name.endswith(".mod.c")
                 or path.name in ("Makefile", "Kbuild")}
        if folder != given:
            files |= {place: given / place for place in (BUFFERS, *HEADERS) if (given / place).exists()}
        for path in files.values():
            with path.open("rb"):
                pass
    except OSError as error:
        raise DriverBuildError(f"the driver's source {error.filename or given} cannot be read: {error.strerror}",
                               "name a kernel tree, or its drivers/gpu/drm/xen") from None
    if not {DRIVER / "Makefile", DRIVER / "Kbuild"} & set(files):
        raise DriverBuildError(f"{folder} has no Makefile", "name a kernel tree, or its drivers/gpu/drm/xen")
    return DriverSource(given, files)


def kernel_version(kernel: Package) -> str:
    """`6.1` of 6.1.192-2: what the source's package is named by."""
    version = re.match(r"(?:\d+:)?(\d+\.\d+)", kernel.version)
    if not version:
        raise BedError(f"the kernel's version is {kernel.version}", "its source's package cannot be told from that")
    return version[1]


def source_package(store: PackageStore) -> tuple[Package, str]:
    """The source of the kernel that the bed's guest has by default, and that kernel's version."""
    kernel = kernel_package(store)
    version = kernel_version(kernel)
    # Debian's archive has the source of a kernel some time before its signed image.
    return store.find([f"linux-source-{version}"], kernel.version)[f"linux-source-{version}"], version


def stock_driver_source(cache_dir: Path | None = None, progress: Progress = silent, arch: str = "amd64") -> Path:
    """A tree with the source of the driver that the bed's guest has by default, out of Debian's package.

    Only the files of `DRIVER`, `BUFFERS`, `HEADERS` and `KUNIT` are kept. Raises BedError.
    """
    cache = Cache(cache_dir)
    store = PackageStore(cache, arch, progress)
    return stock_files(cache, store, (DRIVER, BUFFERS, *HEADERS, KUNIT), "kernel", progress)


def stock_files(cache: Cache, store: PackageStore, places: tuple[Path, ...], what: str, progress: Progress) -> Path:
    """A tree with these files and folders of the kernel's source, out of Debian's package, kept as `what`. Raises BedError."""
    kernel = kernel_package(store)
    version = kernel_version(kernel)

    def build(target: Path) -> None:
        package, _ = source_package(store)
        progress(f"download the kernel's source ({package.size >> 20} MB)", None)
        with tempfile.TemporaryDirectory(dir=target.parent) as downloads:
            (deb,) = download(store, [package], Path(downloads))
            target.mkdir()
            progress(f"unpack what is wanted of it ({what})", None)
            _extract(deb, f"linux-source-{version}", places, target)

    return obtain(cache, f"{what}-files-{version}_{kernel.version.replace(':', '%3a')}", build, progress)


def _extract(deb: Path, name: str, places: tuple[Path, ...], target: Path) -> None:
    """Out of the archive in the package, without ever having either unpacked on disk."""
    members = [f"{name}/{place}" for place in places]
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as package:
        inner = ["tar", "-xO", f"./usr/src/{name}.tar.xz"]
        with subprocess.Popen(inner, stdin=package.stdout, stdout=subprocess.PIPE) as archive:
            assert package.stdout
            package.stdout.close()  # so that the first tar's end is noticed by dpkg-deb
            outer = ["tar", "-xJ", "-C", str(target), "--strip-components=1", "--no-same-owner", *members]
            result = subprocess.run(outer, stdin=archive.stdout, capture_output=True, text=True)
    missing = [str(place) for place in places if not (target / place).exists()]
    if missing:
        raise BedError(f"{deb.name} does not hold {', '.join(missing)}: {result.stderr.strip()[-200:]}",
                       "the package is made differently from Debian 12's")
