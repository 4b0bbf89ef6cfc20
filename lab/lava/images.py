"""What a LAVA job boots: Xen, dom0's kernel and initramfs, and a disk with the suite and the guest. No host speaks to
this dom0: it runs the suite by itself (lab/lava/dom0)."""
from __future__ import annotations

import shutil
from pathlib import Path

from lab.qemu.cpio import CpioWriter
from lab.qemu.images import Ingredients, build_images, make_ext2

SCRIPT = Path(__file__).with_name("dom0")
IMAGES = ("xen", "dom0-kernel", "dom0-initramfs", "disk")
_INITTAB = b"::once:/sbin/displif-cts-lava\n"
_ALIGNMENT = 512


def build(parts: Ingredients, package: Path, target: Path) -> dict[str, Path]:
    """Into the empty folder `target`; the images by name. `package`: the suite as an archive (lab/package.py). Raises BedError."""
    build_images(parts, target)
    _append(target / "dom0-initramfs", {"etc/inittab": (_INITTAB, 0o644), "sbin/displif-cts-lava": (SCRIPT.read_bytes(), 0o755)})
    boot = target / "boot"
    shutil.copy(package, boot / "displif-cts.tar.gz")
    make_ext2(boot, target / "disk", "carried")
    shutil.rmtree(boot)
    return {name: target / name for name in IMAGES}


def _append(initramfs: Path, files: dict[str, tuple[bytes, int]]) -> None:
    """A second archive behind the first: Linux unpacks both, and the later file replaces the earlier."""
    with open(initramfs, "ab") as out:
        out.write(bytes(-out.tell() % _ALIGNMENT))
        archive = CpioWriter(out)
        for path, (data, mode) in files.items():
            archive.file(path, data, mode)
        archive.close()
