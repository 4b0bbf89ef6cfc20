"""A tar that has one form only: the same members give the same bytes, and other bytes are not the same members."""
from __future__ import annotations

import io
import tarfile
from typing import Mapping

BLOCK = 512


class ArchiveError(Exception):
    """The bytes are no archive of ours. The text says where."""


def canonical(members: Mapping[str, bytes], seconds: int) -> bytes:
    """POSIX ustar, uncompressed: names in order, one time, no owner, no folders."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(members):
            archive.addfile(_header(name, len(members[name]), seconds), io.BytesIO(members[name]))
    return out.getvalue()


def _header(name: str, size: int, seconds: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size, header.mtime, header.mode = size, seconds, 0o644
    return header


def members_of(data: bytes) -> tuple[dict[str, bytes], int]:
    """The members, and their time. Raises ArchiveError for anything that canonical() does not make, and names the place."""
    members, seconds = _read(data)
    made = canonical(members, seconds)
    if made != data:
        at = next((i for i, (a, b) in enumerate(zip(made, data)) if a != b), min(len(made), len(data)))
        raise ArchiveError(f"byte {at} ({place(members, at)}): not as it is written")
    return members, seconds


def _read(data: bytes) -> tuple[dict[str, bytes], int]:
    members: dict[str, bytes] = {}
    seconds, last = 0, "the first header"
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for header in archive:
                file = archive.extractfile(header) if header.isreg() else None
                if file is None or header.name in members:
                    raise ArchiveError(f"{header.name}: {'twice in it' if header.name in members else 'no plain file'}")
                members[header.name], seconds, last = file.read(), int(header.mtime), f"behind {header.name}"
    except (tarfile.TarError, EOFError, ValueError, OverflowError, UnicodeError) as error:
        raise ArchiveError(f"{last}: {error}") from None
    if not members:
        raise ArchiveError("nothing is in it")
    return members, seconds


def place(members: Mapping[str, bytes], at: int) -> str:
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
