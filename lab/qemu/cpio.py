"""Writes initramfs archives (cpio "newc", Linux Documentation/driver-api/early-userspace/buffer-format.rst).

A writer of our own because an archive must hold device nodes and root's ownership, and nobody here is root.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO


class CpioWriter:
    """Entries are written as they are added; parent directories come by themselves. Call `close` last."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._inode = 0
        self._directories: set[str] = set()

    def directory(self, path: str, mode: int = 0o755) -> None:
        path = path.strip("/")
        if not path or path in self._directories:
            return
        self.directory(os.path.dirname(path))
        self._directories.add(path)
        self._entry(path, stat.S_IFDIR | mode, b"")

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        self.directory(os.path.dirname(path.strip("/")))
        self._entry(path, stat.S_IFREG | mode, data)

    def copy(self, path: str, source: Path, mode: int | None = None) -> None:
        executable = source.stat().st_mode & 0o111
        self.file(path, source.read_bytes(), mode or (0o755 if executable else 0o644))

    def symlink(self, path: str, target: str) -> None:
        self.directory(os.path.dirname(path.strip("/")))
        self._entry(path, stat.S_IFLNK | 0o777, target.encode())

    def char_device(self, path: str, major: int, minor: int) -> None:
        self.directory(os.path.dirname(path.strip("/")))
        self._entry(path, stat.S_IFCHR | 0o600, b"", (major, minor))

    def close(self) -> None:
        self._entry("TRAILER!!!", 0, b"")
        self._out.flush()

    def _entry(self, path: str, mode: int, data: bytes, device: tuple[int, int] = (0, 0)) -> None:
        self._inode += 1
        name = path.strip("/").encode() + b"\0"
        links = 2 if stat.S_ISDIR(mode) else 1
        # Order of the fields: ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor
        # rdevminor namesize check. The time is 0 so that equal contents give equal archives.
        fields = (self._inode, mode, 0, 0, links, 0, len(data), 0, 0, *device, len(name), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        self._padded(header + name)
        self._padded(data)

    def _padded(self, data: bytes) -> None:
        self._out.write(data)
        self._out.write(b"\0" * (-len(data) % 4))
