"""`fuzz planted TARGET`: defects that are put into the code under test, one at a time, each looked for from an empty corpus."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, Sequence

import yaml

from lab.build import ROOT
from lab.errors import INFRASTRUCTURE, USAGE, Stop
from lab.kernel import stock_driver_source
from lab.kernel.source import find_source
from lab.progress import Progress
from lab.qemu.errors import BedError

from .builds import Built, build_target
from .engine import Fuzzing, Settings
from .targets import Target

FOLDER = ROOT / "fuzzers" / "planted"


@dataclass(frozen=True)
class Defect:
    name: str
    what: str
    file: str
    function: str
    before: str
    after: str


@dataclass(frozen=True)
class Outcome:
    name: str
    kind: str  # memory, mutant, fault
    what: str
    finding: str | None  # what it was found as; None: not found
    seconds: float
    executions: int
    built: bool = True


def defects_of(target: Target) -> list[Defect]:
    file = FOLDER / f"{target.name}.yaml"
    if not file.exists():
        raise Stop(USAGE, f"nothing is planted in {target.name}", "targets with defects: " + ", ".join(
            sorted(path.stem for path in FOLDER.glob("*.yaml"))))
    return [Defect(each["name"], each["what"], each["file"], each["function"], each["from"], each["to"])
            for each in yaml.safe_load(file.read_text(encoding="utf-8"))]


def planted(defect: Defect, text: str) -> str:
    """The file's text with the defect. Raises Stop unless its place is there, once."""
    for found in re.finditer(rf"\b{re.escape(defect.function)}\(", text):
        head = re.match(r"[^;{]*\{", text[found.start():])
        if not head:
            continue  # a call or a declaration
        line = text.rfind("\n", 0, found.start()) + 1
        indent = re.match(r" *", text[line:])
        end = re.compile(rf"^{indent[0] if indent else ''}\}}", re.MULTILINE).search(text, found.start() + head.end())
        body = text[found.start():end.end() if end else len(text)]
        if body.count(defect.before) == 1:
            at = found.start() + body.index(defect.before)
            return text[:at] + defect.after + text[at + len(defect.before):]
    raise Stop(INFRASTRUCTURE, f"{defect.name}: {defect.function} in {defect.file} does not have `{defect.before}` once",
               f"correct it in {FOLDER}")


@dataclass(frozen=True)
class Effort:
    """What is spent on one defect: whichever is over first."""

    seconds: float | None
    runs: int | None
    seed: int

    def __str__(self) -> str:
        return " or ".join([*([f"{self.seconds:.0f} s"] if self.seconds is not None else []),
                            *([f"{self.runs} executions"] if self.runs is not None else [])])


def run_planted(target: Target, globs: Sequence[str], effort: Effort, progress: Progress) -> int:
    wanted = [name for name in globs] or ["*"]
    outcomes = []
    print(f"{'defect':<34} {'kind':<7} {'found after':>12} {'executions':>11}  as")
    for outcome in _all(target, wanted, effort, progress):
        outcomes.append(outcome)
        print(row(outcome), flush=True)
    if not outcomes:
        raise Stop(USAGE, f"no defect of {target.name} has such a name", f"they are in {FOLDER} and lab/mutants")
    tried = [each for each in outcomes if each.built]
    found = sum(each.finding is not None for each in tried)
    print(f"{found} of {len(tried)} found from an empty corpus, {effort} each at most; load {os.getloadavg()[0]:.1f}")
    return 0 if found == len(tried) else 1


def row(outcome: Outcome) -> str:
    when = f"{outcome.seconds:.1f} s" if outcome.finding else "not found" if outcome.built else "not built"
    return f"{outcome.name:<34} {outcome.kind:<7} {when:>12} {outcome.executions:>11}  {outcome.finding or outcome.what}"


def _matches(name: str, globs: Sequence[str]) -> bool:
    return any(re.fullmatch(glob.replace("*", ".*"), name) for glob in globs)


def _all(target: Target, globs: Sequence[str], effort: Effort, progress: Progress) -> Iterator[Outcome]:
    look = _looker(target, effort, progress)
    with tempfile.TemporaryDirectory(prefix="displif-cts-planted-") as name:
        work = Path(name)
        for defect in defects_of(target):
            if _matches(defect.name, globs):
                yield look(defect.name, "memory", defect.what, _build(target, defect, work / defect.name, progress), {})
        if target.driver:
            yield from _mutants(target, globs, work, look, progress)
        elif target.role == "backend":
            built = build_target(target, progress)
            for fault, what in _faults(built):
                if _matches(fault, globs):
                    yield look(fault, "fault", what, built, {"DISPLIF_FUZZ_FAULT": fault})


Look = Callable[[str, str, str, Built, dict[str, str]], Outcome]


def _looker(target: Target, effort: Effort, progress: Progress) -> Look:
    def look(name: str, kind: str, what: str, built: Built, environment: dict[str, str]) -> Outcome:
        with tempfile.TemporaryDirectory(prefix="displif-cts-planted-") as folder:
            corpus = Path(folder) / "corpus"
            corpus.mkdir()
            settings = Settings(effort.seconds, effort.runs, 1, effort.seed, "all", first_finding=True, environment=environment)
            started = time.monotonic()
            totals = Fuzzing(built, settings, Path(folder), corpus, progress).run()
            used = time.monotonic() - started
        found = min(totals.found.values(), key=lambda each: each.seconds, default=None)
        return Outcome(name, kind, what, found.finding.title() if found else None, found.seconds if found else used, totals.runs)

    return look


def _build(target: Target, defect: Defect, work: Path, progress: Progress) -> Built:
    try:
        root = stock_driver_source(progress=progress.bed) if target.driver else ROOT
    except BedError as error:
        raise Stop(INFRASTRUCTURE, error.message, error.hint) from None
    text = planted(defect, (root / defect.file).read_text(encoding="utf-8"))
    place = work / defect.file
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf-8")
    if not target.driver:
        return build_target(target, progress, peer=work)
    return build_target(target, progress, driver_tree=tree_with(root, {Path(defect.file): place}, work.parent / "driver"))


def tree_with(stock: Path, changed: dict[Path, Path], tree: Path) -> Path:
    """`tree` as the stock one but for the changed files. It stays the same folder, and a file that does not change is not touched: little
    is compiled for the next defect."""
    if not tree.exists():
        shutil.copytree(stock, tree)
    for place in (path.relative_to(stock) for path in stock.rglob("*.[ch]")):
        content = changed.get(place, stock / place).read_bytes()
        if (tree / place).read_bytes() != content:
            (tree / place).write_bytes(content)
    return tree


def _mutants(target: Target, globs: Sequence[str], work: Path, look: Look, progress: Progress) -> Iterator[Outcome]:
    """The driver mutants, whose defects are the protocol's: what crashes nothing and leaves nothing behind is not found."""
    from lab.mutants.patches import apply, list_mutants

    source = stock_driver_source(progress=progress.bed)
    for mutant in list_mutants():
        if not _matches(mutant.name, globs):
            continue
        try:
            patched = find_source(apply(mutant, source, work / mutant.name)).files
            built = build_target(target, progress, driver_tree=tree_with(source, patched, work / "driver"))
        except Stop:
            yield Outcome(mutant.name, "mutant", mutant.description, None, 0.0, 0, built=False)
            continue
        yield look(mutant.name, "mutant", mutant.description, built, {})


def _faults(built: Built) -> list[tuple[str, str]]:
    """Deviations and omissions of the suite's own backend, as its program lists them."""
    done = subprocess.run([str(built.program), "-help=1"], capture_output=True, text=True, check=False,
                          env={"DISPLIF_FUZZ_LIST": "1"})
    lines = [line.split("\t") for line in done.stdout.splitlines() if line.count("\t") == 1]
    return [(name, what) for name, what in lines if ".stress." not in name]
