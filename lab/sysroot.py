"""Headers and libraries of another architecture, for the cross build: its Debian packages unpacked into one tree of the cache."""
from __future__ import annotations

import os
import re
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator

from lab.errors import INFRASTRUCTURE, Stop
from lab.packages import package_list
from lab.qemu.cache import Cache, content_key
from lab.qemu.errors import BedError
from lab.qemu.packages import Package, PackageStore, parse_depends

# The C++ runtime comes with the cross compiler.
_C_LIBRARY = "libc6-dev"
_FOLLOWED = re.compile(r"lib|zlib|linux-libc-dev|googletest")
Say = Callable[[str, "float | None"], None]


@contextmanager
def sysroot(arch: str, say: Say, cache_dir: Path | None = None) -> Iterator[Path]:
    """The tree for as long as the block lasts; the cache may evict it then. Raises Stop."""
    cache = Cache(cache_dir)
    store = PackageStore(cache, arch, say)
    try:
        packages = _packages(store)
        name = f"sysroot-{arch}_" + content_key(sorted(package.directory for package in packages))
        path, lock, built = cache.obtain("packages", name, lambda target: _unpack(store, packages, target))
    except BedError as error:
        raise Stop(INFRASTRUCTURE, error.message, error.hint) from None
    with lock:
        if built:
            cache.evict()
        yield path


def wanted_packages() -> list[str]:
    """What the build needs of libraries here, it needs of the other architecture."""
    return [*(name for name in package_list().groups["build"] if name.endswith("-dev")), _C_LIBRARY]


def _packages(store: PackageStore) -> list[Package]:
    """Those packages, and the libraries that they depend on."""
    names = wanted_packages()
    only = [f"--no-{kind}" for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")]
    graph = parse_depends(store.ask(["apt-cache", "depends", "--recurse", *only, *names]).stdout)
    for name in names:  # grows while it is walked
        names += [need for need in graph.get(name, []) if _FOLLOWED.match(need) and need in graph and need not in names]
    return list(store.find(names).values())


def _unpack(store: PackageStore, packages: list[Package], target: Path) -> None:
    from lab.kernel.download import download, unpack

    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        target.mkdir()
        for deb in download(store, packages, Path(folder)):
            unpack(deb, target)
    _make_relative(target)


def _make_relative(tree: Path) -> None:
    """Links to absolute paths, as Debian has from .so to the library in /lib, stay inside the tree."""
    for folder, _, names in os.walk(tree):
        for path in (Path(folder) / name for name in names):
            if path.is_symlink() and (aim := os.readlink(path)).startswith("/"):
                path.unlink()
                path.symlink_to(os.path.relpath(tree / aim.lstrip("/"), path.parent))
