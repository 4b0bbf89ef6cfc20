"""`package`: the carried set as an archive and as a Debian package, for a dom0 that has Xen's libraries and nothing else."""
from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping

import yaml

from lab.build import ROOT, build_carried
from lab.errors import INFRASTRUCTURE, Stop
from lab.peer import PEERS
from lab.progress import Progress
from lab.qemu.apt import TRIPLETS, machines_architecture
from lab.qemu.binaries import needed_libraries
from lab.qemu.cache import file_hash

PROGRAM = "displif-cts-dom0"
SCRIPTS = (PROGRAM, "displif-cts-serial")
# What is compiled or linked into the programs; each one's terms go along.
_INCLUDED = ("libgtest-dev", "nlohmann-json3-dev", "libfmt-dev", "libcli11-dev", "libxen-dev", "libdrm-dev", "nettle-dev", "libpng-dev", "zlib1g-dev",
             "libstdc++-12-dev", "libc6-dev")
_README = """displif-cts {version}: the programs that a dom0 needs to judge a display frontend or backend (xen/io/displif.h).

    bin/displif-cts-dom0 --doctor                 says what this dom0 lacks
    bin/displif-cts-dom0 --domain N               judges guest N, in which bin/displif-cts-exerciser runs
    bin/displif-cts-serial --guest-config FILE    the same, told over a line: verdicts, then the stream
    bin/displif-cts-runner list                   the cases

Xen's stable libraries and the C library are all that is needed. share/ holds requirements, peers with their expectations, and the
mandatory lists. bin/displif-cts-exerciser is linked statically with the GNU C library (LGPL), displif-cts-agent and
displif-cts-relay with Xen's libxenvchan and libxencall (LGPL): the suite's source, from which they are linked anew, is that of
commit {commit}.
"""


@dataclass(frozen=True)
class Version:
    commit: str
    seconds: int  # the commit's date; of every file in the package, so that the same commit gives the same bytes
    clean: bool

    @property
    def text(self) -> str:
        """As Debian orders them: by date, then by commit."""
        day = subprocess.run(["date", "-u", "-d", f"@{self.seconds}", "+%Y%m%d.%H%M"], capture_output=True, text=True, check=True).stdout.strip()
        return f"0~git{day}.{self.commit[:12]}" + ("" if self.clean else "+changed")


def tree_version() -> Version:
    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        return Version(git("rev-parse", "HEAD"), int(git("log", "-1", "--format=%ct")), not git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError, ValueError):
        return Version("unknown", 0, False)


def contents(carried: Path, version: Version, root: Path = Path("/")) -> dict[str, tuple[bytes, int]]:
    """Path in the package -> content and mode. `root`: where the packages lie that the programs were built with."""
    files: dict[str, tuple[bytes, int]] = {f"bin/{path.name}": (path.read_bytes(), 0o755) for path in sorted((carried / "bin").iterdir())}
    files |= {f"bin/{name}": ((ROOT / "lab" / "host" / name).read_bytes(), 0o755) for name in SCRIPTS}
    for name in ("requirements.yaml", "ambiguities.yaml", "attacks.yaml"):
        files[f"share/{name}"] = ((ROOT / "cases" / name).read_bytes(), 0o644)
    for path in sorted((ROOT / "cases" / "mandatory").iterdir()):
        files[f"share/mandatory/{path.name}"] = (path.read_bytes(), 0o644)
    for path in sorted(PEERS.glob("*.yaml")):
        if ".expectations" in path.name:
            files[f"share/peers/{path.name}"] = (path.read_bytes(), 0o644)
        else:  # the runner reads JSON
            files[f"share/peers/{path.stem}.json"] = (json.dumps(yaml.safe_load(path.read_text()), indent=1).encode() + b"\n", 0o644)
    files["share/doc/copyright"] = ((ROOT / "LICENSE").read_bytes(), 0o644)
    for package in _INCLUDED:
        files[f"share/doc/licences/{package}"] = (_terms(package, root), 0o644)
    files["README"] = (_README.format(version=version.text, commit=version.commit).encode(), 0o644)
    files["SHA256SUMS"] = ("".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, (data, _) in sorted(files.items())).encode(), 0o644)
    return files


def _terms(package: str, root: Path) -> bytes:
    # The C++ runtime is in the cross compiler's package, not in `root`; its terms are the same on every architecture.
    for folder in (root, Path("/")):
        file = folder / f"usr/share/doc/{package}/copyright"
        if file.is_file():
            return file.read_bytes()
    raise Stop(INFRASTRUCTURE, f"the licence of {package} is not there", f"sudo apt-get install --reinstall {package}")


def write_archive(files: Mapping[str, tuple[bytes, int]], version: Version, arch: str, target: Path) -> None:
    """A gzipped tar with one folder in it; the same files give the same bytes."""
    folder = f"displif-cts-{version.text}-{arch}"
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, (data, mode) in sorted(files.items()):
            header = tarfile.TarInfo(f"{folder}/{name}")
            header.size, header.mode, header.mtime = len(data), mode, version.seconds
            archive.addfile(header, io.BytesIO(data))
    with open(target, "wb") as out, gzip.GzipFile(filename="", mode="wb", fileobj=out, mtime=version.seconds) as packed:
        packed.write(plain.getvalue())


def dependencies(carried: Path) -> list[str]:
    """The Debian packages of the libraries that the programs are linked with. Their names are those of this machine's packages,
    whatever the programs' architecture."""
    needs = needed_libraries(sorted((carried / "bin").iterdir()))
    names = sorted({name for needed in needs.values() for name in needed if not name.startswith("ld-linux")})
    found = set()
    for name in names:
        for folder in (f"/usr/lib/{TRIPLETS[machines_architecture()]}", f"/lib/{TRIPLETS[machines_architecture()]}"):
            done = subprocess.run(["dpkg-query", "-S", f"{folder}/{name}"], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                found.add(done.stdout.split(":")[0])
                break
        else:
            raise Stop(INFRASTRUCTURE, f"the library {name} is in no package of this machine")
    return sorted(found)


def write_deb(files: Mapping[str, tuple[bytes, int]], version: Version, arch: str, depends: list[str], target: Path) -> None:
    """In /usr/lib/displif-cts, with the one command in /usr/sbin. Raises Stop."""
    with tempfile.TemporaryDirectory(prefix="displif-cts-deb-") as name:
        root = Path(name)
        for path, (data, mode) in files.items():
            place = root / "usr/share/doc/displif-cts/copyright" if path == "share/doc/copyright" else root / "usr/lib/displif-cts" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
            place.chmod(mode)
        (root / "usr/sbin").mkdir()
        (root / "usr/sbin" / PROGRAM).write_text(f'#!/bin/sh\nexec /usr/lib/displif-cts/bin/{PROGRAM} "$@"\n')
        (root / "usr/sbin" / PROGRAM).chmod(0o755)
        (root / "DEBIAN").mkdir()
        size = sum(len(data) for data, _ in files.values()) >> 10
        (root / "DEBIAN" / "control").write_text(
            f"Package: displif-cts\nVersion: {version.text}\nArchitecture: {arch}\nMaintainer: the displif-cts authors <nobody@localhost>\n"
            f"Installed-Size: {size}\nDepends: {', '.join(depends)}\nSection: admin\nPriority: optional\n"
            "Description: conformance tests for Xen's para-virtual display protocol\n"
            " The programs that a dom0 needs to judge a display frontend or backend.\n")
        for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
            folder.chmod(0o755)
        done = subprocess.run(["dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(root), str(target)], capture_output=True, text=True, check=False,
                              env={**os.environ, "SOURCE_DATE_EPOCH": str(version.seconds)})
        if done.returncode != 0:
            raise Stop(INFRASTRUCTURE, f"dpkg-deb: {done.stderr.strip()[-300:]}")


def command(arguments: argparse.Namespace) -> int:
    arguments.out.mkdir(parents=True, exist_ok=True)
    programs = build_carried(Progress(), arguments.arch)
    for path in make(programs.carried, arguments.arch, arguments.out, root=programs.root):
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB  sha256 {file_hash(path)}")
    return 0


def make(carried: Path, arch: str, folder: Path, deb: bool = True, root: Path = Path("/")) -> list[Path]:
    """The archive and, unless `deb` is off, the Debian package, in `folder`."""
    version = tree_version()
    files = contents(carried, version, root)
    made = [folder / f"displif-cts-{version.text}-{arch}.tar.gz"]
    write_archive(files, version, arch, made[0])
    if deb:
        made.append(folder / f"displif-cts_{version.text}_{arch}.deb")
        write_deb(files, version, arch, dependencies(carried), made[1])
    return made
