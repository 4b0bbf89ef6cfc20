"""Builds the driver as modules of the guest's kernel, out of tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from lab.build import ROOT
from lab.errors import INFRASTRUCTURE, Stop
from lab.process import run_grouped
from lab.qemu.apt import TRIPLETS
from lab.qemu.binaries import module_info
from lab.qemu.cache import Cache, content_key, file_hash
from lab.qemu.packages import PackageStore

from .download import Progress, obtain, silent
from .errors import DriverBuildError
from .headers import KernelHeaders, debian_headers, own_headers
from .source import BUFFERS, DRIVER, HEADERS, DriverSource, find_source

RECIPE = 1  # to be raised when the files below change what is built
KEPT_LOGS = 20

TOP = "obj-m += driver/\n{buffers}"
# The tree's own protocol headers must come before the kernel's, which a mere -I would not achieve.
DRIVER_KBUILD = "NOSTDINC_FLAGS += -I{include}\ninclude $(src)/{makefile}\n"
BUFFERS_KBUILD = "NOSTDINC_FLAGS += -I{include}\nobj-m += xen-front-pgdir-shbuf.o\n"
# Debian's kernel has no KCOV: what the compiler calls in each basic block is in a module of our own.
COVERAGE = ROOT / "fuzzers" / "guest" / "module" / "displif_cts_coverage.c"
COUNTED = "ccflags-y += -fsanitize-coverage=trace-pc\n"


def build_driver(
    source_dir: Path,
    progress: Progress = silent,
    *,
    cache_dir: Path | None = None,
    modules_dir: Path | None = None,
    workshop: Path | None = None,
    coverage: bool = False,
    arch: str = "amd64",
) -> list[Path]:
    """The driver's modules, in the order in which they are loaded; out of the cache when nothing changed.

    `source_dir` is a kernel tree's drivers/gpu/drm/xen, or such a tree: then xen-front-pgdir-shbuf, if it is there, is
    built too, and the tree's own protocol headers are used. `modules_dir` belongs to a kernel that the user handed in.
    `workshop` is a folder of one caller at a time, in which builds leave their objects: of a source that differs little
    from the last one, only what differs is compiled. `coverage`: the modules count what they execute, by the help of one
    more module, which comes first.
    Raises DriverBuildError (the source is at fault), BedError (packages, disk), Stop (a build program is missing).
    """
    started = time.monotonic()
    source = find_source(source_dir)
    cache = Cache(cache_dir)
    if modules_dir is None:
        headers = debian_headers(cache, PackageStore(cache, arch, progress), progress)
    else:
        headers = own_headers(modules_dir, arch)
    compiler = build_compiler(headers)
    counting = [file_hash(COVERAGE)] if coverage else []
    key = content_key([RECIPE, headers.key, compiler, source.description(), *counting])
    logs = cache.root / "logs"

    def build(target: Path) -> None:
        progress("build the driver", None)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            log = Path(folder) / "build.log"
            tree = workshop / ("both" if source.with_buffers else "driver") if workshop else Path(folder) / "build"
            modules = _make(source, headers, tree, log, logs / f"driver-{key}.log", coverage)
            target.mkdir()
            for module in modules:
                shutil.copy(module, target)
            shutil.copy(log, target)
        progress("build the driver", time.monotonic() - started)

    entry = obtain(cache, f"driver-modules_{key}", build, progress)
    return _in_load_order(list(entry.glob("*.ko")))


def cross_words(headers: KernelHeaders) -> list[str]:
    """What tells the kernel's make that its modules are for another architecture."""
    return [f"ARCH={headers.arch}", f"CROSS_COMPILE={headers.cross}"] if headers.cross else []


def build_compiler(headers: KernelHeaders) -> str:
    """The compiler's name and version. Raises Stop when it or make is missing."""
    name = headers.compiler()
    for program in ("make", name):
        if shutil.which(program) is None:
            raise Stop(INFRASTRUCTURE, f"building the driver needs {program}, which is not installed",
                       f"sudo apt-get install {program if not headers.cross else f'gcc-{TRIPLETS[headers.arch]}'}")
    done = subprocess.run([name, "-dumpfullversion"], capture_output=True, text=True, check=False)
    return f"{name} {done.stdout.strip()}"


def _make(source: DriverSource, headers: KernelHeaders, tree: Path, log: Path, kept_log: Path,
          coverage: bool) -> list[Path]:
    for old in tree.rglob("*.ko"):
        old.unlink()
    _lay_out(source, tree, COUNTED if coverage else "")
    if coverage:
        _write(tree / "coverage" / COVERAGE.name, COVERAGE.read_bytes())
        _write(tree / "coverage" / "Kbuild", f"obj-m += {COVERAGE.stem}.o\n".encode())
    jobs = str(os.cpu_count() or 1)
    argv = ["make", "-C", headers.folder, f"M={tree}", "-j", jobs, "CONFIG_DRM_XEN_FRONTEND=m",
            *cross_words(headers), "modules"]
    with log.open("wb") as output:
        status = run_grouped(argv, output=output, environment=make_environment())
    modules = list(tree.rglob("*.ko"))
    if status != 0 or not any(module.stem.replace("-", "_") == "drm_xen_front" for module in modules):
        _keep(log, kept_log)
        raise DriverBuildError(
            f"{source.given} does not build against the headers of the guest's kernel {headers.release}: "
            f"{first_error(log.read_text(errors='replace'), tree)}",
            "the source must belong to that kernel; for another one hand over both, by --kernel IMAGE --modules DIR "
            f"(the log: {kept_log})",
        )
    for module in modules:
        release = module_info(module.read_bytes(), module.name).vermagic.split()[0]
        if release != headers.release:
            raise DriverBuildError(f"{module.name} was built for the kernel {release}, and the guest's is "
                                   f"{headers.release}", "name the modules of the kernel given by --kernel")
    return modules


def _lay_out(source: DriverSource, tree: Path, flags: str) -> None:
    """`flags`: lines for the makefiles of the driver's own files."""
    include = tree / "include"
    driver = tree / "driver"
    buffers = tree / "buffers"
    makefile = "Kbuild.driver" if DRIVER / "Kbuild" in source.files else "Makefile"
    for place, path in source.files.items():
        if place.parent == DRIVER:
            target = driver / (makefile if place.name == "Kbuild" else place.name)
        elif place == BUFFERS:
            target = buffers / place.name
        else:
            assert place in HEADERS
            target = include / place.relative_to("include")
        _write(target, path.read_bytes())
    _write(driver / "Kbuild", (DRIVER_KBUILD.format(include=include, makefile=makefile) + flags).encode())
    if source.with_buffers:
        _write(buffers / "Kbuild", (BUFFERS_KBUILD.format(include=include) + flags).encode())
    folders = ["buffers"] * source.with_buffers + ["coverage"] * bool(flags)
    _write(tree / "Kbuild", TOP.format(buffers="".join(f"obj-m += {folder}/\n" for folder in folders)).encode())


def _write(file: Path, data: bytes) -> None:
    """A file that holds these octets already keeps its time, so that make finds what was built from it up to date."""
    if not file.is_file() or file.read_bytes() != data:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def make_environment() -> dict[str, str]:
    """Nothing of the caller's may reach the kernel's makefiles: ARCH, KCFLAGS, a jobserver, ..."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {**kept, "LC_ALL": "C"}


def first_error(log: str, tree: Path) -> str:
    """The compiler's first complaint, or the linker's, in one line."""
    for pattern in (r"^(.*\berror: .*)$", r"^ERROR: modpost: (.*)$", r"^(make.*\*\*\* .*)$"):
        found = re.search(pattern, log, re.MULTILINE)
        if found:
            return found[1].replace(f"{tree}/driver/", "").replace(f"{tree}/", "")
    lines = [line for line in log.splitlines() if line.strip()]
    return lines[-1] if lines else "the build said nothing"


def _keep(log: Path, kept: Path) -> None:
    """A failed build's log outlives the build's folder; the newest few of them."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(log, kept)
    for old in sorted(kept.parent.glob("driver-*.log"), key=lambda path: path.stat().st_mtime)[:-KEPT_LOGS]:
        old.unlink(missing_ok=True)


def _in_load_order(modules: list[Path]) -> list[Path]:
    """What another one depends on comes first."""
    return sorted(modules, key=lambda path: (path.stem.replace("-", "_") == "drm_xen_front", path.name))
