"""libFuzzer's processes: started, watched, and started again after each finding until the time is up."""
from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from lab.errors import INFRASTRUCTURE, Stop
from lab.process import end_group
from lab.progress import Progress

from .builds import Built
from .findings import Finding, parse
from .sequence import HISTORY, SEQUENCE
from .sockets import sockets_folder

MAX_LEN = 4096  # octets of an input
TIMEOUT = 10  # seconds of one execution, wall clock: loops are bounded by the target itself
EVERY = 10.0  # seconds between lines
QUICK = 5  # endings without one execution in a row: the target is broken
_COVERAGE = re.compile(r"cov: (\d+)")
_INPUTS = re.compile(r"corp: (\d+)/")
_RUNS = re.compile(r"^stat::number_of_executed_units:\s+(\d+)", re.MULTILINE)


@dataclass
class Found:
    finding: Finding
    input: Path
    log: Path
    times: int = 1
    seconds: float = 0.0  # from the start to the first time


@dataclass
class Totals:
    runs: int = 0
    coverage: int = 0
    inputs: int = 0
    found: dict[str, Found] = field(default_factory=dict)
    cpu: float = 0.0  # seconds of the finished processes


@dataclass(frozen=True)
class Settings:
    seconds: float | None
    runs: int | None
    jobs: int
    seed: int
    mask: str
    first_finding: bool = False  # that ends the run
    blind: bool = False  # AFL++ sees nothing of what is executed: -n
    environment: dict[str, str] = field(default_factory=dict)  # besides the usual


def environment(mask: str, built: Built | None = None) -> dict[str, str]:
    """The target's: which known findings it passes over, and who makes its stacks readable."""
    result = dict(os.environ, DISPLIF_FUZZ_MASK=mask) | (built.environment if built is not None else {})
    result.pop("DISPLIF_FUZZ_VERBOSE", None)
    symbolizer = Path("/usr/lib/llvm-14/bin/llvm-symbolizer")
    if symbolizer.exists():
        result.setdefault("ASAN_SYMBOLIZER_PATH", str(symbolizer))
    return result


class Fuzzing:
    """One run of a target: `jobs` processes that share a corpus."""

    def __init__(self, built: Built, settings: Settings, folder: Path, corpus: Path, progress: Progress) -> None:
        self._built, self._settings, self._folder, self._corpus = built, settings, folder, corpus
        self._progress = progress
        self._lock = threading.Lock()
        self._start = time.monotonic()
        self._running: dict[int, tuple[int, int, int]] = {}  # job -> runs, coverage, inputs of its process
        self._children: list[subprocess.Popen[bytes]] = []
        self._stopped = False
        self.totals = Totals()

    def run(self) -> Totals:
        threads = [threading.Thread(target=self._job, args=(job,), daemon=True) for job in range(self._settings.jobs)]
        self._errors: list[BaseException] = []
        try:
            for thread in threads:
                thread.start()
            told = time.monotonic()
            while any(thread.is_alive() for thread in threads):
                time.sleep(0.1)
                if time.monotonic() - told >= EVERY:
                    told = time.monotonic()
                    self._progress.say("fuzz", self.line())
        finally:
            self._stopped = True
            for child in list(self._children):
                end_group(child)
            for thread in threads:
                thread.join()
        if self._errors:
            raise self._errors[0]
        return self.totals

    def line(self) -> str:
        with self._lock:
            runs = self.totals.runs + sum(runs for runs, _, _ in self._running.values())
            coverage = max([self.totals.coverage, *(cov for _, cov, _ in self._running.values())])
            inputs = max([self.totals.inputs, *(count for _, _, count in self._running.values())])
            unique, times = len(self.totals.found), sum(found.times for found in self.totals.found.values())
        seconds = max(time.monotonic() - self._start, 0.001)
        return (f"{runs} executions ({runs / seconds:.0f}/s), {coverage} edges, {inputs} inputs, "
                f"{unique} unique findings ({times} in all)")

    def _left(self) -> float | None:
        if self._settings.seconds is None:
            return None
        return self._settings.seconds - (time.monotonic() - self._start)

    def _job(self, job: int) -> None:
        try:
            quick = 0
            for attempt in range(1_000_000):
                left = self._left()
                if self._stopped or (left is not None and left < 1) or self._runs_left() == 0:
                    return
                runs = self._process(job, attempt, left)
                quick = 0 if runs else quick + 1
                if quick == QUICK:
                    raise Stop(INFRASTRUCTURE, f"{self._built.program.name} ends before it executes anything",
                               f"its last words are in {self._log(job)}")
        except BaseException as error:  # told by run()
            self._errors.append(error)
            self._stopped = True

    def _log(self, job: int) -> Path:
        return self._folder / f"job-{job}.log"

    def _history(self, job: int) -> Path:
        return self._folder / f"job-{job}.history"

    def _runs_left(self) -> int | None:
        if self._settings.runs is None:
            return None
        return max(0, self._settings.runs - self.totals.runs)

    def _process(self, job: int, attempt: int, left: float | None) -> int:
        artifacts = self._folder / f"job-{job}"
        artifacts.mkdir(exist_ok=True)
        options = [f"-max_len={MAX_LEN}", f"-timeout={TIMEOUT}", "-rss_limit_mb=2048", "-print_final_stats=1", "-reload=1", "-detect_leaks=0",
                   f"-artifact_prefix={artifacts}/", f"-seed={self._settings.seed + 1000 * job + attempt}"]
        if left is not None:
            options.append(f"-max_total_time={max(1, int(left))}")
        if (runs_left := self._runs_left()) is not None:
            options.append(f"-runs={runs_left}")
        kept = {HISTORY: str(self._history(job))} if self._built.target.command else {}
        with sockets_folder() as sockets, open(self._log(job), "wb") as log:
            child = subprocess.Popen([str(self._built.program), *options, str(self._corpus)], stdin=subprocess.DEVNULL,
                                     stdout=log, stderr=subprocess.STDOUT, cwd=self._folder, start_new_session=True,
                                     env=environment(self._settings.mask, self._built) | sockets | kept | self._settings.environment)
            self._watch(job, child)
        return self._ended(job, child.returncode, artifacts)

    def _watch(self, job: int, child: "subprocess.Popen[bytes]") -> None:
        self._children.append(child)
        try:
            while child.poll() is None and not self._stopped:
                time.sleep(0.2)
                self._note(job)
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        finally:
            self._children.remove(child)

    def _note(self, job: int) -> None:
        try:
            with open(self._log(job), "rb") as log:
                log.seek(max(0, os.path.getsize(self._log(job)) - 4096))
                lines = log.read().decode(errors="replace").splitlines()
        except OSError:
            return
        for line in reversed(lines):
            if re.match(r"^#\d+\s", line):
                self._running[job] = _figures(line)
                return

    def _ended(self, job: int, status: int, artifacts: Path) -> int:
        text = self._log(job).read_text(encoding="utf-8", errors="replace")
        runs = _RUNS.search(text)
        self._note(job)
        with self._lock:
            _, coverage, inputs = self._running.pop(job, (0, 0, 0))
            executed = int(runs[1]) if runs else 0
            self.totals.runs += executed
            self.totals.coverage = max(self.totals.coverage, coverage)
            self.totals.inputs = max(self.totals.inputs, inputs)
        if status not in (0, None) and not self._stopped:
            self._keep(job, text, artifacts)
        return executed

    def _keep(self, job: int, text: str, artifacts: Path) -> None:
        finding = parse(text)
        files = sorted(artifacts.iterdir())
        if finding is None:
            if "No space left" in text:
                raise Stop(INFRASTRUCTURE, f"no space in {self._folder}", "free some, or name another folder by --out")
            raise Stop(INFRASTRUCTURE, f"{self._built.program.name} ended without a finding: {_last_line(text)}",
                       f"all it said is in {self._log(job)}")
        self._pass_over(files)
        with self._lock:
            known = self.totals.found.get(finding.key)
            if known:
                known.times += 1
            elif files:
                place = self._folder / "findings" / finding.key
                place.mkdir(parents=True, exist_ok=True)
                files[-1].rename(place / "input")
                (place / "log.txt").write_text(text, encoding="utf-8")
                if self._history(job).exists():
                    shutil.copy(self._history(job), place / SEQUENCE)
                self.totals.found[finding.key] = Found(finding, place / "input", place / "log.txt", 1,
                                                       time.monotonic() - self._start)
                self._progress.say("finding", f"{finding.key}: {finding.title()}")
        for file in files:
            file.unlink(missing_ok=True)
        if self._settings.first_finding:
            self._stopped = True

    def _pass_over(self, ended: list[Path]) -> None:
        """A process begins with the corpus: what one of its inputs ended would not come past it again."""
        contents = {file.read_bytes() for file in ended}
        sizes = {len(content) for content in contents}
        for path in self._corpus.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process has found a smaller one that reaches as much
                if path.stat().st_size in sizes and path.read_bytes() in contents:
                    path.unlink()


def _figures(line: str) -> tuple[int, int, int]:
    runs = re.match(r"^#(\d+)", line)
    coverage, inputs = _COVERAGE.search(line), _INPUTS.search(line)
    return int(runs[1]) if runs else 0, int(coverage[1]) if coverage else 0, int(inputs[1]) if inputs else 0


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
