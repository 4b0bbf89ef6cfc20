"""Zero-copy on Arm: dma-bufs of a guest's references and references to dma-bufs, by gntdev of an auto-translated dom0."""
from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator

import pytest

from lab.build import Programs, build_carried
from lab.kernel import build_driver, stock_driver_source
from lab.kernel.dmabuf import GNTDEV_FILES, build_dmabuf_modules
from lab.kernel.source import DRIVER
from lab.progress import Progress
from lab.qemu import Bed, BedOptions
from lab.qemu.apt import machines_architecture
from lab.qemu.architecture import ARM64
from lab.qemu.binaries import module_info

CROSS = pytest.mark.skipif(machines_architecture() != "amd64", reason="a cross compiler is meant")


@CROSS
def test_gntdev_is_cross_built_unmodified_with_its_dma_bufs() -> None:
    peek, gntdev = build_dmabuf_modules("arm64")
    assert [peek.name, gntdev.name] == ["displif_dmabuf_peek.ko", "xen-gntdev.ko"]
    assert module_info(gntdev.read_bytes(), gntdev.name).vermagic.split()[0].endswith("-arm64")
    assert b"dmabuf_imp_to_refs" in gntdev.read_bytes() and b"dma_buf_export" in gntdev.read_bytes()
    assert {place.name for place in GNTDEV_FILES} == {"gntdev.c", "gntdev-common.h", "gntdev-dmabuf.c", "gntdev-dmabuf.h"}


@pytest.fixture(scope="module")
def programs() -> Programs:
    return build_carried(Progress(quiet=True), "arm64")


@pytest.fixture(scope="module")
def bed(programs: Programs) -> Iterator[Bed]:
    options = BedOptions(arch="arm64", module=list(build_driver(stock_driver_source(arch="arm64") / DRIVER, arch="arm64")),
                         dom0_modules=tuple(build_dmabuf_modules("arm64")), dom0_more=("vgem", "displif_dmabuf_peek"))
    with Bed(options, programs.bin) as bed:
        bed.prepare()
        yield bed


def start_the_guests_half(machine: Any, programs: Programs, bed: Bed) -> int:
    """displif-xen-contract in the guest, with its libraries, which that has not. Its domain's id."""
    guest = int(machine.agent.require("hello", timeout=60)["guest_domid"])
    program = programs.bin / "displif-xen-contract"
    machine.agent.require("guest.sh", timeout=60, command="mkdir -p /contract")
    libraries = {Path(target).name: path for target, path in bed.gather().dom0_programs().items() if ".so" in target}
    for name, file in {program.name: program, **libraries}.items():
        data = file.read_bytes()
        machine.agent.require("guest.put", timeout=60, payload=data, path=f"/contract/{name}", mode="755", size=len(data))
    loader = Path(ARM64.linker).name
    machine.agent.require("guest.sh", timeout=60, command=f"cd /contract && ./{loader} --library-path . ./{program.name} "
                          "--role far --peer 0 >far.log 2>&1 &")
    return guest


@CROSS
@pytest.mark.full
@pytest.mark.bed
def test_buffers_of_references_and_references_of_buffers(bed: Bed, programs: Programs) -> None:
    """The program tells what each of its tests shows. dom0's kernel has nothing to complain of."""
    with bed.instance(bed.make_disk(programs.carried)) as machine:
        guest = start_the_guests_half(machine, programs, bed)
        before = machine.agent.require("klog", timeout=60, offset="end")["next"]
        lines: list[str] = []
        status = machine.run(["/carried/bin/displif-zero-copy", str(guest)], lambda line: lines.append(line.decode()), 600)
        assert [line for line in lines if not line.startswith("ok")] == ["1..25"], lines
        assert status == 0 and len(lines) == 26
        said = [line["text"] for line in machine.agent.require("klog", timeout=60, offset=before)["lines"]]
        assert not [text for text in said if "WARNING" in text or "BUG" in text or "Call trace" in text], said
