"""What a display device shows, as QEMU writes it and as cases compare it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import BedError


@dataclass(frozen=True)
class Picture:
    width: int
    height: int
    xrgb: bytes  # four octets B, G, R, X a pixel, row by row


def parse_ppm(data: bytes) -> Picture:
    """A binary PPM with eight bits a channel. Raises BedError."""
    head = re.match(rb"P6\s+(\d+)\s+(\d+)\s+255\s", data)
    if head is None:
        raise BedError("QEMU's screen dump is no PPM with eight bits a channel")
    width, height = int(head[1]), int(head[2])
    pixels = data[head.end():]
    if len(pixels) != 3 * width * height:
        raise BedError(f"QEMU's screen dump of {width}x{height} has {len(pixels)} octets")
    xrgb = bytearray(4 * width * height)
    xrgb[0::4], xrgb[1::4], xrgb[2::4] = pixels[2::3], pixels[1::3], pixels[0::3]
    return Picture(width, height, bytes(xrgb))
