"""`fuzz TARGET --coverage`: which lines of the code under test a corpus reaches, by file."""
from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

from lab.errors import INFRASTRUCTURE, Stop
from lab.progress import Progress

from .builds import Built, build_target
from .corpus import load
from .engine import environment
from .targets import Target

TOOLS = Path("/usr/lib/llvm-14/bin")


def report(target: Target, corpus: Path, progress: Progress) -> int:
    built = build_target(target, progress, "fuzz-coverage")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = load(built, corpus, folder / "corpus")
        files = measure(built, folder)
    lines = covered = 0
    for path, (hit, total, _) in sorted(files.items()):
        print(f"{100 * hit / max(total, 1):6.1f} %  {hit:>4} of {total:>4} lines  {path}")
        lines, covered = lines + total, covered + hit
    print(f"{100 * covered / max(lines, 1):6.1f} %  {covered:>4} of {lines:>4} lines  {len(files)} files, {count} inputs of {corpus}")
    for path, (_, _, missed) in sorted(files.items()):
        if missed:
            print(f"not reached  {path}: {missed}")
    return 0


def measure(built: Built, folder: Path) -> dict[str, tuple[int, int, str]]:
    """file -> (lines reached, lines, which are not), of the inputs in folder/corpus."""
    raw = folder / "raw.profraw"
    done = subprocess.run([str(built.program), "-runs=0", str(folder / "corpus")], capture_output=True, text=True, errors="replace",
                          check=False, env=environment("all") | {"LLVM_PROFILE_FILE": str(raw)}, cwd=folder)
    if done.returncode != 0 or not raw.exists():
        raise Stop(INFRASTRUCTURE, f"the corpus does not replay: {done.stderr.strip()[-300:]}")
    profile = folder / "merged.profdata"
    _run([TOOLS / "llvm-profdata", "merge", "-o", profile, raw])
    text = _run([TOOLS / "llvm-cov", "export", "-instr-profile", profile, built.program])
    result: dict[str, tuple[int, int, str]] = {}
    for entry in json.loads(text)["data"][0]["files"]:
        name = entry["filename"]
        if not any(part in os.path.basename(name) or f"/{part}/" in name for part in built.target.sources) or not name.endswith((".c", ".cc")):
            continue
        lines = entry["summary"]["lines"]
        result[os.path.basename(name)] = (lines["covered"], lines["count"], _missed(entry["segments"]))
    return result


def _missed(segments: list[list[object]]) -> str:
    """Line numbers where a region without an execution begins."""
    lines = sorted({int(str(s[0])) for s in segments if s[3] and s[4] and int(str(s[2])) == 0})
    return ", ".join(map(str, lines))


def _run(argv: list[str | Path]) -> str:
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Stop(INFRASTRUCTURE, f"{Path(argv[0]).name} failed: {done.stderr.strip()[-300:]}")
    return done.stdout
