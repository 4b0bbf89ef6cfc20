"""LAVA's own dispatcher and schemas, out of Debian's packages: unpacked into the cache, since installed they would start
services. Their libraries are ordinary packages (lab/packages.txt, group lava)."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Sequence

from lab.qemu.cache import Cache
from lab.qemu.errors import BedError
from lab.qemu.packages import PackageStore

PACKAGES = ("lava-common", "lava-dispatcher", "lava-dispatcher-host")
_LIBRARIES = Path("usr/lib/python3/dist-packages")


def as_root() -> list[str]:
    """What a program is started with that insists on root, as lava-run does: nothing for root, else a user namespace in
    which the user is root, without root's rights. Raises BedError where the kernel allows none (in a chroot, for one)."""
    if os.geteuid() == 0:
        return []
    wrapper = ["unshare", "--map-root-user", "--"]
    if subprocess.run([*wrapper, "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode != 0:
        raise BedError("lava-run insists on root, and no user namespace can be had here", "run it as root")
    return wrapper


@dataclass(frozen=True)
class LavaTools:
    trees: dict[str, Path]
    stubs: Path  # of guestfs, which only other kinds of deployment use

    def _environment(self) -> dict[str, str]:
        places = [self.stubs, *(tree / _LIBRARIES for tree in self.trees.values())]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places)), "PYTHONDONTWRITEBYTECODE": "1"}

    def schema_complaints(self, job: Path) -> str:
        """What LAVA's schema says against a job; empty when it takes it."""
        program = self.trees["lava-common"] / "usr/share/lava-common/lava-schema.py"
        done = subprocess.run([sys.executable, program, "job", "--strict", job], env=self._environment(), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        return "" if done.returncode == 0 else done.stdout.strip() or "lava-schema failed without a word"

    def run(self, job: Path, device: Path, dispatcher: Path, work: Path, log: Path, on_line: Callable[[str], None] = lambda _: None) -> int:
        """`lava-run`; its log (a YAML map on each line) goes to `log`, too. Returns its exit status. Raises BedError."""
        program = self.trees["lava-dispatcher"] / "usr/bin/lava-run"
        argv: Sequence[str | Path] = [*as_root(), sys.executable, program, "--job-id", "1", "--output-dir", work, "--device", device, "--dispatcher", dispatcher, job]
        with open(log, "w", encoding="utf-8") as kept, subprocess.Popen(
                argv, env=self._environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                errors="replace", start_new_session=True) as child:
            assert child.stdout
            try:
                for line in child.stdout:
                    kept.write(line)
                    on_line(line)
                return child.wait()
            except BaseException:
                child.send_signal(signal.SIGTERM)  # it ends what it started, and says that the job was cancelled
                try:
                    child.wait(30)
                except subprocess.TimeoutExpired:
                    os.killpg(child.pid, signal.SIGKILL)
                raise


def obtain(cache: Cache, progress: Callable[[str, float | None], None]) -> LavaTools:
    """Downloads them when the cache has none. Raises BedError."""
    store = PackageStore(cache, "amd64", progress)
    return LavaTools(store.unpack(store.find(PACKAGES).values()), stubs(cache))


def stubs(cache: Cache) -> Path:
    folder = cache.root / "lava-stubs"
    (folder / "guestfs").mkdir(parents=True, exist_ok=True)
    (folder / "guestfs" / "__init__.py").touch()
    return folder
