"""Looks into kernels, kernel modules and ELF files: unpack, what they need, who they are."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .errors import BedError

ELF = b"\x7fELF"
BUILD_ID_NOTE = b"\4\0\0\0\x14\0\0\0\3\0\0\0GNU\0"  # elf.h: name's size, content's size, NT_GNU_BUILD_ID, name
COMPRESSIONS = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\0": "xz",
    b"BZh": "bzip2",
    b"\x5d\0\0": "lzma",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x02\x21\x4c\x18": "lz4",
}


def decompress(data: bytes, what: str) -> bytes:
    """Any compression of kernels, modules and Xen; trailing bytes are ignored, plain data comes back as it is."""
    kind = next((name for magic, name in COMPRESSIONS.items() if data.startswith(magic)), None)
    try:
        if kind is None:
            return data
        if kind == "gzip":
            return gzip.decompress(data)
        if kind in ("xz", "lzma"):
            return lzma.LZMADecompressor().decompress(data)
        if kind == "bzip2":
            return bz2.BZ2Decompressor().decompress(data)
        # Neither zstd nor lz4 is in Python's library; both tools complain about trailing bytes after writing all.
        result = subprocess.run([kind, "-dcq"], input=data, capture_output=True)
        if result.stdout:
            return result.stdout
        raise OSError(result.stderr.decode(errors="replace"))
    except FileNotFoundError as error:
        raise BedError(f"{what} is compressed with {kind}", f"sudo apt-get install {kind}") from error
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise BedError(f"{what} cannot be unpacked: {error}", "is the file damaged?") from error


def unpack_vmlinux(image: Path) -> bytes:
    """The ELF inside a bzImage, which boots seconds sooner under emulation than one that unpacks itself.

    The place of the payload: Linux Documentation/x86/boot.rst, fields setup_sects, payload_offset, payload_length.
    """
    data = read(image)
    if data[:4] == ELF:
        return data
    if data[0x202:0x206] != b"HdrS":
        unpacked = decompress(data, str(image))
        if unpacked[:4] == ELF:
            return unpacked
        raise BedError(f"{image} is no Linux kernel for x86", "name a bzImage (vmlinuz-*) or an ELF vmlinux")
    start = ((data[0x1F1] or 4) + 1) * 512 + int.from_bytes(data[0x248:0x24C], "little")
    length = int.from_bytes(data[0x24C:0x250], "little")
    return decompress(data[start : start + length], str(image))


def unpack_xen(image: Path) -> bytes:
    data = decompress(read(image), str(image))
    if data[:4] != ELF:
        raise BedError(f"{image} is no Xen that QEMU can start", "name xen.gz or the unpacked ELF, not xen.efi")
    return data


def unpack_image(image: Path, what: str) -> bytes:
    """An Arm image (Linux Documentation/arm64/booting.rst: the magic number at octet 56), which needs no unpacking of its own."""
    data = decompress(read(image), str(image))
    if data[56:60] != b"ARM\x64":
        raise BedError(f"{image} is no {what} for arm64", "name an Image (vmlinuz-*, xen-*-arm64), compressed or not")
    return data


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BedError(f"{path} cannot be read: {error.strerror}", "check the path") from error


@dataclass(frozen=True)
class ModuleInfo:
    """What a .ko says about itself in its .modinfo section."""

    name: str
    depends: tuple[str, ...]
    vermagic: str


def module_info(data: bytes, what: str) -> ModuleInfo:
    if data[:4] != ELF:
        raise BedError(f"{what} is no kernel module", "name the .ko file that the kernel's build made")
    fields = dict(re.findall(rb"\0(name|depends|vermagic)=([^\0]*)", data))
    if b"vermagic" not in fields:
        raise BedError(f"{what} is no kernel module: it has no vermagic", "name the .ko, not an object file")
    text = {key.decode(): value.decode(errors="replace") for key, value in fields.items()}
    depends = tuple(filter(None, text.get("depends", "").split(",")))
    return ModuleInfo(module_name(text.get("name") or Path(what).name), depends, text["vermagic"])


def module_name(text: str) -> str:
    """The kernel's spelling: file names use `-` and `_` as they like."""
    return text.split(".ko")[0].replace("-", "_")


class ModuleTree:
    """One kernel's modules directory (the one that holds `kernel/`)."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._files = {module_name(path.name): path for path in directory.rglob("*.ko*")}
        builtin = directory / "modules.builtin"
        lines = builtin.read_text().split() if builtin.exists() else []
        self._builtin = {module_name(Path(line).name) for line in lines}
        self._data: dict[str, bytes] = {}
        if not self._files and not self._builtin:
            raise BedError(f"{directory} holds no kernel modules", "name the directory /lib/modules/VERSION")

    @staticmethod
    def find(root: Path) -> ModuleTree:
        """`root` is the modules directory itself (lib/modules/VERSION), or a folder above with exactly one of them."""
        candidates = [root]
        if not (root / "kernel").is_dir():
            patterns = ("*/kernel", "modules/*/kernel", "lib/modules/*/kernel", "usr/lib/modules/*/kernel")
            candidates = [path.parent for pattern in patterns for path in sorted(root.glob(pattern))]
        if len(candidates) != 1:
            found = ", ".join(str(c) for c in candidates) or "none"
            raise BedError(f"{root} must hold one kernel's modules; found: {found}", "name /lib/modules/VERSION")
        return ModuleTree(candidates[0])

    def overlaid(self, files: tuple[Path, ...]) -> ModuleTree:
        """This kernel's modules, with these in the place of those that have their names, or beside them."""
        if not files:
            return self
        tree = ModuleTree(self.directory)
        tree._files.update({module_name(path.name): path for path in files})
        return tree

    @property
    def release(self) -> str:
        return self.directory.name

    def data(self, name: str) -> bytes:
        """The module itself, unpacked (insmod in an initramfs need not know compressions)."""
        name = module_name(name)
        if name not in self._data:
            path = self._files[name]
            self._data[name] = decompress(read(path), str(path))
        return self._data[name]

    def has(self, name: str) -> bool:
        return module_name(name) in self._files

    def builtin(self, name: str) -> bool:
        return module_name(name) in self._builtin

    def path(self, name: str) -> Path:
        return self._files[module_name(name)]

    def info(self, name: str) -> ModuleInfo:
        return module_info(self.data(name), str(self.path(name)))

    def load_order(self, names: list[str], optional: bool = False) -> list[str]:
        """The modules and all that they depend on, dependencies first; what is built in needs no loading."""
        order: list[str] = []

        def add(name: str) -> None:
            name = module_name(name)
            if name in order or self.builtin(name):
                return
            if not self.has(name):
                raise BedError(
                    f"the kernel {self.release} has no module {name}, which the bed needs",
                    "enable it in the kernel's configuration, or hand in --modules DIR with it",
                )
            for dependency in self.info(name).depends:
                add(dependency)
            order.append(name)

        for name in names:
            if not optional or self.has(name):
                add(name)
        return order


def build_id(path: Path) -> str:
    """The GNU build id as `readelf -n` shows it, or the note itself in an image that is no ELF; empty when the file has none."""
    data = read(path)
    if data[:4] != ELF:
        return data[found + len(BUILD_ID_NOTE) :][:20].hex() if (found := data.find(BUILD_ID_NOTE)) >= 0 else ""
    result = subprocess.run(["readelf", "-n", str(path)], capture_output=True, text=True)
    match = re.search(r"Build ID: ([0-9a-f]+)", result.stdout)
    return match.group(1) if match else ""


def elf_machine(path: Path) -> int | None:
    """For which processors a program is (elf.h, e_machine); None: it is no little-endian ELF file."""
    with path.open("rb") as file:
        head = file.read(20)
    little_endian = head.startswith(ELF) and len(head) == 20 and head[5] == 1
    return int.from_bytes(head[18:20], "little") if little_endian else None


def needed_libraries(paths: list[Path]) -> dict[Path, list[str]]:
    """What each program or library needs directly (DT_NEEDED, and the program interpreter's name)."""
    result = subprocess.run(["readelf", "-ld", *map(str, paths)], capture_output=True, text=True)
    # With one file readelf leaves the heading out.
    texts = re.split(r"^File: .*$", result.stdout, flags=re.M)[1:] if len(paths) > 1 else [result.stdout]
    found = {}
    for path, text in zip(paths, texts, strict=True):
        interpreter = [Path(p).name for p in re.findall(r"program interpreter: (.+)\]", text)]
        found[path] = re.findall(r"\(NEEDED\).*\[(.+)\]", text) + interpreter
    return found
