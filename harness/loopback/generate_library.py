#!/usr/bin/python3
"""What a replacement of one of Xen's libraries is made of, out of the installed one.

    generate_library.py soname LIBRARY            prints the soname
    generate_library.py header LIBRARY            prints a header: EXPORTED_name for each exported symbol
    generate_library.py version-script LIBRARY    prints the linker's version script
    generate_library.py absent LIBRARY NAME OBJECT...
                                                  prints C++: the exported symbols that no OBJECT defines

LIBRARY is the installed one; NAME is what messages call it. The replacement then exports exactly what LIBRARY does.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HEADERS = ("xenctrl.h", "xenctrl_compat.h", "xenguest.h", "xenevtchn.h", "xengnttab.h")
# Not declared in an installed header, for use between Xen's own libraries (tools/libs/ctrl/xc_private.h): those that
# return a pointer.
POINTERS = r"xc__hypercall_buffer_(array_)?(alloc|alloc_pages|get)|xc_(alloc_mmu_updates|memalign|map_foreign_ranges|vm_event_enable)"
POINTER_TYPES = ("xc_cpumap_t", "xc_nodemap_t")


@dataclass(frozen=True)
class Symbol:
    name: str
    version: str
    kind: str
    size: int


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def exported(library: str) -> list[Symbol]:
    symbols = []
    for line in run("nm", "-D", "-S", "--defined-only", "--with-symbol-versions", library).splitlines():
        fields = line.split()
        name, _, version = fields[-1].partition("@")
        if version:  # the versions themselves have none
            size = int(fields[1], 16) if len(fields) == 4 else 0
            symbols.append(Symbol(name, version.lstrip("@"), fields[-2], size))
    return sorted(symbols, key=lambda symbol: symbol.name)


def soname(library: str) -> str:
    match = re.search(r"SONAME.*\[(.*)\]", run("readelf", "-dW", library))
    if not match:
        sys.exit(f"{library} has no soname")
    return match.group(1)


def version_script(symbols: list[Symbol]) -> str:
    versions = sorted({s.version for s in symbols}, key=lambda v: [int(n) for n in re.findall(r"\d+", v)])
    text, before = "", ""
    for version in versions:
        names = "".join(f"    {s.name};\n" for s in symbols if s.version == version)
        hidden = "" if before else "  local: *;\n"
        text += f"{version} {{\n  global:\n{names}{hidden}}}{before};\n"
        before = f" {version}"
    return text


def declared_types() -> dict[str, str]:
    """Function name -> return type, as far as the installed headers say."""
    types: dict[str, str] = {}
    for header in HEADERS:
        path = Path("/usr/include") / header
        if not path.exists():
            continue
        text = re.sub(r"/\*.*?\*/", " ", path.read_text(), flags=re.DOTALL)
        text = re.sub(r"^\s*#(?:.*\\\n)*.*$", ";", text, flags=re.MULTILINE)
        for match in re.finditer(r"(?<=[;{}])\s*([\w\s]+?[\s*]+)(\w+)\s*\([^;{}]*\)\s*[\w()]*\s*(?=;)", text):
            types.setdefault(match.group(2), " ".join(match.group(1).split()))
    return types


def absent(library: str, name: str, objects: list[str]) -> str:
    defined = {line.split()[-1] for path in objects for line in run("nm", "--defined-only", path).splitlines() if line}
    types = declared_types()
    functions, data = [], []
    for symbol in exported(library):
        if symbol.name in defined:
            continue
        if symbol.kind not in "TtWi":
            # Xen's are larger than a pointer: give all of it.
            data.append(f"alignas(16) char {symbol.name}[{symbol.size}] = {{}};")
            continue
        kind = types.get(symbol.name, "")
        if "*" in kind or kind in POINTER_TYPES or (not kind and re.fullmatch(POINTERS, symbol.name)):
            result, value = "void*", "nullptr"
        elif kind == "void":
            result, value = "void", ""
        elif kind == "bool":
            result, value = "bool", "false"
        else:
            result, value = "long", "-1"
        functions.append(
            f'{result} {symbol.name}() {{ displif_cts::loopback::client::absent("{name}", "{symbol.name}");'
            f" return {value}; }}".replace("return ;", "return;")
        )
    lines = ['#include "harness/loopback/client/absent.h"', "", 'extern "C" {', *functions, *data, "}"]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    match arguments:
        case ["soname", library]:
            print(soname(library))
        case ["header", library]:
            print("\n".join(f"#define EXPORTED_{s.name}" for s in exported(library)))
        case ["version-script", library]:
            print(version_script(exported(library)), end="")
        case ["absent", library, name, *objects]:
            print(absent(library, name, objects), end="")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
