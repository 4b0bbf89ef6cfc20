"""apt, for this machine's architecture or for another.

Another architecture has settings and lists of its own below the cache, made from the machine's sources: nothing of the
machine is changed (`dpkg --add-architecture` would), and no root is needed.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from .cache import Cache, Lock
from .errors import BedError

# An empty list of installed packages: what is installed here is of another architecture.
FOREIGN = """\
APT::Architecture "{arch}";
APT::Architectures {{ "{arch}"; }};
Dir::State "{folder}";
Dir::State::lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
APT::Sandbox::User "root";
Acquire::Languages "none";
"""
# Debian's names, and those of the compilers and of the folders of libraries.
TRIPLETS = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
SYSTEM_LISTS = Path("/var/lib/apt/lists")


def run(command: list[str], cwd: Path | None = None, settings: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`settings`: an APT_CONFIG, read after the machine's own settings."""
    try:
        environment = {**os.environ, "LC_ALL": "C", **({"APT_CONFIG": str(settings)} if settings else {})}
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise BedError(f"{command[0]} is not installed", "the qemu bed needs Debian or a derivative") from error


def last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("W:")]
    return lines[-1].strip() if lines else "no message"


def machines_architecture() -> str:
    return subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()


def apt_stamp() -> list[object]:
    """Changes whenever `apt-get update` brought something or somebody edited apt's settings."""
    paths = [SYSTEM_LISTS, Path("/var/lib/dpkg/arch"), Path("/etc/apt")]
    paths += [Path("/etc/apt") / name for name in ("sources.list", "sources.list.d", "preferences", "preferences.d")]
    return [[str(p), p.stat().st_mtime_ns] for p in paths if p.exists()]


def settings_for(cache: Cache, arch: str, progress: Callable[[str, float | None], None]) -> Path | None:
    """The settings under which apt knows `arch`: none for the machine's own. Fetches lists when they are missing, or
    older than the machine's."""
    if arch == machines_architecture():
        return None
    folder = cache.root / f"apt-{arch}"
    (folder / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (folder / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    settings, fetched = folder / "apt.conf", folder / "fetched"
    with Lock(folder):
        (folder / "status").touch()
        settings.write_text(FOREIGN.format(arch=arch, folder=folder))
        if not fetched.exists() or fetched.read_text() != str(apt_stamp()):
            progress(f"fetch apt's lists for {arch}", None)
            result = run(["apt-get", "-q", "update"], settings=settings)
            if result.returncode != 0 or not list((folder / "lists").glob("*_Packages*")):
                raise BedError(f"apt's lists for {arch} could not be fetched: {last_line(result.stderr)}",
                               f"/etc/apt/sources.list must name a Debian release that has {arch}")
            fetched.write_text(str(apt_stamp()))
    return settings
