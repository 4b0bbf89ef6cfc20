"""A tar that has one form only: the same members give the same bytes, and other bytes are not the same members.

Contents are never held whole: a stream may be larger than memory.
"""
from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Iterator, Mapping, Protocol, Sized, Union

BLOCK = 512
_CHUNK = 1 << 20


class ArchiveError(Exception):
    """The bytes are no archive of ours. The text says where."""


@dataclass(frozen=True)
class Member:
    """Where a member's bytes stand in an archive that is open."""

    source: BinaryIO
    offset: int
    size: int

    def __len__(self) -> int:
        return self.size

    def blocks(self) -> Iterator[bytes]:
        at, end = self.offset, self.offset + self.size
        while at < end:
            self.source.seek(at)
            block = self.source.read(min(_CHUNK, end - at))
            if not block:
                raise ArchiveError(f"byte {at}: it is cut off")
            at += len(block)
            yield block

    def read(self) -> bytes:
        return b"".join(self.blocks())


Content = Union[bytes, Path, Member]


class _Sink(Protocol):
    def write(self, data: bytes, /) -> object: ...


def blocks_of(content: Content) -> Iterator[bytes]:
    """Raises OSError when a file cannot be read."""
    if isinstance(content, bytes):
        yield content
    elif isinstance(content, Member):
        yield from content.blocks()
    else:
        with open(content, "rb") as file:
            while block := file.read(_CHUNK):
                yield block


def hash_of(content: Content) -> str:
    digest = hashlib.sha256()
    for block in blocks_of(content):
        digest.update(block)
    return digest.hexdigest()


def write(out: _Sink, members: Mapping[str, Content], seconds: int) -> None:
    """POSIX ustar, uncompressed: names in order, one time, no owner, no folders."""
    total = 0
    for name in sorted(members):
        content = members[name]
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        out.write(_header(name, size, seconds))
        for block in blocks_of(content):
            out.write(block)
        out.write(bytes(-size % BLOCK))
        total += BLOCK + size + -size % BLOCK
    out.write(bytes(2 * BLOCK + -(total + 2 * BLOCK) % tarfile.RECORDSIZE))


def _header(name: str, size: int, seconds: int) -> bytes:
    header = tarfile.TarInfo(name)
    header.size, header.mtime, header.mode = size, seconds, 0o644
    return header.tobuf(tarfile.USTAR_FORMAT)


def canonical(members: Mapping[str, Content], seconds: int) -> bytes:
    """A small archive, in memory."""
    out = io.BytesIO()
    write(out, members, seconds)
    return out.getvalue()


class _Same:
    """Takes what would be written, and compares it with what is there."""

    def __init__(self, source: BinaryIO, members: Mapping[str, Sized]) -> None:
        self._source, self._members, self._at = source, members, 0

    def write(self, data: bytes, /) -> None:
        self._source.seek(self._at)
        there = self._source.read(len(data))
        if there != data:
            self._differ(next((i for i, (a, b) in enumerate(zip(data, there)) if a != b), len(there)))
        self._at += len(data)

    def end(self) -> None:
        self._source.seek(self._at)
        if self._source.read(1):
            self._differ(0)

    def _differ(self, more: int) -> None:
        at = self._at + more
        raise ArchiveError(f"byte {at} ({place(self._members, at)}): not as it is written")


def members_of(source: BinaryIO) -> tuple[dict[str, Member], int]:
    """The members, and their time. Raises ArchiveError for anything that write() does not make, and names the place."""
    members, seconds = _read(source)
    same = _Same(source, members)
    try:
        write(same, members, seconds)
    except ValueError as error:  # a name or a time that no header of ours can have
        raise ArchiveError(str(error)) from None
    same.end()
    return members, seconds


def _read(source: BinaryIO) -> tuple[dict[str, Member], int]:
    members: dict[str, Member] = {}
    seconds, last = 0, "the first header"
    source.seek(0)
    try:
        with tarfile.open(fileobj=source, mode="r:") as archive:
            for header in archive:
                if not header.isreg() or header.name in members:
                    raise ArchiveError(f"{header.name}: {'twice in it' if header.name in members else 'no plain file'}")
                members[header.name] = Member(source, header.offset_data, header.size)
                seconds, last = int(header.mtime), f"behind {header.name}"
    except (tarfile.TarError, EOFError, ValueError, OverflowError, UnicodeError) as error:
        raise ArchiveError(f"{last}: {error}") from None
    if not members:
        raise ArchiveError("nothing is in it")
    _check_end(source, members)
    return members, seconds


def _check_end(source: BinaryIO, members: Mapping[str, Member]) -> None:
    """A header that cannot be read ends an archive for tarfile as its end does."""
    last = next(reversed(members))
    end = members[last].offset + -(-members[last].size // BLOCK) * BLOCK
    source.seek(end)
    if any(source.read(BLOCK)):
        raise ArchiveError(f"byte {end} (the header behind {last}): it cannot be read")


def place(members: Mapping[str, Sized], at: int) -> str:
    """Which part of the archive a byte belongs to."""
    offset = 0
    for name in sorted(members):
        if at < offset + BLOCK:
            return f"the header of {name}"
        offset += BLOCK
        if at < offset + len(members[name]):
            return f"byte {at - offset} of {name}"
        offset += -(-len(members[name]) // BLOCK) * BLOCK
        if at < offset:
            return f"the padding behind {name}"
    return "the archive's end"
