"""Corpora: committed as text that people can read, handed to engines as binary inputs."""
from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from lab.errors import INFRASTRUCTURE, USAGE, Stop

from .builds import Built
from .engine import environment
from .sockets import sockets_folder


def _tool(built: Built, *words: str | Path) -> None:
    done = subprocess.run([str(built.tool), *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        first = done.stderr.strip().splitlines()[0] if done.stderr.strip() else f"status {done.returncode}"
        raise Stop(USAGE if done.returncode == 2 else INFRASTRUCTURE, first.removeprefix("displif-fuzz-input: "),
                   "correct the input or take it out of the corpus" if done.returncode == 2 else "")


def load(built: Built, given: Path, folder: Path, must_exist: bool = True) -> int:
    """Copies the inputs of `given` into `folder`, as the engine reads them. Returns how many.

    A folder that is not there yet is an empty corpus, unless it must exist.
    """
    folder.mkdir(parents=True)
    if not given.is_dir():
        if given.exists() or must_exist:
            raise Stop(USAGE, f"{given} is no folder of inputs", "name a folder by --corpus")
        return 0
    if built.target.typed:
        _tool(built, "pack", given, folder)
    else:
        for path in given.iterdir():
            if path.is_file():
                shutil.copy(path, folder / path.name)
    return sum(1 for _ in folder.iterdir())


def add(built: Built, corpus: Path, given: Path, mask: str) -> int:
    """Adds to `given` what reaches more than it does; what it has stays. Returns how many inputs it has then."""
    with tempfile.TemporaryDirectory(dir=corpus.parent) as name:
        base, fresh = Path(name) / "base", Path(name) / "fresh"
        load(built, given, base, must_exist=False)
        had = {path.name for path in base.iterdir()}
        _merge(built, base, corpus, mask)
        fresh.mkdir()
        for path in list(base.iterdir()):
            if path.name not in had:
                path.rename(fresh / path.name)
        put(_as_committed(built, fresh).iterdir(), given)
        return sum(1 for _ in given.iterdir())


def reduce(built: Built, together: Path, given: Path, mask: str) -> int:
    """Leaves in `given` those inputs of `together`, its own among them, that reach more than the others, and those that end in a finding.
    Returns how many these are."""
    with tempfile.TemporaryDirectory(dir=together.parent) as name:
        merged = Path(name) / "merged"
        merged.mkdir()
        _merge(built, merged, together, mask)
        old = [path for path in given.iterdir() if path.is_file()] if given.is_dir() else []
        kept = put(_as_committed(built, merged).iterdir(), given)
        for path in old:
            if path.name not in kept:
                path.unlink()
        return len(kept)


def _merge(built: Built, into: Path, others: Path, mask: str) -> None:
    """Adds to `into` what reaches more, and what ends in a finding, which libFuzzer leaves out otherwise."""
    with tempfile.TemporaryDirectory(dir=into.parent) as name, sockets_folder() as sockets:
        done = subprocess.run([str(built.program), "-merge=1", f"-artifact_prefix={name}/", str(into), str(others)], capture_output=True, text=True,
                              errors="replace", check=False, env=environment(mask, built) | sockets, cwd=name)
        if done.returncode != 0:
            raise Stop(INFRASTRUCTURE, f"the corpus cannot be merged: {done.stderr.strip()[-300:]}")
        have = {path.read_bytes() for path in into.iterdir()}
        for path in Path(name).glob("*-*"):
            if path.read_bytes() not in have:
                shutil.copy(path, into / path.name.rpartition("-")[2])


def _as_committed(built: Built, folder: Path) -> Path:
    if not built.target.typed:
        return folder
    texts = folder.with_name(folder.name + "-texts")
    _tool(built, "unpack", folder, texts)
    return texts


def put(files: Iterable[Path], given: Path) -> set[str]:
    """Each file into the folder `given`, whole or not at all. Returns their names."""
    names = set()
    try:
        given.mkdir(parents=True, exist_ok=True)
        for path in files:
            partial = given / f".{path.name}.part"
            try:
                shutil.copyfile(path, partial)
                partial.rename(given / path.name)
            except OSError:
                partial.unlink(missing_ok=True)
                raise
            names.add(path.name)
    except OSError as error:
        raise Stop(INFRASTRUCTURE, f"{given}: {error.strerror}") from None
    return names


def print_input(built: Built, path: Path) -> str:
    """As text. Raises Stop when it is none."""
    done = subprocess.run([str(built.tool), "print", str(path)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Stop(USAGE, done.stderr.strip().removeprefix("displif-fuzz-input: "))
    return done.stdout


def pack_text(built: Built, text: str, folder: Path) -> Path:
    """The binary form of an input's text, in `folder`."""
    source, target = folder / "text", folder / "binary"
    source.mkdir(exist_ok=True)
    (source / "input.txt").write_text(text, encoding="utf-8")
    _tool(built, "pack", source, target)
    return target / "input"


def pack_texts(built: Built, texts: list[str], folder: Path) -> list[Path]:
    """The same of several, in their order."""
    source, target = folder / "texts", folder / "binaries"
    for old in (source, target):
        shutil.rmtree(old, ignore_errors=True)
    source.mkdir()
    names = [f"{number:06}" for number in range(len(texts))]
    for name, text in zip(names, texts):
        (source / f"{name}.txt").write_text(text, encoding="utf-8")
    _tool(built, "pack", source, target)
    return [target / name for name in names]
