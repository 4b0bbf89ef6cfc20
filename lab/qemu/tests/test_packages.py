"""Which packages: found from apt's words, for Debian 12 and for a release that nobody here has seen."""

import subprocess

import pytest

from lab.qemu.cache import Cache
from lab.qemu.errors import BedError
from lab.qemu import packages
from lab.qemu.packages import Package, PackageStore, choose, parse_depends, parse_uris

BOOKWORM = """\
linux-image-amd64
  Depends: linux-image-6.1.0-56-amd64
linux-image-6.1.0-56-amd64
  Depends: kmod
 |Depends: linux-initramfs-tool
  Depends: <linux-initramfs-tool>
    dracut
xen-system-amd64
  Depends: xen-hypervisor-4.17-amd64
  Depends: xen-hypervisor-common
  Depends: xen-utils-4.17
xen-utils-4.17
  Depends: libc6
  Depends: libxenmisc4.17
  Depends: <python3:any>
    python3
  Depends: xen-utils-common
libxenmisc4.17
  Depends: libc6
  Depends: zlib1g
libc6
  Depends: libgcc-s1
xenstore-utils
  Depends: libxenstore4
"""
NEWER = BOOKWORM.replace("4.17", "4.21").replace("6.1.0-56", "7.0.4+deb14").replace("libc6", "libc6t64")


def test_bookworm():
    wanted = choose(parse_depends(BOOKWORM), "amd64")
    assert wanted.kernel == "linux-image-6.1.0-56-amd64"
    assert wanted.hypervisor == "xen-hypervisor-4.17-amd64"
    assert set(wanted.tools) == {
        "xen-utils-4.17", "xenstore-utils", "busybox-static",
        "libc6", "libgcc-s1", "libxenmisc4.17", "zlib1g", "libxenstore4",
    }  # fmt: skip


def test_newer_release():
    wanted = choose(parse_depends(NEWER), "amd64")
    assert wanted.kernel == "linux-image-7.0.4+deb14-amd64"
    assert wanted.hypervisor == "xen-hypervisor-4.21-amd64"
    assert "xen-utils-4.21" in wanted.tools and "libc6t64" in wanted.tools


@pytest.mark.parametrize("text", ["", "linux-image-amd64\n", BOOKWORM.replace("xen-system-amd64\n", "other\n")])
def test_lists_missing(text):
    with pytest.raises(BedError) as error:
        choose(parse_depends(text), "amd64")
    assert "sudo apt-get update" in error.value.hint


def test_uris():
    line = (
        "'http://mirror/pool/main/b/busybox/busybox-static_1.35.0-4%2bdeb12u1%2bb1_amd64.deb' "
        f"busybox-static_1%3a1.35.0-4+deb12u1+b1_amd64.deb 928188 SHA256:{'ab' * 32}"
    )
    (package,) = parse_uris(line + "\nsomething else\n")
    assert package == Package("busybox-static", "1:1.35.0-4+deb12u1+b1", "ab" * 32, 928188)
    assert "/" not in package.directory


def answer(monkeypatch, stdout="", stderr="", status=0):
    calls = []

    def run(command, cwd=None, settings=None):
        calls.append(command)
        return subprocess.CompletedProcess(command, status, stdout, stderr)

    monkeypatch.setattr(packages, "run", run)
    return calls


def test_apt_without_lists(monkeypatch, tmp_path):
    answer(monkeypatch, stderr="E: No packages found\n", status=100)
    with pytest.raises(BedError) as error:
        PackageStore(Cache(tmp_path), "amd64", lambda *_: None).standard()
    assert "No packages found" in error.value.message
    assert error.value.hint == "run `sudo apt-get update`"


def test_download_that_fails(monkeypatch, tmp_path):
    answer(monkeypatch, stderr="W: something\nE: Unable to connect\n", status=100)
    with pytest.raises(BedError) as error:
        PackageStore(Cache(tmp_path), "amd64", lambda *_: None).unpack([Package("p", "1", "0" * 64, 10)])
    assert "Unable to connect" in error.value.message
    assert not list((tmp_path / "tmp").iterdir())


def test_apt_is_asked_once(monkeypatch, tmp_path):
    wanted = choose(parse_depends(BOOKWORM), "amd64")
    names = (*wanted.tools, wanted.kernel, wanted.hypervisor)
    uris = "".join(f"'u' {name}_1_amd64.deb 1 SHA256:{'0' * 64}\n" for name in names)
    calls = answer(monkeypatch, stdout=BOOKWORM + uris)
    store = PackageStore(Cache(tmp_path), "amd64", lambda *_: None)
    assert store.standard() == store.standard()
    assert len(calls) == 2
    monkeypatch.setattr(packages, "apt_stamp", lambda: ["changed"])
    store.standard()
    assert len(calls) == 4
