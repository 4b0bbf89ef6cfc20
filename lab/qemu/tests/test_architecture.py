"""The architectures' descriptions, as far as they can be wrong without a machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.qemu.apt import TRIPLETS
from lab.qemu.architecture import AMD64, ARCHITECTURES, ARM64, Architecture
from lab.qemu.binaries import BUILD_ID_NOTE, build_id
from lab.qemu.errors import BedError
from lab.qemu.images import GUEST_CONFIG


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
def test_names_and_places(architecture: Architecture) -> None:
    assert architecture.triplet == TRIPLETS[architecture.name]
    assert architecture.library_target("libc.so.6") == f"lib/{architecture.triplet}/libc.so.6"
    assert architecture.library_target(Path(architecture.linker).name) == architecture.linker
    assert GUEST_CONFIG.format(type=architecture.guest_type, more=architecture.guest_config, cmdline="", memory=1, frames=1).count("type =") == 1


def test_dom0s_words_reach_it_whole_on_arm() -> None:
    """QEMU splits a device's properties at single commas."""
    arguments = ARM64.hardware.boot("xen words", "console=hvc0 a=b,c")
    assert "guest-loader,addr=0x50000000,kernel=dom0-kernel,bootargs=console=hvc0 a=b,,c" in arguments
    assert arguments[arguments.index("-append") + 1] == "xen words"


def test_images_of_the_other_architecture_are_refused(tmp_path: Path) -> None:
    arm, x86 = tmp_path / "arm", tmp_path / "x86"
    arm.write_bytes(bytes(56) + b"ARM\x64" + bytes(600))
    x86.write_bytes(b"\x7fELF" + bytes(600))
    assert ARM64.unpack_kernel(arm) == ARM64.unpack_xen(arm) == arm.read_bytes()
    for unpack in (ARM64.unpack_kernel, ARM64.unpack_xen):
        with pytest.raises(BedError, match="for arm64"):
            unpack(x86)
    for unpack in (AMD64.unpack_kernel, AMD64.unpack_xen):
        with pytest.raises(BedError):
            unpack(arm)


def test_the_build_id_of_an_image_that_is_no_elf(tmp_path: Path) -> None:
    image = tmp_path / "xen"
    image.write_bytes(bytes(100) + BUILD_ID_NOTE + bytes(range(20)) + bytes(8))
    assert build_id(image) == bytes(range(20)).hex()
    image.write_bytes(bytes(200))
    assert build_id(image) == ""
