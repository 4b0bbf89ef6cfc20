"""`doctor`: what this machine has and lacks, each with what to do about it."""
from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator

from lab.build import ROOT
from lab.packages import missing, package_list

GIB = 1 << 30
DISK_WANTED = 6 * GIB  # packages, templates, build, a few runs
MEMORY_WANTED = 3 * GIB  # one instance with its template, and the compiler


@dataclass(frozen=True)
class Finding:
    ok: bool
    text: str
    hint: str = ""


def _system() -> Iterator[Finding]:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    name = release.get("PRETTY_NAME", platform.system())
    debian = release.get("ID") == "debian" and int(release.get("VERSION_ID", "0") or 0) >= 12
    yield Finding(debian, f"system {name}", "" if debian else "Debian 12 or newer is what is tested")
    machine = platform.machine()
    yield Finding(machine == "x86_64", f"machine {machine}, {os.cpu_count()} cores",
                  "" if machine == "x86_64" else "the qemu bed emulates an x86-64 machine: slow here")


def _packages() -> Iterator[Finding]:
    listed = package_list()
    for command in ("run", "test", "--driver-source"):
        try:
            lacking = missing(listed.packages(command))
        except OSError:
            yield Finding(False, "no dpkg-query", "Debian's package tools are needed")
            return
        yield Finding(not lacking, f"packages for {command}: " + (f"missing {' '.join(lacking)}" if lacking else "all there"),
                      f"sudo apt-get install --no-install-recommends {' '.join(lacking)}" if lacking else "")


def _room() -> Iterator[Finding]:
    for what, folder in (("tree", ROOT), ("cache", _cache_folder())):
        free = shutil.disk_usage(_existing(folder)).free
        yield Finding(free >= DISK_WANTED, f"{what} {folder}: {free / GIB:.1f} GiB free",
                      "" if free >= DISK_WANTED else f"{DISK_WANTED // GIB} GiB are comfortable")
        writable = os.access(_existing(folder), os.W_OK)
        if not writable:
            yield Finding(False, f"{what} {folder} cannot be written", "change its owner, or use a clone of your own")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield Finding(memory >= MEMORY_WANTED, f"memory {memory / GIB:.1f} GiB",
                  "" if memory >= MEMORY_WANTED else "use --jobs 1")


def _cache_folder() -> Path:
    from lab.qemu.cache import default_root

    return default_root()


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def findings() -> Iterator[Finding]:
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (_system, _packages, _room)
    for check in checks:
        yield from check()


def doctor() -> int:
    """0: a run can be expected to work. 3: something is in the way."""
    trouble = False
    for finding in findings():
        trouble |= not finding.ok
        print(f"{'ok  ' if finding.ok else 'BAD '} {finding.text}" + (f"\n       {finding.hint}" if finding.hint else ""))
    return 3 if trouble else 0
