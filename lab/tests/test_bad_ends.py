"""Runs of the real command on the real bed that cannot go well: one clear message each, the right status, no process and
no file left behind."""
from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from lab.build import ROOT
from lab.qemu.cache import default_root, try_lock
from lab.run import Prepared

pytestmark = pytest.mark.bed

CASE = "frontend.bus.stays-initialising"
PICTURES = "frontend.set-config.pictures.1"  # the smallest case that writes files beside the stream
MARK = "DISPLIF_CTS_TEST"


@dataclass
class Attempt:
    """A command line that is to fail, and how."""

    options: list[str]
    status: int
    words: str
    wrapper: list[str] = field(default_factory=list)  # what the command is started by
    environment: dict[str, str] = field(default_factory=dict)
    recorded: bool = False  # a stream is there, without its end


def no_case(tmp: Path, _: Any) -> Attempt:
    return Attempt(["--case", "frontend.no-such.*"], 3, "--case frontend.no-such.* matches no case; nothing ran")


def foreign_module(tmp: Path, bed: Any) -> Attempt:
    """Debian's driver, marked as another kernel's."""
    stock = Path(bed.facts()["modules"]["drm_xen_front"]["file"])
    release = bed.kernel_release.encode()
    module = tmp / stock.name
    module.write_bytes(stock.read_bytes().replace(b"vermagic=" + release, b"vermagic=" + b"9" * len(release)))
    return Attempt(["--case", CASE, "--module", str(module)], 3, f"the guest's kernel {bed.kernel_release} refuses {module}")


def no_module(tmp: Path, _: Any) -> Attempt:
    module = tmp / "drm_xen_front.ko"
    module.write_bytes(b"\x7fELF" + bytes(100))
    return Attempt(["--case", CASE, "--module", str(module)], 3, str(module))


def unreadable_source(tmp: Path, _: Any) -> Attempt:
    """Without the right to read any file, which even root can do without (capabilities(7), CAP_DAC_OVERRIDE)."""
    tree = tmp / "linux" / "drivers" / "gpu" / "drm" / "xen"
    tree.mkdir(parents=True)
    (tree / "xen_drm_front.c").write_text("")
    (tree / "xen_drm_front.c").chmod(0)
    drop = "-dac_override,-dac_read_search"
    wrapper = ["setpriv", f"--bounding-set={drop}", f"--inh-caps={drop}"] if os.geteuid() == 0 else []
    return Attempt(["--case", CASE, "--driver-source", str(tmp / "linux")], 2, "cannot be read: Permission denied", wrapper)


def source_without_driver(tmp: Path, _: Any) -> Attempt:
    return Attempt(["--case", CASE, "--driver-source", str(tmp)], 2, "holds no display frontend")


def on_a_disk(tmp: Path, size: str) -> tuple[Path, list[str]]:
    """A folder, and what makes it a small disk for one command only."""
    disk = tmp / "disk"
    disk.mkdir()
    mount = f'mount -t tmpfs -o {size} none {disk} && mkdir {disk}/displif-cts && exec "$@"'
    wrapper = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c", mount, "sh"]
    if subprocess.run([*wrapper, "true"], capture_output=True).returncode != 0:
        pytest.skip("no file system can be mounted here")
    return disk, wrapper


def small_disk(tmp: Path, _: Any) -> Attempt:
    disk, wrapper = on_a_disk(tmp, "size=8m")
    return Attempt(["--case", CASE, "--out", str(disk / "out")], 3, "a run needs at least 64 MiB", wrapper)


def disk_that_fills_up(tmp: Path, _: Any) -> Attempt:
    """Room for the stream, and for none of the screens that the case takes. The stream ends up where the test sees it."""
    disk, wrapper = on_a_disk(tmp, "size=80m,nr_inodes=5")
    keep = wrapper[-2].replace('exec "$@"', f'"$@"; s=$?; cp {disk}/out/stream.jsonl {tmp}; exit $s')
    return Attempt(["--case", PICTURES, "--out", str(disk / "out")], 3, "No space left on device",
                   [*wrapper[:-2], keep, "sh"], recorded=True)


def cache_on_a_full_disk(tmp: Path, bed: Any) -> Attempt:
    """Everything that was downloaded is there, and room for no machine."""
    disk, wrapper = on_a_disk(tmp, "size=4m")
    real = bed.cache_root
    links = f"ln -s {real}/packages {disk}/displif-cts && cp {real}/*.json {disk}/displif-cts && "
    wrapper = [*wrapper[:-2], wrapper[-2].replace('exec "$@"', links + 'exec "$@"'), "sh"]
    return Attempt(["--case", CASE], 3, "no space left for the bed's cache", wrapper, {"XDG_CACHE_HOME": str(disk)})


ATTEMPTS: list[Callable[[Path, Any], Attempt]] = [
    no_case, foreign_module, no_module, unreadable_source, source_without_driver, small_disk, disk_that_fills_up,
    cache_on_a_full_disk,
]


def marked(mark: str) -> list[int]:
    """Processes that were started under a test's command, however far down."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


def rubbish() -> set[Path]:
    """What nobody holds among the cache's work in progress."""
    left = set()
    for path in (default_root() / "tmp").iterdir():
        lock = try_lock(path) if path.is_dir() else None
        if lock:
            left.add(path)
            lock.release()
    return left


@pytest.fixture
def mark() -> Iterator[str]:
    """Ends, after the test, whatever the command left running."""
    value = uuid.uuid4().hex
    yield value
    for pid in marked(value):
        os.kill(pid, 9)


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.__name__)
def test_a_run_that_cannot_go_well(prepared: Prepared, real_bed: Any, tmp_path: Path, mark: str,
                                   attempt: Callable[[Path, Any], Attempt]) -> None:
    asked = attempt(tmp_path, real_bed)
    out = [] if "--out" in asked.options else ["--out", str(tmp_path / "out")]
    before = rubbish()
    done = subprocess.run([*asked.wrapper, ROOT / "displif-cts", "run", *asked.options, *out], capture_output=True, text=True,
                          env={**os.environ, MARK: mark, **asked.environment}, timeout=600)
    assert done.returncode == asked.status, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("displif-cts:")]
    if asked.recorded:
        assert said.pop(0) == "displif-cts: the reports cannot be written: No space left on device"
    assert len(said) == 1 and asked.words in said[0], done.stderr
    assert "Traceback" not in done.stderr
    assert marked(mark) == []
    assert not rubbish() - before
    if asked.recorded:
        kinds = [json.loads(line)["t"] for line in (tmp_path / "stream.jsonl").read_text().splitlines()]
        assert kinds[:3] == ["run", "env", "plan"] and "end" not in kinds and "INCOMPLETE" in done.stdout
    else:
        assert done.stdout == "" and not (tmp_path / "out" / "stream.jsonl").exists()
    shutil.rmtree(tmp_path, ignore_errors=True)
