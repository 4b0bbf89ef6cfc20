"""The peer as the user hands it in, and machines kept to look at: what was asked for is what runs, by build ids that the
running machine tells and readelf reads from the files."""
from __future__ import annotations

import gzip
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab.build import ROOT
from lab.qemu.template import XEN_BUILD_ID_COMMAND, same_build_id
from lab.run import Prepared

pytestmark = pytest.mark.bed

CASE = "frontend.bus.connected-after-backend"
SIGNATURE = b"~Module signature appended~\n"
KEPT = ":guest.module name=drm_xen_front\n:guest.hello\n" + XEN_BUILD_ID_COMMAND + "\n:quit\n"


def build_ids(file: Path) -> list[str]:
    return re.findall(r"Build ID: ([0-9a-f]+)", subprocess.run(["readelf", "-n", file], capture_output=True, text=True).stdout)


def altered(module: Path, folder: Path) -> Path:
    """The module with another build id. Its signature no longer fits and is left out (Documentation/admin-guide/
    module-signing.rst: struct module_signature, 12 octets, the last four of them the signature's length)."""
    data = bytearray(module.read_bytes())
    end = len(data) - len(SIGNATURE)
    assert data.endswith(SIGNATURE)
    del data[end - 12 - int.from_bytes(data[end - 4:end], "big"):]
    note = bytes.fromhex(build_ids(module)[0])
    data[data.index(note)] ^= 0xFF
    mine = folder / module.name
    mine.write_bytes(data)
    return mine


def command(*words: object, given: str = "") -> "subprocess.CompletedProcess[str]":
    done = subprocess.run([ROOT / "displif-cts", *map(str, words)], input=given, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def answers(text: str) -> list[dict[str, Any]]:
    """The JSON that a kept machine's shell printed."""
    found, decoder, at = [], json.JSONDecoder(), 0
    while (at := text.find("{\n", at)) >= 0:
        answer, end = decoder.raw_decode(text[at:])
        found.append(answer)
        at += end
    return found


def records(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = (folder / "stream.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["t"] == kind]


def test_a_module_handed_in_is_the_one_that_is_judged(prepared: Prepared, real_bed: Any, tmp_path: Path) -> None:
    stock = Path(real_bed.facts()["modules"]["drm_xen_front"]["file"])
    mine = altered(stock, tmp_path)
    for name, options in (("stock", []), ("mine", ["--module", mine])):
        command("run", "--case", CASE, "--out", tmp_path / name, *options)
    seen = [records(tmp_path / name, "instance")[0]["modules"]["drm_xen_front"] for name in ("stock", "mine")]
    assert seen == [build_ids(stock)[0], build_ids(mine)[0]] and seen[0] != seen[1]


def test_keep_leaves_the_cases_machine_to_look_at(prepared: Prepared, real_bed: Any, tmp_path: Path) -> None:
    done = command("run", "--case", CASE, "--keep", "--out", tmp_path / "out", given=KEPT)
    module, hello = answers(done.stdout)
    assert module["build_id"] == records(tmp_path / "out", "instance")[0]["modules"]["drm_xen_front"]
    assert hello["kernel"] == real_bed.kernel_release
    assert "AS EXPECTED" in done.stdout
    pid = re.findall(r"QEMU is process (\d+)", done.stdout)[0]
    assert not Path(f"/proc/{pid}").exists()


def test_shell_gives_a_machine_without_a_device(prepared: Prepared, real_bed: Any) -> None:
    done = command("shell", given="xenstore-list /local/domain/1/device\n" + KEPT)
    module, _ = answers(done.stdout)
    assert module["build_id"] == real_bed.facts()["modules"]["drm_xen_front"]["build_id"]
    assert "vdispl" not in done.stdout.split("{\n")[0].rsplit(":quit", 1)[1]


# ------------------------------------------------------------------ whole kernels and hypervisors of another version

def other_version(package: str, current: str) -> str | None:
    """A version of `package` that apt offers beside `current`."""
    told = subprocess.run(["apt-cache", "madison", package], capture_output=True, text=True).stdout
    versions = [line.split("|")[1].strip() for line in told.splitlines() if line.count("|") == 2]
    return next((version for version in versions if version != current), None)


def unpacked(packages: list[str], folder: Path) -> Path:
    subprocess.run(["apt-get", "download", *packages], cwd=folder, check=True, capture_output=True)
    for file in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", file, folder / "tree"], check=True)
    return folder / "tree"


def current(real_bed: Any, pattern: str) -> tuple[str, str]:
    """Name and version of the package that the bed is made from."""
    return next((p["name"], p["version"]) for p in real_bed.facts()["packages"] if re.fullmatch(pattern, p["name"]))


@pytest.mark.full
def test_a_kernel_handed_in_is_the_one_that_is_judged(prepared: Prepared, real_bed: Any, tmp_path: Path) -> None:
    _, version = current(real_bed, r"linux-image-6\..*")
    other = other_version("linux-image-amd64", version)
    if other is None:
        pytest.skip("apt offers one kernel only")
    depends = subprocess.run(["apt-cache", "show", f"linux-image-amd64={other}"], capture_output=True, text=True).stdout
    image = re.findall(r"^Depends: (linux-image-\S+)", depends, re.MULTILINE)[0]
    tree = unpacked([image], tmp_path)
    release = image.removeprefix("linux-image-")
    modules = tree / "lib" / "modules" / release
    command("run", "--case", CASE, "--out", tmp_path / "out", "--kernel", tree / "boot" / f"vmlinuz-{release}", "--modules", modules)
    env = records(tmp_path / "out", "env")[0]
    assert env["kernels"]["guest"]["release"] == release != env["kernels"]["dom0"]["release"]
    seen = records(tmp_path / "out", "instance")[0]["modules"]["drm_xen_front"]
    assert seen == build_ids(modules / "kernel/drivers/gpu/drm/xen/drm_xen_front.ko")[0]


@pytest.mark.full
def test_a_hypervisor_handed_in_is_the_one_that_runs(prepared: Prepared, real_bed: Any, tmp_path: Path) -> None:
    name, version = current(real_bed, "xen-hypervisor-.*-amd64")
    other = other_version(name, version)
    if other is None:
        pytest.skip("apt offers one hypervisor only")
    tools = [p["name"] for p in real_bed.facts()["packages"] if p["version"] == version and p["name"] != name]
    tree = unpacked([f"{package}={other}" for package in [name, *tools]], tmp_path)
    image = next((tree / "boot").glob("xen-*.gz"))
    plain = tmp_path / "xen"
    plain.write_bytes(gzip.decompress(image.read_bytes()))
    command("run", "--case", CASE, "--out", tmp_path / "out", "--xen", image, "--xen-tools", tree)
    seen = records(tmp_path / "out", "instance")[0]["xen"]
    assert same_build_id(seen, build_ids(plain)[0])
    assert not same_build_id(seen, real_bed.facts()["xen"]["build_id"])
