"""displif-linux-guest: Linux's frontend in user space as a guest on the loopback bed (fuzzers/linux_frontend/peer)."""
from __future__ import annotations

from pathlib import Path

from lab.build import build_configured
from lab.progress import Progress

from .builds import driver_settings

PROGRAM = "displif-linux-guest"


def build_linux_guest(progress: Progress, driver_source: Path | None = None) -> None:
    """Into the build of the loopback bed's programs. `driver_source`: a kernel tree or its drivers/gpu/drm/xen, in the
    place of Debian's."""
    settings = driver_settings(progress, driver_source)
    with progress.phase("build", f"{PROGRAM}, of {driver_source or 'the driver that Debian ships'}"):
        build_configured("release", [PROGRAM], settings)
