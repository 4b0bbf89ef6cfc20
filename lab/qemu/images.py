"""The initramfs images of dom0 and the guest, and the boot files beside them, out of unpacked packages."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from .architecture import AMD64, Architecture
from .binaries import ELF, ModuleTree, module_name, needed_libraries
from .cache import file_hash
from .cpio import CpioWriter
from .errors import BedError
from .machine import Shape

HERE = Path(__file__).resolve().parent
INIT_SCRIPTS = {name: HERE / "init" / name for name in ("dom0", "dom0.inittab", "agent-start", "guest")}

# Sparse. Holds the carried set, and while a template is made the guest's unpacked kernel.
DISK_BYTES = 256 << 20

# 64 grant frames are 32,768 references: four 3840x2160 buffers.
GRANT_FRAMES = 64
# xen-gntalloc stops at 1,024 pages by default.
GNTALLOC = {"xen_gntalloc": "limit=65536"}

# ext4 also serves the carried disk's ext2; it wants a crc32c, which Debian builds as a module.
DOM0_MODULES = [
    "xen-evtchn", "xen-gntdev", "xen-gntalloc", "xen-privcmd", "xenfs",
    "crc32c_generic", "ext4",
]  # fmt: skip
# Of a display device in dom0; no console on it, for the backend under test has it to itself.
DISPLAY_MODULES = ["bochs"]
DISPLAY_PARAMETERS = {"drm_kms_helper": "fbdev_emulation=0"}
# What drivers under test rest on. The driver itself is loaded in the template's second stage.
GUEST_MODULES = ["xen-evtchn", "xen-gntdev", "xen-gntalloc", "xenfs", "drm", "drm_kms_helper"]
GUEST_OPTIONAL_MODULES = ["drm_shmem_helper", "drm_dma_helper", "drm_gem_cma_helper", "vgem"]
# The driver as the guest's kernel has it, and what it loads on top of the above.
DRIVER_MODULES = ["xen-front-pgdir-shbuf", "drm_xen_front"]

# Debian keeps Xen's programs in /usr/lib/xen-VERSION/bin behind a wrapper; one's own build in .../sbin.
XEN_PROGRAMS = ["xenstored", "xen-init-dom0", "xenconsoled", "xl"]
XEN_HELPERS = ["lsevtchn", "xenstore-ls", "xenstore-read", "xenstore-write", "xenstore-rm", "xenstore-list"]

GUEST_CONFIG = """\
name = "guest"
type = "{type}"
kernel = "/carried/guest-kernel"
ramdisk = "/carried/guest-initramfs"
cmdline = "{cmdline}"
memory = {memory}
vcpus = 1
max_grant_frames = {frames}
{more}# Whatever happens to the guest, its domain stays to be looked at.
on_crash = "preserve"
on_poweroff = "preserve"
on_reboot = "preserve"
on_watchdog = "preserve"
"""
GUEST_MEMORY_MB = 320
# panic=0: a panicked PV guest tells Xen that it crashed, and does not start again.
# What only costs time under emulation is left out; how memory is handed out is as Debian has it.
GUEST_CMDLINE = (
    "console=hvc0 rdinit=/init ignore_loglevel panic=0 mitigations=off lsm= audit=0 psi=0 noautogroup "
    "cryptomgr.notests=1"
)
# Poisoned and red-zoned slabs: overruns and uses after free show in Debian's own kernel, which has no KASAN.
PARANOID_CMDLINE = "slub_debug=FZPU page_poison=1"
XL_CONFIG = 'autoballoon="off"\nlockfile="/run/lock/xl"\n'


@dataclass
class Ingredients:
    """Everything that goes into a machine. Two equal `description`s make interchangeable templates."""

    xen_image: Path
    dom0_kernel: Path
    dom0_modules: ModuleTree
    guest_kernel: Path
    guest_modules: ModuleTree
    busybox: Path
    xen_trees: list[Path]  # where Xen's programs and libraries are looked for, first match wins
    library_trees: list[Path]
    programs: Path
    paranoid: bool = False
    shape: Shape = Shape()
    architecture: Architecture = AMD64
    dom0_more: tuple[str, ...] = ()  # modules that dom0 loads beside its own
    _files: dict[str, Path] = field(default_factory=dict)

    def program(self, name: str) -> Path:
        return require_file(self.programs / name, "build the programs first")

    def description(self) -> dict[str, object]:
        """Hashes of all contents, by what they are."""
        files = {"xen": self.xen_image, "dom0": self.dom0_kernel, "guest": self.guest_kernel, "busybox": self.busybox}
        files |= {f"init {name}": path for name, path in INIT_SCRIPTS.items()}
        files |= {name: self.program(name) for name in ("displif-cts-agent", "displif-cts-exerciser")}
        files |= {"images.py": Path(__file__), "architecture.py": HERE / "architecture.py"}
        modules = {
            **{f"dom0 {name}": self.dom0_modules.path(name) for name in self.dom0_order()},
            **{f"guest {name}": self.guest_modules.path(name) for name in self.guest_order() + self.stock_driver()},
        }
        tools = {f"dom0 {target}": path for target, path in self.dom0_programs().items()}
        hashes = {what: file_hash(path) for what, path in {**files, **modules, **tools}.items()}
        return {"files": hashes, "paranoid": self.paranoid}

    def dom0_order(self) -> list[str]:
        return self.dom0_modules.load_order(DOM0_MODULES + list(self.architecture.dom0_modules) + (DISPLAY_MODULES if self.shape.display else [])
                                           + list(self.dom0_more))

    def guest_order(self) -> list[str]:
        required = self.guest_modules.load_order(GUEST_MODULES)
        optional = self.guest_modules.load_order(GUEST_OPTIONAL_MODULES, optional=True)
        return required + [name for name in optional if name not in required]

    def stock_driver(self) -> list[str]:
        """The driver modules that the guest's kernel brings along; a kernel without them needs --module."""
        return [name for name in DRIVER_MODULES if self.guest_modules.has(name)]

    def dom0_programs(self) -> dict[str, Path]:
        """Xen's programs and every library that they or the agent need: path in dom0 -> file here."""
        if self._files:
            return self._files
        xen_files = files_below(self.xen_trees)
        programs = {}
        for name in XEN_PROGRAMS + XEN_HELPERS:
            path = find_program(xen_files, name, optional=name in XEN_HELPERS)
            if path:
                programs[f"sbin/{name}"] = path
        files = xen_files + files_below([tree for tree in self.library_trees if tree not in self.xen_trees])
        libraries = collect_libraries([*programs.values(), self.program("displif-cts-agent")], files, self.architecture)
        self._files = programs | libraries
        return self._files


def require_file(path: Path, hint: str) -> Path:
    if not path.is_file():
        raise BedError(f"{path} does not exist", hint)
    return path


def find_program(files: list[Path], name: str, optional: bool = False) -> Path | None:
    for path in files:
        # Debian's /usr/sbin/NAME is a link to a shell wrapper; the program is in /usr/lib/xen-VERSION/bin.
        if path.name == name and path.parent.name in ("bin", "sbin") and is_elf(path):
            return path
    if optional:
        return None
    raise BedError(f"Xen's program {name} is nowhere", "--xen-tools names a tree made by `make dist-tools`")


def is_elf(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(4) == ELF


def files_below(trees: list[Path]) -> list[Path]:
    """All files, tree by tree, in a fixed order."""
    found = []
    for tree in trees:
        for directory, subdirectories, names in os.walk(tree):
            subdirectories.sort()
            found += [Path(directory) / name for name in sorted(names)]
    return found


def collect_libraries(programs: list[Path], files: list[Path], architecture: Architecture = AMD64) -> dict[str, Path]:
    """The closure of the programs' needs, plus every libxen*.so.N (what the carried programs may open at run time)."""
    opened = [path.name for path in files if path.name.startswith("libxen") and ".so." in path.name and is_elf(path)]
    opened.append("libgcc_s.so.1")  # glibc opens it for pthread_cancel, which libxl uses
    opened.append("libm.so.6")  # the runner's C++ runtime, which is linked statically, needs it
    chosen, missing = library_closure(programs, opened, files)
    if missing:
        raise BedError(f"the library {missing[0]} is in none of the packages", "was the program built for this Debian?")
    return {architecture.library_target(name): path for name, path in chosen.items()}


def library_closure(programs: list[Path], opened: list[str], files: list[Path]) -> tuple[dict[str, Path], list[str]]:
    """What the programs need, and what that needs, and the libraries that are `opened` at run time, by name; the first of
    `files` that bears it counts. And the names of those that none of `files` bears."""
    available: dict[str, Path] = {}
    for path in files:
        if ".so" in path.name and path.name not in available and "gconv" not in path.parts and is_elf(path):
            available[path.name] = path
    needs = needed_libraries([*programs, *available.values()])
    wanted = [*opened, *(name for program in programs for name in needs[program])]
    chosen: dict[str, Path] = {}
    missing: list[str] = []
    for name in wanted:  # grows while it is walked
        if name in available and name not in chosen:
            chosen[name] = available[name]
            wanted += needs[available[name]]
        elif name not in available and name not in missing:
            missing.append(name)
    return chosen, missing


def build_images(parts: Ingredients, directory: Path) -> None:
    """Writes xen, dom0-kernel, dom0-initramfs and disk, ready for QEMU, into `directory`.

    The guest's kernel and initramfs are on the disk, in the place of the carried set: inside dom0's initramfs they
    would cost seconds (Xen and Linux copy it several times) and RAM in every instance.
    """
    boot = directory / "boot"
    boot.mkdir()
    kernel = parts.architecture.unpack_kernel(parts.guest_kernel)
    (boot / "guest-kernel").write_bytes(kernel)
    same = parts.guest_kernel == parts.dom0_kernel
    (directory / "dom0-kernel").write_bytes(kernel if same else parts.architecture.unpack_kernel(parts.dom0_kernel))
    (directory / "xen").write_bytes(parts.architecture.unpack_xen(parts.xen_image))
    write_guest(parts, boot / "guest-initramfs")
    write_dom0(parts, directory / "dom0-initramfs")
    make_ext2(boot, directory / "disk", "boot")


def write_guest(parts: Ingredients, target: Path) -> None:
    with target.open("wb") as out:
        archive = CpioWriter(out)
        add_common(archive, parts, INIT_SCRIPTS["guest"])
        archive.copy("bin/displif-cts-exerciser", parts.program("displif-cts-exerciser"), 0o755)
        add_modules(archive, parts.guest_modules, parts.guest_order(), GNTALLOC)
        for name in parts.stock_driver():
            archive.file(stock_path(name), parts.guest_modules.data(name))
        archive.close()


def stock_path(name: str) -> str:
    """Where the guest keeps the driver that its kernel brought along."""
    return f"/lib/modules/{module_name(name)}.ko"


def write_dom0(parts: Ingredients, target: Path) -> None:
    architecture = parts.architecture
    words = [GUEST_CMDLINE, architecture.guest_command_line, PARANOID_CMDLINE if parts.paranoid else ""]
    config = GUEST_CONFIG.format(type=architecture.guest_type, more=architecture.guest_config, cmdline=" ".join(filter(None, words)), memory=GUEST_MEMORY_MB, frames=GRANT_FRAMES)
    with target.open("wb") as out:
        archive = CpioWriter(out)
        add_common(archive, parts, INIT_SCRIPTS["dom0"])
        archive.copy("etc/inittab", INIT_SCRIPTS["dom0.inittab"], 0o644)
        archive.copy("sbin/displif-cts-agent-start", INIT_SCRIPTS["agent-start"], 0o755)
        archive.copy("bin/displif-cts-agent", parts.program("displif-cts-agent"), 0o755)
        add_modules(archive, parts.dom0_modules, parts.dom0_order(), GNTALLOC | DISPLAY_PARAMETERS)
        for path, source in parts.dom0_programs().items():
            archive.copy(path, source, 0o755)
        archive.file("etc/xen/xl.conf", XL_CONFIG.encode())
        archive.file("etc/xen/guest.cfg", config.encode())
        archive.close()


def add_common(archive: CpioWriter, parts: Ingredients, init: Path) -> None:
    # The kernel opens /dev/console before /init could mount anything.
    archive.char_device("dev/console", 5, 1)
    archive.char_device("dev/null", 1, 3)
    archive.copy("bin/busybox", parts.busybox, 0o755)
    archive.copy("init", init, 0o755)
    archive.file("etc/passwd", b"root:x:0:0:root:/:/bin/sh\n")
    archive.file("etc/group", b"root:x:0:\n")


def add_modules(archive: CpioWriter, tree: ModuleTree, order: list[str], parameters: dict[str, str]) -> None:
    lines = []
    for name in order:
        archive.file(f"lib/modules/{name}.ko", tree.data(name))
        lines.append(f"/lib/modules/{name}.ko {parameters.get(name, '')}".rstrip())
    archive.file("lib/modules/load-order", ("\n".join(lines) + "\n").encode())


def blank_disk(target: Path) -> None:
    """A disk of the size that every instance's disk has: a saved machine remembers that, and nothing else of it."""
    with target.open("wb") as out:
        out.truncate(DISK_BYTES)


def make_ext2(directory: Path, target: Path, label: str) -> None:
    """A disk with an ext2 of a directory's contents, owned by root, without mounting anything."""
    blank_disk(target)
    command = ["mke2fs", "-q", "-t", "ext2", "-L", label, "-m", "0", "-b", "4096", "-O", "^resize_inode,^dir_index",
               "-E", "root_owner=0:0,lazy_itable_init=1", "-d", str(directory), str(target)]  # fmt: skip
    try:
        result = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise BedError("mke2fs is not installed", "sudo apt-get install e2fsprogs") from error
    if result.returncode != 0:
        text = result.stderr.strip().splitlines()
        raise BedError(
            f"{directory} does not become a disk image: {text[-1] if text else 'mke2fs failed'}",
            f"it has to fit into {DISK_BYTES >> 20} MiB",
        )
