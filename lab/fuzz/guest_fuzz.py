"""The target guest-frontend: sessions of made-up messages in machines of the qemu bed, several to a machine as long as it
stays as it was found, a fresh one after any finding. What reaches more of the driver is kept."""
from __future__ import annotations

import random
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from lab.build import build
from lab.errors import INFRASTRUCTURE, USAGE, Stop
from lab.progress import Progress
from lab.qemu.errors import BedError
from lab.qemu.instance import Instance

from .builds import INPUT_TOOL
from .corpus import put
from .engine import EVERY, Found
from .guest_findings import KnownInGuest, finding_of, known_in_guest
from .guest_places import Places
from .sessions import Outcome, SessionBed

BATCH = 8  # inputs that are handed to a machine together
MOST = 32  # actions of an input: a session waits for most of them
PER_MACHINE = 64  # sessions
TROUBLE = 5  # sessions in a row that come to no verdict: the bed is broken


@dataclass
class GuestTotals:
    runs: int = 0
    messages: int = 0
    machines: int = 0
    troubles: int = 0
    known: dict[str, Found] = field(default_factory=dict)  # by the name of what is masked
    found: dict[str, Found] = field(default_factory=dict)
    blocks: set[int] = field(default_factory=set)


def input_tool(progress: Progress) -> Path:
    with progress.phase("build", INPUT_TOOL):
        return build("release", [INPUT_TOOL]) / "fuzzers" / "input" / INPUT_TOOL


def run_tool(tool: Path, *words: str | Path) -> str:
    done = subprocess.run([str(tool), *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        first = done.stderr.strip().splitlines()[0] if done.stderr.strip() else f"status {done.returncode}"
        raise Stop(USAGE if done.returncode == 2 else INFRASTRUCTURE, first.removeprefix(f"{INPUT_TOOL}: "),
                   "correct the input or take it out of the corpus" if done.returncode == 2 else "")
    return done.stdout


class GuestFuzzing:
    """One run. Inputs are texts all the way: a session costs so much that their form costs nothing."""

    def __init__(self, bed: SessionBed, tool: Path, places: Places, known_complaints: list[str], mask: list[str],
                 folder: Path, seconds: float | None, runs: int | None, jobs: int, seed: int, progress: Progress,
                 first_finding: bool = False) -> None:
        self._bed, self._tool, self._places, self._complaints = bed, tool, places, known_complaints
        known = known_in_guest()
        self._known: list[KnownInGuest] = [known[name] for name in mask]
        self._mask = ",".join(mask) or "none"
        self._folder, self._seconds, self._runs, self._jobs = folder, seconds, runs, jobs
        self._random = random.Random(seed)
        self._progress = progress
        self._first_finding = first_finding  # that ends the run
        self._lock = threading.Lock()
        self._waiting: list[tuple[str, str]] = []  # inputs that are to be played as they are
        self._features: set[str] = set()
        self._taken = 0
        self._in_a_row = 0
        self._stopped = False
        self._errors: list[BaseException] = []
        self.totals = GuestTotals()
        self.corpus = folder / "corpus"

    def run(self, seeds: list[tuple[str, str]]) -> GuestTotals:
        self.corpus.mkdir(parents=True)
        self._waiting = list(reversed(seeds))
        self._start = time.monotonic()
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self._jobs)]
        try:
            for thread in threads:
                thread.start()
            told = self._start
            while any(thread.is_alive() for thread in threads):
                time.sleep(0.1)
                if time.monotonic() - told >= EVERY:
                    told = time.monotonic()
                    self._progress.say("fuzz", self.line())
        finally:
            self._stopped = True
            for thread in threads:
                thread.join()
        if self._errors:
            raise self._errors[0]
        return self.totals

    def line(self) -> str:
        with self._lock:
            totals, seconds = self.totals, max(time.monotonic() - self._start, 0.001)
            return (f"{totals.runs} sessions ({totals.runs / seconds:.2f}/s), {totals.messages / seconds:.1f} messages/s, "
                    f"{len(totals.blocks)} of {len(self._places)} blocks, {sum(1 for _ in self.corpus.iterdir())} inputs, "
                    f"{len(totals.found)} unique findings, {totals.machines} machines")

    def _over(self) -> bool:
        late = self._seconds is not None and time.monotonic() - self._start >= self._seconds
        return self._stopped or late or (self._runs is not None and self._taken >= self._runs)

    def _work(self) -> None:
        try:
            while not self._over():
                with self._bed.machine() as machine:
                    with self._lock:
                        self.totals.machines += 1
                    self._work_in(machine)
        except BedError as error:
            self._fail(Stop(INFRASTRUCTURE, error.message, error.hint))
        except BaseException as error:  # told by run()
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._errors.append(error)
        self._stopped = True

    def _work_in(self, machine: Instance) -> None:
        """Until the machine is not as it was found, or has served long enough."""
        played = 0
        while played < PER_MACHINE and not self._over():
            batch = self._next_batch()
            if not batch:
                return
            texts = dict(batch)

            def take(outcome: Outcome) -> None:
                with self._lock:
                    self._take(outcome, texts[outcome.name])

            outcomes = self._bed.play(machine, batch, self._mask, take)
            with self._lock:
                self._waiting += reversed(batch[len(outcomes):])
                self._taken -= len(batch) - len(outcomes)
            played += len(outcomes)
            if not outcomes or len(outcomes) < len(batch) or outcomes[-1].verdict not in ("pass", "warn"):
                return

    def _next_batch(self) -> list[tuple[str, str]]:
        with self._lock:
            count = BATCH if self._runs is None else min(BATCH, self._runs - self._taken)
            if count <= 0:
                return []
            batch = [self._waiting.pop() for _ in range(min(count, len(self._waiting)))]
            if not batch:
                batch = self._made(count)
            self._taken += len(batch)
            return batch

    def _made(self, count: int) -> list[tuple[str, str]]:
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            number = self._random.getrandbits(60)
            run_tool(self._tool, "make", str(number), str(count), str(MOST), self.corpus, name)
            return [(f"m{number:015x}-{path.stem}", path.read_text(encoding="utf-8"))
                    for path in sorted(Path(name).iterdir())]

    def _take(self, outcome: Outcome, text: str) -> None:
        totals = self.totals
        totals.runs += 1
        session = outcome.session
        totals.messages += sum(int(session.get(kind, 0)) for kind in ("requests", "responses", "events"))
        self._in_a_row = self._in_a_row + 1 if outcome.verdict == "infra-error" else 0
        if outcome.verdict == "infra-error":
            totals.troubles += 1
            self._progress.say("trouble", f"{outcome.name}: {outcome.reason.splitlines()[0] if outcome.reason else ''}")
            if self._in_a_row == TROUBLE:
                raise Stop(INFRASTRUCTURE, f"{TROUBLE} sessions in a row came to no verdict: {outcome.reason}")
            return
        news = outcome.executed - self._features
        self._features |= news
        totals.blocks |= self._places.known(news)
        finding = finding_of(outcome, self._complaints, self._places.functions(str(session.get("spinning", "")).split()))
        if finding is None:
            if news:
                (self.corpus / f"{outcome.name}.txt").write_text(text, encoding="utf-8")
            return
        known = next((known.name for known in self._known if known.is_this(finding)), None)
        where, by, kind = (totals.found, finding.key, "findings") if known is None else (totals.known, known, "known")
        if by in where:
            where[by].times += 1
            return
        place = self._folder / kind / by
        place.mkdir(parents=True)
        (place / "input").write_text(text, encoding="utf-8")
        (place / "log.txt").write_text(outcome.text(), encoding="utf-8")
        where[by] = Found(finding, place / "input", place / "log.txt", 1, time.monotonic() - self._start)
        if known is None:
            self._progress.say("finding", f"{finding.key}: {finding.title()}")
            self._stopped = self._stopped or self._first_finding


def seeds_in(tool: Path, folder: Path, must_exist: bool) -> list[tuple[str, str]]:
    """The inputs of a corpus as texts, whatever their form; what is none is named."""
    if not folder.is_dir():
        if folder.exists() or must_exist:
            raise Stop(USAGE, f"{folder} is no folder of inputs", "name a folder by --corpus")
        return []
    with tempfile.TemporaryDirectory() as name:
        run_tool(tool, "unpack", folder, name)
        return [(f"s{number}", path.read_text(encoding="utf-8")) for number, path in enumerate(sorted(Path(name).iterdir()))]


def coverage_bed(progress: Progress, driver_source: Path | None, paranoid: bool = False) -> tuple[SessionBed, Places]:
    bed = SessionBed(progress, coverage=True, driver_source=driver_source, paranoid=paranoid)
    return bed, Places(bed.modules, bed.sections())


def keep(corpus: Path, given: Path) -> int:
    """Adds what was kept to the user's folder; what it has stays. Returns how many it has then."""
    have = {path.read_bytes() for path in given.iterdir() if path.is_file()} if given.is_dir() else set()
    put([path for path in corpus.iterdir() if path.read_bytes() not in have], given)
    return sum(1 for path in given.iterdir() if path.is_file())
