"""Debian's packages, found by apt, downloaded and unpacked into the cache: never installed, and no root needed.

No version is written down here: the kernel comes by `linux-image-ARCH`, Xen by `xen-system-ARCH`, their libraries by
the packages' own dependencies.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from .apt import apt_stamp, last_line, run, settings_for
from .cache import Cache, Lock, disk_full, file_hash
from .errors import BedError

# Most of the kernel package is drivers for hardware that no bed has: 300 MB that need not be kept.
NOT_UNPACKED = (
    "*/kernel/sound/*",
    "*/kernel/drivers/net/*",
    "*/kernel/drivers/media/*",
    "*/kernel/drivers/gpu/drm/amd/*",
    "*/kernel/drivers/gpu/drm/nouveau/*",
    "*/kernel/drivers/gpu/drm/i915/*",
    "*/kernel/drivers/gpu/drm/radeon/*",
    "*/kernel/drivers/infiniband/*",
    "*/kernel/drivers/scsi/*",
    "*/kernel/drivers/staging/*",
    "*/kernel/net/*",
    "*/usr/share/doc/*",
    "*/usr/share/man/*",
    "*/usr/share/locale/*",
)


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    sha256: str
    size: int

    @property
    def directory(self) -> str:
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.sha256[:16]}"


@dataclass(frozen=True)
class Wanted:
    """Package names for one architecture: the current kernel and hypervisor, and the tools with their libraries."""

    kernel: str
    hypervisor: str
    tools: tuple[str, ...]


def parse_depends(text: str) -> dict[str, list[str]]:
    """`apt-cache depends --recurse` as package -> what it depends on."""
    graph: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        if line and not line[0].isspace():
            current = graph.setdefault(line.strip(), [])
        elif match := re.match(r"\s*\|?(?:Pre)?Depends: ([^<\s]+)$", line):
            current.append(match.group(1).split(":")[0])
    return graph


def choose(graph: dict[str, list[str]], arch: str) -> Wanted:
    """The current kernel and Xen, and all libraries below Xen's tools."""

    def current(root: str, pattern: str) -> str:
        found = [name for name in graph.get(root, []) if re.fullmatch(pattern, name)]
        if not found:
            raise BedError(
                f"apt does not know what {root} depends on",
                "run `sudo apt-get update`; /etc/apt/sources.list must name a Debian release with its main section",
            )
        return found[-1]

    kernel = current(f"linux-image-{arch}", r"linux-image-\d.*")
    hypervisor = current(f"xen-system-{arch}", rf"xen-hypervisor-\d.*-{arch}")
    utils = current(f"xen-system-{arch}", r"xen-utils-\d.*")
    tools = [utils, "xenstore-utils", "busybox-static"]
    for name in tools:  # grows while it is walked: the libraries' libraries too
        tools += [d for d in graph.get(name, []) if d.startswith(("lib", "zlib")) and d not in tools]
    return Wanted(kernel, hypervisor, tuple(tools))


def parse_uris(text: str) -> list[Package]:
    """`apt-get --print-uris download`: 'URI' NAME_VERSION_ARCH.deb SIZE SHA256:HASH."""
    packages = []
    for line in text.splitlines():
        match = re.match(r"'[^']+' (\S+)_(\S+)_[a-z0-9]+\.deb (\d+) SHA256:([0-9a-f]{64})$", line)
        if match:
            name, version, size, sha256 = match.groups()
            packages.append(Package(name, version.replace("%3a", ":"), sha256, int(size)))
    return packages


class PackageStore:
    def __init__(self, cache: Cache, arch: str, progress: Callable[[str, float | None], None]) -> None:
        self._cache = cache
        self._arch = arch
        self._progress = progress
        self._held: list[Lock] = []

    @property
    def arch(self) -> str:
        return self._arch

    @cached_property
    def _settings(self) -> Path | None:
        return settings_for(self._cache, self._arch, self._progress)

    def ask(self, command: list[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """One of apt's programs, for the packages of this architecture."""
        return run(command, cwd, self._settings)

    def standard(self) -> tuple[Wanted, dict[str, Package]]:
        """What a bed is made of. Asks apt only when its lists or settings changed since the last time."""
        index = self._cache.root / f"resolution-{self._arch}.json"
        stamp = apt_stamp()
        try:
            saved = json.loads(index.read_text())
            if saved["stamp"] == stamp:
                wanted = Wanted(**{**saved["wanted"], "tools": tuple(saved["wanted"]["tools"])})
                return wanted, {p["name"]: Package(**p) for p in saved["packages"]}
        except (OSError, ValueError, KeyError, TypeError):
            pass
        wanted = choose(self._graph(), self._arch)
        packages = self.find([wanted.kernel, wanted.hypervisor, *wanted.tools])
        text = json.dumps(
            {"stamp": stamp, "wanted": asdict(wanted), "packages": [asdict(p) for p in packages.values()]}, indent=1
        )
        temporary = index.with_suffix(f".{os.getpid()}")
        temporary.write_text(text)
        os.replace(temporary, index)
        return wanted, packages

    def find(self, names: Iterable[str], version: str | None = None) -> dict[str, Package]:
        """Version, size and hash of each package, from apt's lists: the candidate, or all of one `version`."""
        names = list(names)
        wanted = [f"{name}={version}" for name in names] if version else names
        result = self.ask(["apt-get", "--print-uris", "download", *wanted])
        packages = {p.name: p for p in parse_uris(result.stdout)}
        missing = [n for n in names if n not in packages]
        if result.returncode != 0 or missing:
            raise BedError(
                f"apt does not know the packages {' '.join(missing or wanted)}: {last_line(result.stderr)}",
                "run `sudo apt-get update`",
            )
        return packages

    def close(self) -> None:
        for lock in self._held:
            lock.release()
        self._held.clear()

    def unpack(self, packages: Iterable[Package]) -> dict[str, Path]:
        """Directories with the packages' contents, by name. Downloads what the cache lacks, all in one go."""
        packages = list(packages)
        missing = [p for p in packages if not self._cache.entry("packages", p.directory).exists()]
        if not missing:
            return {p.name: self._obtain(p, None) for p in packages}
        with self._cache.temporary("download") as work:
            self._download(missing, work)
            return {p.name: self._obtain(p, work) for p in packages}

    def _obtain(self, package: Package, downloads: Path | None) -> Path:
        def build(target: Path) -> None:
            nonlocal downloads
            if downloads is None:  # evicted by another run between the look and the use
                downloads = target.parent
                self._download([package], downloads)
            unpack_deb(find_deb(package, downloads), target)

        path, lock, _ = self._cache.obtain("packages", package.directory, build)
        self._held.append(lock)
        return path

    def _download(self, packages: list[Package], directory: Path) -> None:
        if shutil.disk_usage(directory).free < sum(p.size for p in packages) * 8:
            raise BedError(*disk_full(self._cache.root))
        total = sum(p.size for p in packages) >> 20
        self._progress(f"download {len(packages)} packages ({total} MB)", None)
        names = [f"{p.name}={p.version}" for p in packages]
        # As root apt would first try to become the user _apt, who may not write here.
        result = self.ask(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *names], cwd=directory)
        if result.returncode != 0:
            raise BedError(
                f"packages could not be downloaded: {last_line(result.stderr)}",
                "check the network and proxy settings, then run `sudo apt-get update`",
            )

    def _graph(self) -> dict[str, list[str]]:
        roots = [f"linux-image-{self._arch}", f"xen-system-{self._arch}", "xenstore-utils", "busybox-static"]
        no = ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"]
        options = [f"--no-{kind}" for kind in no]
        result = self.ask(["apt-cache", "depends", "--recurse", *options, *roots])
        if result.returncode != 0:
            raise BedError(
                f"apt does not know the packages that the bed is made of: {last_line(result.stderr)}",
                "run `sudo apt-get update`",
            )
        return parse_depends(result.stdout)


def unpack_deb(deb: Path, target: Path) -> None:
    """`dpkg -x`, less what no bed uses."""
    target.mkdir()
    excludes = [f"--exclude={pattern}" for pattern in NOT_UNPACKED]
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as source:
        tar = ["tar", "-x", "-C", str(target), "--no-same-owner", *excludes]
        result = subprocess.run(tar, stdin=source.stdout, stderr=subprocess.PIPE, text=True)
    if "No space left" in result.stderr:
        raise BedError(*disk_full(target.parent))
    if result.returncode != 0 or source.returncode != 0:
        raise BedError(f"{deb.name} cannot be unpacked: {last_line(result.stderr)}", "run the command again")


def find_deb(package: Package, directory: Path) -> Path:
    for deb in directory.glob(f"{package.name}_*.deb"):
        if file_hash(deb) == package.sha256:
            return deb
    raise BedError(
        f"the downloaded {package.name} is not the file that apt's lists describe", "run `sudo apt-get update`"
    )
