"""`fuzz triage`: what a finding needs, no more, and how far it has been confirmed."""
from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from lab.errors import USAGE, Stop
from lab.progress import Progress

from .builds import Built, build_target
from .corpus import pack_text, print_input
from .engine import environment
from .findings import Finding, parse
from .sockets import sockets_folder
from .known import Known, known_findings
from .targets import TARGETS, Target

LIMIT = 60  # seconds of one replay


def _target_of(path: Path) -> Target:
    """By the folder of the run that found it, or of the corpus that it is in: the first target if neither says."""
    for target in sorted(TARGETS, key=lambda each: -len(each.name)):  # one name may be the beginning of another
        if any(target.name in part for part in path.resolve().parts):
            return target
    return TARGETS[0]


def replay(built: Built, path: Path, mask: str = "none") -> Finding | None:
    """What the input finds. None: nothing."""
    try:
        with sockets_folder() as sockets:
            done = subprocess.run([str(built.program), f"-timeout={LIMIT}", str(path)], capture_output=True, text=True,
                                  errors="replace", check=False, timeout=2 * LIMIT, cwd=path.parent,
                                  env=environment(mask) | sockets | {"ASAN_OPTIONS": "malloc_context_size=12"})
    except subprocess.TimeoutExpired:
        return Finding("timeout", "it does not end", ())
    return parse(done.stderr) if done.returncode != 0 else None


def minimise(built: Built, lines: list[str], key: str, folder: Path) -> list[str]:
    """The fewest actions, in order, that still end in the finding: halves, then quarters, ... of what is left."""
    step = max(1, len(lines) // 2)
    while True:
        at, shorter = 0, False
        while at < len(lines):
            fewer = lines[:at] + lines[at + step:]
            found = replay(built, _pack(built, fewer, folder))
            if found is not None and found.key == key:
                lines, shorter = fewer, True
            else:
                at += step
        if step == 1 and not shorter:
            return lines
        step = max(1, step // 2)


def _pack(built: Built, actions: list[str], folder: Path) -> Path:
    return pack_text(built, "\n".join(["displif-cts fuzz input 1", *actions, ""]), folder)


def _known(built: Built, packed: Path, found: Finding) -> Known | None:
    """The known finding that this is: the one without whose mask it is found again."""
    known = known_findings(built)
    for name in known:
        again = replay(built, packed, ",".join(other for other in known if other != name))
        if again is not None and again.key == found.key:
            return known[name]
    return None


def triage(paths: list[Path], progress: Progress) -> int:
    if not paths:
        raise Stop(USAGE, "fuzz triage needs inputs", "e.g. out/fuzz-*/findings/*/input")
    status = 0
    for path in paths:
        if not path.is_file():
            raise Stop(USAGE, f"{path} is no file")
        status = max(status, _one(path, progress))
    return status


def _one(path: Path, progress: Progress) -> int:
    target = _target_of(path)
    built = build_target(target, progress)
    text = print_input(built, path) if target.typed else ""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        packed = pack_text(built, text, folder) if target.typed else path.resolve()
        found = replay(built, packed)
        print(f"input     {path}")
        if found is None:
            print("verdict   not reproduced: the input ends without a finding, with nothing masked")
            return 0
        known = _known(built, packed, found)
        print(f"finding   {found.key}: {found.title()}")
        for function, place in list(zip(found.frames, found.places))[:6]:
            print(f"          {function} {place}")
        if known is not None:
            print(f"known     {known.name}: {known.what}; masked in ordinary runs")
        if target.typed:
            lines = [line for line in text.splitlines()[1:] if line]
            lines = minimise(built, lines, found.key, folder)
            print(f"needs     {len(lines)} actions:")
            for line in lines:
                print(f"          {line}")
    if known is not None and known.seen:
        print(f"verdict   real: the case {known.seen} shows it in the real guest")
    elif target.driver:
        print("verdict   model only: seen on the shim in user space; nothing has shown it in the real guest")
    elif found.broken_requirement:
        print(f"verdict   real: the backend breaks {found.kind}, in process")
    else:
        print("verdict   real: the code under test is the one that ships, in process")
    return 1
