"""Instrumented places of the driver's modules, by function and file, and which of them were executed in the guest."""
from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.errors import INFRASTRUCTURE, Stop

_CALL = re.compile(r"^([0-9a-f]+)\s+\S+\s+R_X86_64_(?:PLT32|PC32)\s+.*__sanitizer_cov_trace_pc")
_RELOCATIONS = re.compile(r"^Relocation section '\.rela(\.[\w.]+)'")
SECTION = ".text"  # what runs once at loading and unloading is in others


@dataclass(frozen=True)
class Place:
    function: str
    file: str
    line: int


class Places:
    """`sections`: where each module's .text is in the guest, as lab.fuzz.sessions tells."""

    def __init__(self, modules: Iterable[Path], sections: Mapping[str, int]) -> None:
        self._places: dict[int, Place] = {}
        for module in modules:
            base = sections[module.stem.replace("-", "_")]
            offsets = _calls(module)
            for offset, place in zip(offsets, _resolve(module, offsets)):
                self._places[(base + offset) & 0xffffffff] = place

    def __len__(self) -> int:
        return len(self._places)

    def known(self, executed: Iterable[str]) -> set[int]:
        """Of "pc:bucket" words, the places that are the modules' own."""
        return {pc for pc in (int(word.partition(":")[0], 16) for word in executed) if pc in self._places}

    def functions(self, executed: Iterable[str]) -> list[str]:
        """Most often executed first."""
        counts: dict[str, int] = defaultdict(int)
        for word in executed:
            pc, _, bucket = word.partition(":")
            if int(pc, 16) in self._places:
                function = self._places[int(pc, 16)].function
                counts[function] = max(counts[function], int(bucket, 16))
        return sorted(counts, key=lambda name: (-counts[name], name))

    def table(self, seen: set[int]) -> list[str]:
        """Lines for people: blocks by file, then the functions that were never entered."""
        files: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        functions: dict[tuple[str, str], bool] = {}
        for pc, place in self._places.items():
            files[place.file][0] += pc in seen
            files[place.file][1] += 1
            key = (place.file, place.function)
            functions[key] = functions.get(key, False) or pc in seen
        lines = [f"{name:<32} {reached:>4} of {total:>4} blocks {100 * reached / total:5.1f} %"
                 for name, (reached, total) in sorted(files.items())]
        reached, total = len(seen), len(self._places)
        lines.append(f"{'all':<32} {reached:>4} of {total:>4} blocks {100 * reached / max(total, 1):5.1f} %")
        never = sorted(f"{file}: {function}" for (file, function), entered in functions.items() if not entered)
        return lines + [f"never entered: {name}" for name in never]


def _run(*words: str | Path, text: str | None = None) -> str:
    done = subprocess.run([str(word) for word in words], input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Stop(INFRASTRUCTURE, f"{words[0]} {words[-1]}: {done.stderr.strip()[-200:]}")
    return done.stdout


def _calls(module: Path) -> list[int]:
    """Offsets in SECTION behind each call: the return addresses that the guest counts."""
    section, offsets = "", []
    for line in _run("readelf", "-r", "-W", module).splitlines():
        if header := _RELOCATIONS.match(line):
            section = header[1]
        elif section == SECTION and (call := _CALL.match(line.strip())):
            offsets.append(int(call[1], 16) + 4)
    return sorted(offsets)


def _resolve(module: Path, offsets: list[int]) -> list[Place]:
    """Of the call itself, which ends at each offset."""
    if not offsets:
        return []
    asked = "\n".join(f"{offset - 1:#x}" for offset in offsets)
    lines = _run("addr2line", "-f", "-j", SECTION, "-e", module, text=asked).splitlines()
    places = []
    for function, where in zip(lines[::2], lines[1::2]):
        path, _, line = where.partition(":")
        number = re.match(r"\d+", line)
        places.append(Place(function, Path(path).name, int(number[0]) if number else 0))
    return places
