"""What judged, and what was judged, by hash: the suite's programs, the peer's, and the board."""
from __future__ import annotations

import platform
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any, Iterable, Mapping, Sequence

from lab.qemu.cache import file_hash

DMI = Path("/sys/class/dmi/id")
DEVICE_TREE = Path("/proc/device-tree/model")
_DMI_NAMES = {"vendor": "sys_vendor", "product": "product_name", "board": "board_name", "firmware": "bios_vendor",
              "firmware_version": "bios_version", "firmware_date": "bios_date"}


def hashed(files: Iterable[Path]) -> list[dict[str, str]]:
    """By name, in order; those that are there."""
    return [{"name": path.name, "sha256": file_hash(path)} for path in sorted(set(files)) if path.is_file()]


def programs(bin_folder: Path | Mapping[str, Path], runner: Path) -> list[dict[str, str]]:
    """The suite's own programs."""
    files = bin_folder.values() if isinstance(bin_folder, Mapping) else bin_folder.glob("*")
    return hashed([*files, runner])


def linked(program: Path) -> tuple[list[Path], list[str]]:
    """The libraries that the dynamic linker gives it here, that linker included; and those that it does not find."""
    said = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stdout
    return ([Path(path) for path in re.findall(r"(?:=> )?(/\S+) \(0x", said)], re.findall(r"^\s*(\S+) => not found", said, re.M))


def peer_files(argv: Sequence[str] | str | None, own: Mapping[str, Path] | Path) -> list[dict[str, str]]:
    """A peer that is a command: its program and what that is linked with. A text is the shell's: its first word counts.
    Empty where no such program is found; the command itself is recorded in any case."""
    words = shlex.split(argv) if isinstance(argv, str) else list(argv or [])
    if not words:
        return []
    ours = own.get(words[0]) if isinstance(own, Mapping) else own / words[0] if "/" not in words[0] else None
    found = str(ours) if ours is not None and ours.is_file() else shutil.which(words[0])
    if found is None:
        return []
    program = Path(found).resolve()
    return hashed([program]) + hashed(linked(program)[0])


def board() -> dict[str, str]:
    """The machine that this runs on: its maker's words and its firmware's, as far as it says them."""
    known = {"machine": platform.machine()}
    for name, file in _DMI_NAMES.items():
        try:
            known[name] = (DMI / file).read_text(errors="replace").strip()
        except OSError:
            continue
    try:
        known["model"] = DEVICE_TREE.read_text(errors="replace").strip("\0\n ")
    except OSError:
        pass
    return {name: text for name, text in known.items() if text}


def with_programs(facts: dict[str, Any], prepared_programs: Any, argv: Sequence[str] | str | None) -> dict[str, Any]:
    """`facts` of a bed, completed for the `env` record."""
    more: dict[str, Any] = {"programs": programs(prepared_programs.bin, prepared_programs.runner), "host_board": board()}
    if files := peer_files(argv, prepared_programs.bin):
        more["peer_files"] = files
    return more | facts
