"""Debian packages for one use: downloaded, unpacked as a whole, and thrown away."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from lab.qemu.cache import Cache, Lock, disk_full
from lab.qemu.errors import BedError
from lab.qemu.apt import last_line
from lab.qemu.packages import Package, PackageStore, find_deb

Progress = Callable[[str, float | None], None]

# What was handed out stays in the cache until this process ends.
_held: list[Lock] = []


def silent(_phase: str, _seconds: float | None) -> None:
    pass


def obtain(cache: Cache, name: str, build: Callable[[Path], None], progress: Progress, kind: str = "packages") -> Path:
    """An entry of the cache, built when it is not there yet; kept from eviction while this process lives."""

    def waiting() -> None:
        progress("wait for another run that builds the same", None)

    path, lock, built = cache.obtain(kind, name, build, waiting)
    _held.append(lock)
    if built:
        cache.evict()
    return path


def kernel_package(store: PackageStore) -> Package:
    """The package of the kernel that the guest runs: the bed's own choice."""
    wanted, packages = store.standard()
    return packages[wanted.kernel]


def download(store: PackageStore, packages: Iterable[Package], folder: Path) -> list[Path]:
    """The packages' files, for the store's architecture, their content checked against apt's lists. Raises BedError."""
    packages = list(packages)
    if shutil.disk_usage(folder).free < sum(package.size for package in packages) * 2:
        raise BedError(*disk_full(folder))
    names = [f"{package.name}={package.version}" for package in packages]
    # As root apt would first try to become the user _apt, who may not write here.
    result = store.ask(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *names], cwd=folder)
    if result.returncode != 0:
        raise BedError(
            f"packages could not be downloaded: {last_line(result.stderr)}",
            "check the network and proxy settings, then run `sudo apt-get update`",
        )
    return [find_deb(package, folder) for package in packages]


def unpack(deb: Path, target: Path) -> None:
    """`dpkg -x`, whole."""
    result = subprocess.run(["dpkg-deb", "-x", str(deb), str(target)], capture_output=True, text=True)
    if "No space left" in result.stderr:
        raise BedError(*disk_full(target))
    if result.returncode != 0:
        raise BedError(f"{deb.name} cannot be unpacked: {last_line(result.stderr)}", "run the command again")
