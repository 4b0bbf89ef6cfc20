"""Builds xen-gntdev with its dma-buf calls, and displif_dmabuf_peek, for Debian's kernel."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

from lab.errors import INFRASTRUCTURE, Stop
from lab.kernel.build import build_compiler, cross_words, first_error, make_environment
from lab.kernel.download import Progress, obtain, silent
from lab.kernel.headers import debian_headers
from lab.kernel.source import stock_files
from lab.process import run_grouped
from lab.qemu.cache import Cache, content_key, file_hash
from lab.qemu.packages import PackageStore

RECIPE = 1  # to be raised when this file changes what is built
HERE = Path(__file__).resolve().parent
FOLDERS = ("gntdev", "peek")
GNTDEV_FILES = tuple(Path("drivers/xen") / name for name in ("gntdev.c", "gntdev-common.h", "gntdev-dmabuf.c", "gntdev-dmabuf.h"))


def build_dmabuf_modules(arch: str, progress: Progress = silent, cache_dir: Path | None = None) -> list[Path]:
    """xen-gntdev.ko and displif_dmabuf_peek.ko for the kernel of the bed's dom0; out of the cache when nothing changed.

    Raises Stop and BedError.
    """
    cache = Cache(cache_dir)
    store = PackageStore(cache, arch, progress)
    source = stock_files(cache, store, GNTDEV_FILES, "gntdev", progress)
    headers = debian_headers(cache, store, progress)
    ours = [[str(file.relative_to(HERE)), file_hash(file)] for folder in FOLDERS for file in sorted((HERE / folder).iterdir())]
    theirs = [[str(place), file_hash(source / place)] for place in GNTDEV_FILES]
    key = content_key([RECIPE, headers.key, build_compiler(headers), ours, theirs])

    def build(target: Path) -> None:
        progress("build gntdev with dma-bufs", None)
        started = time.monotonic()
        target.mkdir()
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            tree, log = Path(folder) / "tree", Path(folder) / "build.log"
            for name in FOLDERS:
                shutil.copytree(HERE / name, tree / name)
            for place in GNTDEV_FILES:
                shutil.copy(source / place, tree / "gntdev")
            (tree / "Kbuild").write_text("".join(f"obj-m += {name}/\n" for name in FOLDERS), encoding="utf-8")
            argv = ["make", "-C", headers.folder, f"M={tree}", "-j", str(os.cpu_count() or 1), *cross_words(headers), "modules"]
            with log.open("wb") as output:
                status = run_grouped(argv, output=output, environment=make_environment())
            if status != 0:
                raise Stop(INFRASTRUCTURE, f"gntdev does not build against the headers of {headers.release}: "
                           + first_error(log.read_text(errors="replace"), tree), "its source is not that kernel's")
            for module in tree.rglob("*.ko"):
                shutil.copy(module, target)
        progress("build gntdev with dma-bufs", time.monotonic() - started)

    return sorted(obtain(cache, f"dmabuf-modules_{key}", build, progress).glob("*.ko"))
