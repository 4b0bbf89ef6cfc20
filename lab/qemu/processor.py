"""How much of the host's processors a machine got."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Share:
    """Nanoseconds in which a thread ran, and in which it could have run and waited for a processor."""

    ran: int
    waited: int

    def since(self, earlier: Share) -> Share:
        return Share(self.ran - earlier.ran, self.waited - earlier.waited)


Shares = dict[str, Share]
NONE = Share(0, 0)


def virtual_processors(pid: int) -> Shares:
    """By thread of a QEMU that names its threads (debug-threads=on). Empty when the process is gone, or when the kernel
    keeps no such times (Documentation/scheduler/sched-stats.rst, /proc/PID/schedstat)."""
    shares = {}
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            if (task / "comm").read_text().startswith("CPU "):
                ran, waited, _ = (task / "schedstat").read_text().split()
                shares[task.name] = Share(int(ran), int(waited))
        except (OSError, ValueError):
            continue
    return shares


# Machines that share the processors of a host fairly run at a third of their speed. Below a sixth, limits in time no
# longer judge the guest.
SLOWEST = 6
TOLERANCE_MS = 1000  # as health has it for stand-stills (cases/support/health.cc)


class Lateness:
    """Whether the host left a machine waiting for so long that its times judge nobody."""

    def __init__(self, shares: Callable[[], Shares]) -> None:
        self._shares = shares
        self._begin: Shares = {}
        self.restart()

    def restart(self) -> None:
        self._begin = self._shares()

    def waited_ms(self) -> int:
        """Since the last restart: for how long the worst served processor waited, or 0 if it was served well enough."""
        times = [share.since(self._begin.get(name, NONE)) for name, share in self._shares().items()]
        slow = [time.waited for time in times if time.waited > (SLOWEST - 1) * time.ran]
        return max(slow, default=0) // 1_000_000
