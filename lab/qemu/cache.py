"""The cache on disk: content-keyed, bounded, and safe for several runs at once.

    <root>/packages/NAME_VERSION_HASH/   unpacked Debian packages
    <root>/templates/KEY/                RAM templates (ram, state, facts.json)
    <root>/disks/KEY.ext2                carried sets as disk images
    <root>/kernels/NAME_KEY/             kernels that were asked for by name: their paths were told, so they stay
    <root>/tmp/                          work in progress; whatever nobody holds a lock on is rubbish
    <root>/locks/                        lock files, never removed

Everything is built in tmp/ and renamed into place, so that what has its final name is whole. A flock ends with the
process that holds it, so neither a crash nor `kill -9` leaves anything locked.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .errors import BedError

DEFAULT_LIMIT_BYTES = 6 << 30
EVICTABLE = ("templates", "disks", "packages")
KERNELS = "kernels"


def default_root() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "displif-cts"


def file_hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_key(value: Any) -> str:
    """A short key for any JSON-able description of what goes into something."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def disk_usage(path: Path) -> int:
    """Bytes really occupied: RAM files are sparse, their length says nothing."""
    paths = [str(path)]
    for directory, _, names in os.walk(path):
        paths += [os.path.join(directory, name) for name in names]
    total = 0
    for item in paths:
        with contextlib.suppress(FileNotFoundError):
            total += os.lstat(item).st_blocks * 512
    return total


@contextlib.contextmanager
def no_space_explained(root: Path) -> Iterator[None]:
    """Turns "disk full" into one message that says where and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise BedError(*disk_full(root)) from error


def disk_full(root: Path) -> tuple[str, str]:
    return (
        f"no space left for the bed's cache in {root}",
        "free some space there, or set XDG_CACHE_HOME to a directory on a larger disk",
    )


class Lock:
    """A flock on a file or directory, given back by `release` or at the latest when the process ends."""

    def __init__(self, path: Path, shared: bool = False, wait: bool = True) -> None:
        self._fd = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o644)
        mode = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
        try:
            fcntl.flock(self._fd, mode)
        except BaseException:
            os.close(self._fd)
            self._fd = -1
            raise

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def try_lock(path: Path, shared: bool = False) -> Lock | None:
    try:
        return Lock(path, shared=shared, wait=False)
    except BlockingIOError:
        return None


class Cache:
    def __init__(self, root: Path | None = None, limit: int = DEFAULT_LIMIT_BYTES) -> None:
        self.root = (root or default_root()).absolute()
        self.limit = limit
        self.grown = False  # since the last eviction, by this process
        try:
            for name in (*EVICTABLE, KERNELS, "tmp", "locks"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            with no_space_explained(self.root):
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
            raise BedError(
                f"the cache directory {self.root} cannot be used: {error.strerror}",
                "set XDG_CACHE_HOME to a directory that you may write to",
            ) from error

    @contextlib.contextmanager
    def temporary(self, prefix: str) -> Iterator[Path]:
        """A directory of one's own, removed afterwards whatever happens (or by the next run's `sweep`)."""
        path = Path(tempfile.mkdtemp(prefix=prefix + "-", dir=self.root / "tmp"))
        lock = Lock(path, shared=True)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            lock.release()

    def sweep(self) -> None:
        """Removes what runs that died left behind: whatever in tmp/ can be locked belongs to nobody."""
        for path in (self.root / "tmp").iterdir():
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                lock = try_lock(path)
                if lock:
                    # A very young directory may be between its mkdtemp and its lock.
                    if time_since_change(path) > 5:
                        shutil.rmtree(path, ignore_errors=True)
                    lock.release()

    def entry(self, kind: str, name: str) -> Path:
        return self.root / kind / name

    def hold(self, kind: str, name: str) -> Lock | None:
        """A shared lock on an entry that exists, marking it as just used; None when it is not there."""
        lock = Lock(self._lock_path(kind, name), shared=True)
        path = self.entry(kind, name)
        # Asked for under the lock: eviction takes it exclusively before it removes anything.
        if not path.exists():
            lock.release()
            return None
        with contextlib.suppress(PermissionError):
            os.utime(path)
        return lock

    def obtain(
        self,
        kind: str,
        name: str,
        build: Callable[[Path], None],
        waiting: Callable[[], None] = lambda: None,
    ) -> tuple[Path, Lock, bool]:
        """The entry, built by `build(path in tmp/)` when it is not there yet; held; and whether it was built now."""
        built = False
        while True:
            held = self.hold(kind, name)
            if held:
                return self.entry(kind, name), held, built
            with self._build_lock(kind, name, waiting):
                if self.entry(kind, name).exists():
                    continue
                with no_space_explained(self.root), self.temporary(kind) as work:
                    build(work / "new")
                    os.rename(work / "new", self.entry(kind, name))
                built = True
                self.grown = True

    def evict(self) -> list[Path]:
        """Least recently used first, until the limit is kept. What anybody holds stays."""
        sizes = {p: disk_usage(p) for kind in EVICTABLE for p in self.entry(kind, ".").iterdir()}
        total = sum(sizes.values())
        self.grown = False
        removed: list[Path] = []
        for path in sorted(sizes, key=last_use):
            if total <= self.limit:
                break
            if self.remove(path):
                total -= sizes[path]
                removed.append(path)
        return removed

    def remove(self, entry: Path) -> bool:
        """False: somebody holds it."""
        lock = try_lock(self._lock_path(entry.parent.name, entry.name))
        if lock is None:
            return False
        with lock:
            shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)
        return True

    def _lock_path(self, kind: str, name: str) -> Path:
        return self.root / "locks" / f"{kind}-{name}.use"

    def _build_lock(self, kind: str, name: str, waiting: Callable[[], None]) -> Lock:
        path = self.root / "locks" / f"{kind}-{name}.build"
        lock = try_lock(path)
        if lock is None:
            waiting()
            lock = Lock(path)
        return lock


def time_since_change(path: Path) -> float:
    return time.time() - path.stat().st_ctime


def last_use(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
