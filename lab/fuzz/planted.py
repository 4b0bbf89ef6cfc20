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
from typing import Callable, Iterable, Iterator, Sequence

import yaml

from lab.build import ROOT
from lab.errors import INFRASTRUCTURE, USAGE, Stop
from lab.kernel.source import find_source
from lab.progress import Progress

from .builds import Built, build_target, stock_driver
from .engine import Found, Fuzzing, Settings
from .guest_findings import known_in_guest
from .guest_fuzz import GuestFuzzing, GuestTotals, coverage_bed, input_tool
from .guest_replay import complaints_of_peer
from .targets import TARGETS, Target

FOLDER = ROOT / "fuzzers" / "planted"
MAX_MACHINES = 8  # of the qemu bed, side by side


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
    trouble: str = ""  # why it could not be looked for


def file_of(target: Target) -> Path:
    return FOLDER / f"{target.defects_of or target.name}.yaml"


def defects_of(target: Target) -> list[Defect]:
    file = file_of(target)
    if not file.exists():
        raise Stop(USAGE, f"nothing is planted in {target.name}", "targets with defects: " + ", ".join(
            each.name for each in TARGETS if file_of(each).exists()))
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
    tried = [each for each in outcomes if not each.trouble]
    found = sum(each.finding is not None for each in tried)
    print(f"{found} of {len(tried)} found from an empty corpus, {effort} each at most; load {os.getloadavg()[0]:.1f}")
    return 0 if found == len(tried) else 1


def row(outcome: Outcome) -> str:
    when = f"{outcome.seconds:.1f} s" if outcome.finding else "not tried" if outcome.trouble else "not found"
    return f"{outcome.name:<34} {outcome.kind:<7} {when:>12} {outcome.executions:>11}  {outcome.finding or outcome.trouble or outcome.what}"


def _matches(name: str, globs: Sequence[str]) -> bool:
    return any(re.fullmatch(glob.replace("*", ".*"), name) for glob in globs)


def _all(target: Target, globs: Sequence[str], effort: Effort, progress: Progress) -> Iterator[Outcome]:
    with tempfile.TemporaryDirectory(prefix="displif-cts-planted-") as name:
        work = Path(name)
        stock = stock_driver(progress) if target.driver else ROOT
        try_tree: Try = (_in_guests(effort, progress) if target.guest else
                         _in_process(target, effort, progress))
        for defect in defects_of(target):
            if _matches(defect.name, globs):
                yield try_tree(defect.name, "memory", defect.what, _tree(target, stock, defect, work))
        if target.driver:
            yield from _mutants(stock, globs, work, try_tree)
        elif target.role == "backend":
            built = build_target(target, progress)
            look = _looker(effort, progress)
            for fault, what in _faults(built):
                if _matches(fault, globs):
                    yield look(fault, "fault", what, built, {"DISPLIF_FUZZ_FAULT": fault})


Try = Callable[[str, str, str, Path], Outcome]  # with the tree that holds the defect


def _in_process(target: Target, effort: Effort, progress: Progress) -> Try:
    look = _looker(effort, progress)

    def attempt(name: str, kind: str, what: str, tree: Path) -> Outcome:
        if target.driver:
            return look(name, kind, what, build_target(target, progress, driver_tree=tree), {})
        return look(name, kind, what, build_target(target, progress, peer=tree), {})

    return attempt


def _in_guests(effort: Effort, progress: Progress) -> Try:
    """In machines whose guests have poisoned slabs with red zones: their kernel has no other eyes for memory. What Debian's driver is
    known for is masked; what only looks like it is told apart by the same input and Debian's driver."""
    tool, complaints, known = input_tool(progress), complaints_of_peer(), list(known_in_guest())

    def fuzz(tree: Path | None, inputs: list[tuple[str, str]], folder: Path, effort: Effort) -> GuestTotals:
        bed, places = coverage_bed(progress, tree, paranoid=True)
        with bed:
            jobs = min(os.cpu_count() or 1, effort.runs or MAX_MACHINES, MAX_MACHINES)
            return GuestFuzzing(bed, tool, places, complaints, known, folder, effort.seconds, effort.runs, jobs, effort.seed, progress,
                                first_finding=True).run(inputs)

    def attempt(name: str, kind: str, what: str, tree: Path) -> Outcome:
        with tempfile.TemporaryDirectory(prefix="displif-cts-planted-") as folder:
            started = time.monotonic()
            totals = fuzz(tree, [], Path(folder), effort)
            used, found = time.monotonic() - started, list(totals.found.values())
            for mask, looks_known in totals.known.items() if not found else ():
                again = fuzz(None, [("again", looks_known.input.read_text(encoding="utf-8"))], Path(folder) / f"stock-{mask}",
                             Effort(None, 1, effort.seed))
                if mask not in again.known and again.runs > again.troubles:
                    found.append(looks_known)
            return _outcome(name, kind, what, found, used, totals.runs)

    return attempt


def _outcome(name: str, kind: str, what: str, all_found: Iterable[Found], used: float, runs: int) -> Outcome:
    found = min(all_found, key=lambda each: each.seconds, default=None)
    return Outcome(name, kind, what, found.finding.title() if found else None, found.seconds if found else used, runs)


Look = Callable[[str, str, str, Built, dict[str, str]], Outcome]


def _looker(effort: Effort, progress: Progress) -> Look:
    def look(name: str, kind: str, what: str, built: Built, environment: dict[str, str]) -> Outcome:
        with tempfile.TemporaryDirectory(prefix="displif-cts-planted-") as folder:
            corpus = Path(folder) / "corpus"
            corpus.mkdir()
            settings = Settings(effort.seconds, effort.runs, 1, effort.seed, "all", first_finding=True, environment=environment)
            started = time.monotonic()
            totals = Fuzzing(built, settings, Path(folder), corpus, progress).run()
            return _outcome(name, kind, what, totals.found.values(), time.monotonic() - started, totals.runs)

    return look


def _tree(target: Target, root: Path, defect: Defect, work: Path) -> Path:
    """The driver with the defect; of our own code, the one file that differs."""
    text = planted(defect, (root / defect.file).read_text(encoding="utf-8"))
    place = work / defect.name / defect.file
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf-8")
    return tree_with(root, {Path(defect.file): place}, work / "driver") if target.driver else work / defect.name


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


def _mutants(source: Path, globs: Sequence[str], work: Path, attempt: Try) -> Iterator[Outcome]:
    """The driver mutants, whose defects are the protocol's: what crashes nothing and leaves nothing behind is not found."""
    from lab.mutants.patches import apply, list_mutants

    for mutant in list_mutants():
        if not _matches(mutant.name, globs):
            continue
        try:
            patched = find_source(apply(mutant, source, work / mutant.name)).files
            yield attempt(mutant.name, "mutant", mutant.description, tree_with(source, patched, work / "driver"))
        except Stop as error:
            yield Outcome(mutant.name, "mutant", mutant.description, None, 0.0, 0, trouble=error.message)


def _faults(built: Built) -> list[tuple[str, str]]:
    """Deviations and omissions of the suite's own backend, as its program lists them."""
    done = subprocess.run([str(built.program), "-help=1"], capture_output=True, text=True, check=False,
                          env={"DISPLIF_FUZZ_LIST": "1"})
    lines = [line.split("\t") for line in done.stdout.splitlines() if line.count("\t") == 1]
    return [(name, what) for name, what in lines if ".stress." not in name]
