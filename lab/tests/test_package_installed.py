"""The Debian package on a bare Debian: apt resolves what it depends on, its programs start, nothing is left of it."""
from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Iterator

import pytest

from lab import package
from lab.build import build_carried
from lab.progress import Progress

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(os.geteuid() != 0, reason="a chroot wants root"),
    pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="mmdebstrap is not installed: no bare Debian to try on"),
]


PROXIES = ("http_proxy", "https_proxy", "no_proxy")


class Bare:
    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(["chroot", str(self.root), *words], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
                              env={**{name: os.environ[name] for name in PROXIES if name in os.environ}, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"})

    def files(self) -> set[str]:
        done = self.run("find", "/usr", "/etc", "/opt", "/srv", "-not", "-type", "d", "-not", "-path", "/usr/share/doc/*")
        return set(done.stdout.splitlines())


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    folder = tmp_path_factory.mktemp("bare")
    proxies = [f"--aptopt={line}" for line in subprocess.run(["apt-config", "dump"], capture_output=True, text=True).stdout.splitlines() if "::Proxy " in line]
    made = subprocess.run(["mmdebstrap", "--variant=apt", "--quiet", *proxies, "bookworm", str(folder / "root")], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"mmdebstrap: {made.stderr.strip().splitlines()[-1]}")
    machine = Bare(folder / "root")
    updated = machine.run("apt-get", "update")
    assert updated.returncode == 0, updated.stderr
    yield machine
    shutil.rmtree(folder / "root")


def test_it_is_installed_runs_and_goes(bare: Bare, tmp_path: Path) -> None:
    archive, deb = package.make(build_carried(Progress(quiet=True), "amd64").carried, "amd64", tmp_path)
    shutil.copy(deb, bare.root / "tmp" / "suite.deb")
    before = bare.files()

    done = bare.run("apt-get", "install", "-y", "--no-install-recommends", "/tmp/suite.deb")
    assert done.returncode == 0, done.stdout + done.stderr
    assert bare.run("dpkg", "--audit").stdout == "" and bare.run("dpkg", "--verify", "displif-cts").stdout == ""
    for program in ("runner", "agent", "relay"):
        assert bare.run(f"/usr/lib/displif-cts/bin/displif-cts-{program}", "--help").returncode == 0
    assert "frontend.bus.stays-initialising" in bare.run("/usr/lib/displif-cts/bin/displif-cts-runner", "list").stdout
    doctor = bare.run("displif-cts-dom0", "--doctor")
    assert doctor.returncode == 3 and "this is no dom0 of Xen" in doctor.stderr and "does not start" not in doctor.stderr
    assert bare.run("which", "python3").returncode != 0  # nothing pulled one in

    assert bare.run("apt-get", "purge", "-y", "displif-cts").returncode == 0
    assert bare.run("apt-get", "autoremove", "-y", "--purge").returncode == 0
    assert {path for path in bare.files() - before if "displif" in path} == set()


def test_the_archive_runs_where_nothing_but_xens_libraries_is(bare: Bare, tmp_path: Path) -> None:
    archive, = package.make(build_carried(Progress(quiet=True), "amd64").carried, "amd64", tmp_path, deb=False)
    subprocess.run(["tar", "-xzf", archive, "-C", bare.root / "opt"], check=True)
    runner, = (bare.root / "opt").glob("*/bin/displif-cts-runner")
    inside = f"/{runner.relative_to(bare.root)}"
    lacks = bare.run(inside, "list")
    assert lacks.returncode == 127 and "libxen" in lacks.stderr
    libraries = [name for name in package.dependencies(runner.parent.parent) if name.startswith("libxen")]
    assert bare.run("apt-get", "install", "-y", "--no-install-recommends", *libraries).returncode == 0
    assert bare.run(inside, "list").returncode == 0
    folder = runner.parent.parent.relative_to(bare.root)
    assert bare.run("sh", "-c", f"cd /{folder} && sha256sum --quiet -c SHA256SUMS").returncode == 0
