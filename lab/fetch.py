"""Downloads the bed's packages while the suite is being compiled: the network is idle then.

A process of its own, so that an interrupted run ends it at once. What goes wrong here is said by the bed itself, later.
"""
from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import Iterator

from lab.build import ROOT
from lab.process import end_group


def fetch(arch: str) -> None:
    """Fills the cache. Raises BedError."""
    from lab.qemu.cache import Cache
    from lab.qemu.packages import PackageStore

    store = PackageStore(Cache(), arch, lambda *_: None)
    try:
        store.unpack(store.standard()[1].values())
    finally:
        store.close()


@contextmanager
def fetching(arch: str = "amd64") -> Iterator[None]:
    """Fetches meanwhile; waits for the end of it, unless the block is left by an exception."""
    child = subprocess.Popen([sys.executable, "-P", "-c", f"from lab.fetch import fetch; fetch({arch!r})"], cwd=ROOT,
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                             env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True)
    try:
        yield
        child.wait()
    finally:
        end_group(child)
