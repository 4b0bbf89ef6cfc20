"""The other architecture: what its options exclude, its cross build, and (full) the suite in a machine of it."""
from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lab.build import ROOT, build_carried
from lab.kernel import build_driver, stock_driver_source
from lab.kernel.download import silent
from lab.kernel.kernels import build_kernel
from lab.kernel.source import DRIVER
from lab.peers import HERE, load_expectations
from lab.progress import Progress
from lab.qemu.apt import machines_architecture
from lab.qemu.binaries import module_info
from lab.qemu.cache import Cache
from lab.qemu.packages import PackageStore
from lab.sysroot import wanted_packages
from lab.suite import load_suite

ARM = "AArch64"


def machine_of(file: Path) -> str:
    told = subprocess.run(["readelf", "-h", file], capture_output=True, text=True, check=True).stdout
    return next(line.split(":")[1].strip() for line in told.splitlines() if "Machine:" in line)


def command(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["/usr/bin/python3", "-m", "lab.cli", *words], cwd=ROOT, capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize("role", ["frontend", "backend"])
def test_loopback_has_this_machines_architecture_only(role: str) -> None:
    done = command("run", "--arch", "arm64", "--bed", "loopback", "--role", role)
    assert done.returncode == 2 and "--arch is for the qemu bed" in done.stderr


def test_what_the_build_needs_here_it_needs_there() -> None:
    assert {"libxen-dev", "libgtest-dev", "libdrm-dev", "libc6-dev"} <= set(wanted_packages())


@pytest.mark.skipif(machines_architecture() != "amd64", reason="a cross compiler is meant")
def test_the_unmodified_driver_is_cross_built_for_debians_kernel() -> None:
    (module,) = build_driver(stock_driver_source(arch="arm64") / DRIVER, arch="arm64")
    assert module_info(module.read_bytes(), module.name).vermagic.split()[0].endswith("-arm64")
    assert machine_of(module) == ARM


def test_the_table_of_both_architectures_is_that_of_the_expectations() -> None:
    """docs/arm64.md: every known deviation stands there, with the verdict that is expected on both."""
    rows = re.findall(r"^\| (frontend\.\S+) \| (\w+) \| (\w+) \|$", (ROOT / "docs" / "arm64.md").read_text(), re.MULTILINE)
    bad = {name: here for name, here, there in rows if here == there and here != "skip"}
    known = [entry for entry in load_expectations(HERE / "linux-drm-xen-front.expectations.yaml")
             if not entry.get("flaky_rate") and "debug-guest" not in entry["versions"]]
    assert {str(entry["case"]) for entry in known} == set(bad)
    assert all(any(entry["case"] == name and entry["verdict"] == verdict for entry in known) for name, verdict in bad.items())
    here_only = {name for name, here, there in rows if here != there}
    assert here_only == {"frontend.be-alloc.contents"}


@pytest.mark.full
@pytest.mark.skipif(machines_architecture() != "amd64", reason="a cross compiler is meant")
def test_the_carried_set_is_cross_built_and_lists_the_same_cases() -> None:
    here, there = build_carried(Progress(quiet=True)), build_carried(Progress(quiet=True), "arm64")
    assert {machine_of(program) for program in there.bin.iterdir()} == {ARM}
    assert load_suite(there.lister, "frontend") == load_suite(here.lister, "frontend")


@pytest.mark.full
@pytest.mark.bed
def test_a_package_for_arm64_is_for_arm64(tmp_path: Path) -> None:
    assert command("package", "--arch", "arm64", "--out", str(tmp_path)).returncode == 0
    (deb,) = tmp_path.glob("*_arm64.deb")
    subprocess.run(["dpkg-deb", "-x", deb, tmp_path / "tree"], check=True)
    assert machine_of(tmp_path / "tree/usr/lib/displif-cts/bin/displif-cts-runner") == ARM
    told = subprocess.run(["dpkg-deb", "--field", deb, "Architecture", "Depends"], capture_output=True, text=True, check=True).stdout
    assert "Architecture: arm64" in told and "libxenstore4" in told and "libc6" in told


@pytest.mark.full
@pytest.mark.bed
def test_the_suite_in_a_machine_of_arm64(tmp_path: Path) -> None:
    """And the guest's drawing in the backend's own pages, which a PV guest cannot do."""
    done = command("run", "--arch", "arm64", "--case", "frontend.bus.stays-initialising", "--case", "frontend.be-alloc.contents", "--out", str(tmp_path / "run"))
    assert done.returncode == 0 and "2 verdicts: 2 pass" in done.stdout, done.stdout + done.stderr
    assert "qemu bed, arm64 pvh guest" in done.stdout


@pytest.mark.full
@pytest.mark.bed
def test_another_hypervisor_of_arm64_is_the_one_that_runs(tmp_path: Path) -> None:
    store = PackageStore(Cache(), "arm64", silent)
    wanted, packages = store.standard()
    current = packages[wanted.hypervisor].version
    told = store.ask(["apt-cache", "madison", wanted.hypervisor]).stdout
    other = next((version for version in re.findall(r"\| *(\S+) *\|", told) if version != current), None)
    if other is None:
        pytest.skip("apt offers one hypervisor only")
    names = [name for name, package in packages.items() if package.version == current]
    for tree in store.unpack(store.find(names, other).values()).values():
        shutil.copytree(tree, tmp_path / "tree", symlinks=True, dirs_exist_ok=True)
    image = next((tmp_path / "tree" / "boot").glob("xen-4*-arm64"))
    done = command("run", "--arch", "arm64", "--xen", str(image), "--xen-tools", str(tmp_path / "tree"), "--case",
                   "frontend.bus.stays-initialising", "--out", str(tmp_path / "run"))
    assert done.returncode == 0 and "qemu bed, arm64 pvh guest" in done.stdout, done.stdout + done.stderr
    seen = next(record["xen"] for line in (tmp_path / "run" / "stream.jsonl").read_text().splitlines()
                if (record := json.loads(line))["t"] == "instance")
    plain = tmp_path / "xen"
    plain.write_bytes(gzip.decompress(image.read_bytes()) if image.read_bytes().startswith(b"\x1f\x8b") else image.read_bytes())
    assert seen and bytes.fromhex(seen) in plain.read_bytes(), "the build id is that image's"


@pytest.mark.full
@pytest.mark.bed
def test_kasan_judges_the_driver(tmp_path: Path) -> None:
    kernel = build_kernel("kasan-guest", "arm64")
    done = command("run", "--arch", "arm64", "--kernel", str(kernel.image), "--modules", str(kernel.modules), "--again", "0",
                   "--case", "frontend.dbuf-create.extreme-geometry.overflow-to-zero", "--out", str(tmp_path))
    assert done.returncode == 0 and "1 verdicts: 1 crash (1 known deviations)" in done.stdout, done.stdout + done.stderr
    assert "BUG: KASAN: null-ptr-deref in xen_front_pgdir_shbuf_get_dir_start" in (tmp_path / "stream.jsonl").read_text()
