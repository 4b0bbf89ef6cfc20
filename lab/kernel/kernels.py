"""Small kernels of the suite's own, out of Debian's source, for a guest that notices more."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from lab.errors import INFRASTRUCTURE, USAGE, Stop
from lab.process import run_grouped, tail
from lab.progress import Progress
from lab.qemu.apt import TRIPLETS, machines_architecture
from lab.qemu.cache import KERNELS, Cache, content_key, disk_full
from lab.qemu.errors import BedError
from lab.qemu.packages import Package, PackageStore

from .build import make_environment
from .download import Progress as Say
from .download import download, obtain, silent
from .source import source_package

RECIPE = 2  # to be raised when this file changes what is built
FRAGMENTS = Path(__file__).resolve().parent / "fragments"
FREE_BYTES_NEEDED = 4 << 30  # the source unpacked, and the build
PROGRAMS = ("make", "flex", "bison", "bc")
LINUX_NAMES = {"amd64": "x86_64", "arm64": "arm64"}
SOURCE_NAMES = {"amd64": "x86", "arm64": "arm64"}
IMAGES = {"amd64": Path("arch/x86/boot/bzImage"), "arm64": Path("arch/arm64/boot/Image")}


@dataclass(frozen=True)
class Edit:
    """A change to the kernel's source, of what is not under test: `after` stands once in `file`, and gets `added` behind it."""

    file: str
    after: str
    added: str
    reference: str  # the page that says why


# gntdev's locks are taken in two orders, which is reported before the first case, and lockdep ends with its first report.
UNJUDGED_GNTDEV = Edit("drivers/xen/gntdev.c", "\tmutex_init(&priv->lock);\n", "\tlockdep_set_novalidate_class(&priv->lock);\n",
                       "docs/findings/gntdev-lock-order.md")


@dataclass(frozen=True)
class Recipe:
    """A configuration is `make allnoconfig` with these fragments, an architecture's own in the place of ARCH."""

    meaning: str
    fragments: dict[str, tuple[str, ...]]  # by architecture
    edits: tuple[Edit, ...] = ()


RECIPES = {
    "debug-guest": Recipe("a guest's kernel that notices a driver's mistakes", {"amd64": ("domain", "ARCH", "guest", "debug")},
                          (UNJUDGED_GNTDEV,)),
    "kasan-guest": Recipe("a guest's kernel that checks each access to memory", {"arm64": ("domain", "ARCH", "guest", "kasan")}),
}


@dataclass(frozen=True)
class Kernel:
    folder: Path

    @property
    def image(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def modules(self) -> Path:
        """lib/modules/RELEASE, as --modules wants it."""
        return next(iter((self.folder / "lib" / "modules").iterdir()))

    @property
    def config(self) -> Path:
        return self.folder / "config"


class KernelBuildError(Stop):
    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(INFRASTRUCTURE, message, hint)


def fragment_text(recipe: Recipe, arch: str, name: str) -> str:
    """What is handed to `make allnoconfig`, the kernel's name included."""
    parts = [f'CONFIG_LOCALVERSION="-displif-{name}"\n']
    parts += [(FRAGMENTS / f"{arch if part == 'ARCH' else part}.config").read_text(encoding="utf-8") for part in recipe.fragments[arch]]
    return "".join(parts)


def settings(fragment: str) -> list[str]:
    """What a fragment says; why it does is not part of it."""
    return [line for line in fragment.splitlines() if line.startswith("CONFIG_") or line.endswith(" is not set")]


def unmet(fragment: str, config: str) -> list[str]:
    """The options of a fragment that the configuration made of it does not have so: the kernel's rules went against them."""
    told = dict(re.findall(r"^(CONFIG_\w+)=(.*)$", config, re.MULTILINE))
    wanted = re.findall(r"^(CONFIG_\w+)=(.*)$", fragment, re.MULTILINE)
    return [f"{option}={value}" for option, value in wanted if told.get(option, "n") != value]


def build_kernel(name: str, arch: str = "amd64", progress: Say = silent, cache_dir: Path | None = None) -> Kernel:
    """The kernel of that name, out of the cache when nothing changed. Raises Stop and BedError."""
    recipe = RECIPES[name]
    if arch not in recipe.fragments:
        raise Stop(USAGE, f"the kernel {name} is for {', '.join(recipe.fragments)}, not for {arch}")
    cross = "" if arch == machines_architecture() else f"{TRIPLETS[arch]}-"
    compiler = _compiler(cross)
    cache = Cache(cache_dir)
    package, version = source_package(PackageStore(cache, arch, progress))
    fragment = fragment_text(recipe, arch, name)
    edits = [f"{edit.file}\0{edit.after}\0{edit.added}" for edit in recipe.edits]
    key = content_key([RECIPE, arch, package.sha256, compiler, settings(fragment), *edits])
    logs = cache.root / "logs"

    def build(target: Path) -> None:
        if shutil.disk_usage(target.parent).free < FREE_BYTES_NEEDED:
            raise BedError(*disk_full(cache.root))
        started = time.monotonic()
        with tempfile.TemporaryDirectory(dir=target.parent) as work:
            make = _Make(Path(work), arch, cross, logs / f"kernel-{name}-{arch}.log")
            _unpack_source(package, version, PackageStore(cache, machines_architecture(), progress), make.source, progress)
            for edit in recipe.edits:
                apply_edit(edit, make.source)
            _configure(make, fragment, name)
            progress(f"build the kernel {name} for {arch}", None)
            make("-j", str(os.cpu_count() or 1), IMAGES[arch].name, "modules")
            _install(make, target)
        progress(f"build the kernel {name} for {arch}", time.monotonic() - started)

    kernel = obtain(cache, f"{name}-{arch}_{key}", build, progress, KERNELS)
    # It stays in the cache, whatever else is built there; what it replaces does not.
    for older in kernel.parent.glob(f"{name}-{arch}_*"):
        if older != kernel:
            cache.remove(older)
    return Kernel(kernel)


@dataclass(frozen=True)
class _Make:
    """The kernel's `make`, out of its source: objects lie beside that. Raises KernelBuildError."""

    work: Path
    arch: str
    cross: str
    log: Path

    @property
    def source(self) -> Path:
        return self.work / "source"

    @property
    def objects(self) -> Path:
        return self.work / "objects"

    def __call__(self, *words: str) -> None:
        self.objects.mkdir(exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        # The same source gives the same kernel.
        told = {"KBUILD_BUILD_TIMESTAMP": "1970-01-01", "KBUILD_BUILD_USER": "displif-cts", "KBUILD_BUILD_HOST": "displif-cts"}
        argv = ["make", "-s", "-C", self.source, f"O={self.objects}", f"ARCH={LINUX_NAMES[self.arch]}", f"CROSS_COMPILE={self.cross}", *words]
        with self.log.open("wb") as output:
            status = run_grouped(argv, output=output, environment={**make_environment(), **told})
        if status != 0:
            raise KernelBuildError(f"`make {' '.join(words)}` of the kernel failed (status {status}); the end of {self.log}:\n{tail(self.log)}")


def _compiler(cross: str) -> str:
    """The compiler's name and version. Raises Stop when a build program is missing."""
    for program in (*PROGRAMS, f"{cross}gcc"):
        if shutil.which(program) is None:
            raise Stop(INFRASTRUCTURE, f"building a kernel needs {program}, which is not installed",
                       f"sudo apt-get install {f'gcc-{cross[:-1]}' if program.endswith('-gcc') else program}")
    done = subprocess.run([f"{cross}gcc", "-dumpfullversion"], capture_output=True, text=True, check=False)
    return f"{cross}gcc {done.stdout.strip()}"


def _unpack_source(package: Package, version: str, store: PackageStore, target: Path, progress: Say) -> None:
    progress(f"download the kernel's source ({package.size >> 20} MB)", None)
    (deb,) = download(store, [package], target.parent)
    progress("unpack the kernel's source", None)
    target.mkdir()
    name = f"linux-source-{version}"
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as outer:
        with subprocess.Popen(["tar", "-xO", f"./usr/src/{name}.tar.xz"], stdin=outer.stdout, stdout=subprocess.PIPE) as inner:
            assert outer.stdout
            outer.stdout.close()  # so that the first tar's end is noticed by dpkg-deb
            result = subprocess.run(["tar", "-xJ", "-C", str(target), "--strip-components=1", "--no-same-owner"], stdin=inner.stdout,
                                    capture_output=True, text=True)
    deb.unlink()
    if result.returncode != 0 or not (target / "Makefile").is_file():
        raise BedError(f"{deb.name} cannot be unpacked: {result.stderr.strip()[-200:]}", "the package is made differently from Debian 12's")


def apply_edit(edit: Edit, source: Path) -> None:
    """Raises KernelBuildError when the source is not as the edit knows it."""
    file = source / edit.file
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    if text.count(edit.after) != 1:
        raise KernelBuildError(f"{edit.file} has changed: {edit.after.strip()!r} does not stand in it once", f"see {edit.reference}")
    file.write_text(text.replace(edit.after, edit.after + edit.added), encoding="utf-8")


def _configure(make: _Make, fragment: str, name: str) -> None:
    wanted = make.work / "fragment.config"
    wanted.write_text(fragment, encoding="utf-8")
    make(f"KCONFIG_ALLCONFIG={wanted}", "allnoconfig")
    missing = unmet(fragment, (make.objects / ".config").read_text(encoding="utf-8"))
    if missing:
        raise KernelBuildError(f"the kernel {name} cannot be configured as its fragments say: {', '.join(missing)}",
                               "an option has another name there, or rests on one that no fragment sets")


def _install(make: _Make, target: Path) -> None:
    """Image, configuration, modules, and beside them what a module's build needs, without links to the build's folders, which go."""
    make(f"INSTALL_MOD_PATH={target}", "INSTALL_MOD_STRIP=1", "modules_install")
    for link in (*target.glob("lib/modules/*/build"), *target.glob("lib/modules/*/source")):
        link.unlink()
    shutil.copy(make.objects / IMAGES[make.arch], target / "vmlinuz")
    shutil.copy(make.objects / ".config", target / "config")
    _keep_build_tree(make, Kernel(target).modules / "build")


def _keep_build_tree(make: _Make, build: Path) -> None:
    """What `make M=` reads, source and made files in one tree that can lie anywhere: a driver is built from its source for this kernel."""
    arch = f"arch/{SOURCE_NAMES[make.arch]}"
    unwanted = shutil.ignore_patterns("*.o", "*.cmd", "dtc", "selftests")
    for place in ("include", "scripts", f"{arch}/include"):
        for origin in (make.source, make.objects):
            shutil.copytree(origin / place, build / place, dirs_exist_ok=True, ignore=unwanted)
    files = [make.source / "Makefile", *(make.source / arch).glob("Makefile*")]
    files += [make.objects / name for name in (".config", "Module.symvers", "tools/objtool/objtool")]
    for file in files:
        root = make.source if file.is_relative_to(make.source) else make.objects
        place = build / file.relative_to(root)
        if file.is_file():  # objtool is for some architectures
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, place)


def command(arguments: argparse.Namespace) -> int:
    """`kernel NAME`: builds it, and says how to run it."""
    progress = Progress()
    try:
        kernel = build_kernel(arguments.name, arguments.arch, progress.bed)
    except BedError as error:
        raise Stop(INFRASTRUCTURE, error.message, error.hint) from None
    image, modules = kernel.image, kernel.modules
    if arguments.out is not None:
        image, modules = _copy(kernel, arguments.out)
    print(f"--kernel {image} --modules {modules}")
    return 0


def _copy(kernel: Kernel, out: Path) -> tuple[Path, Path]:
    """Out of the cache, which may forget it."""
    try:
        shutil.copytree(kernel.folder, out, dirs_exist_ok=True)
    except OSError as error:
        raise Stop(INFRASTRUCTURE, f"--out {out}: {error}") from None
    return Kernel(out).image, Kernel(out).modules
