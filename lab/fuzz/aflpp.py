"""AFL++'s processes: the target in persistent mode (preset fuzz-aflpp), with the suite's mutator in a library; or, where the code under
test is another's program without its instrumentation, -n, in a process for each input."""
from __future__ import annotations

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from lab.errors import INFRASTRUCTURE, Stop
from lab.process import end_group
from lab.progress import Progress

from .builds import Built
from .corpus import pack_text, pack_texts, print_input
from .engine import EVERY, MAX_LEN, TIMEOUT, Found, Settings, Totals, environment
from .findings import Finding, parse
from .sequence import HISTORY, SEQUENCE, actions_of, read_sequence, text_of
from .sockets import sockets_folder

PRESET = "fuzz-aflpp"
PROGRAM = "afl-fuzz"
PACKAGE = "afl++"
# Without instrumentation each crash is kept, and each seed costs some processes before the first mutant.
MOST_AGAIN = 50  # crashes of a process that are executed again
MOST_SEEDS = 16
EMPTY_INPUT = "displif-cts fuzz input 1\n"
# What AFL++ asks of the sanitizers, beside the target's own options.
_SANITIZERS = {"ASAN_OPTIONS": "abort_on_error=1:symbolize=0", "UBSAN_OPTIONS": "abort_on_error=1:halt_on_error=1:symbolize=0"}
# Nobody looks at a screen, and the machine is as it is: its governor and its handler of core dumps are not ours to set.
_ALWAYS = {"AFL_NO_UI": "1", "AFL_NO_AFFINITY": "1", "AFL_SKIP_CPUFREQ": "1", "AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES": "1"}
_STAT = re.compile(r"^(\w+)\s*: (.*)$", re.MULTILINE)


def need_aflpp() -> None:
    if not shutil.which(PROGRAM):
        raise Stop(INFRASTRUCTURE, f"{PROGRAM} is not installed", f"sudo apt-get install --no-install-recommends {PACKAGE}")


def stats_of(folder: Path) -> dict[str, str]:
    """What AFL++ wrote about one of its processes; nothing yet: empty."""
    try:
        return dict(_STAT.findall((folder / "fuzzer_stats").read_text(encoding="utf-8")))
    except OSError:
        return _plotted(folder)


def _plotted(folder: Path) -> dict[str, str]:
    """With -n there is a line of figures for plots, and nothing else."""
    try:
        names, *rows = (folder / "plot_data").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return {}
    row = dict(zip(names.lstrip("# ").split(", "), rows[-1].split(", "))) if rows else {}
    return {"execs_done": row["total_execs"], **row} if "total_execs" in row else {}


def names_for(sync: Path, jobs: int, shared: bool) -> list[tuple[str, str]]:
    """Option and name of each process. In a folder that machines share there is one main process of all."""
    prefix = f"{socket.gethostname()}-{os.getpid()}-" if shared else ""
    prefix = re.sub(r"[^A-Za-z0-9_-]", "-", prefix)[-24:]  # AFL++ takes 32 characters
    has_main = any(sync.glob("*/is_main_node"))
    return [("-M" if job == 0 and not has_main else "-S", f"{prefix}{job}") for job in range(jobs)]


class AflFuzzing:
    """One run of a target under AFL++: `jobs` processes that share a folder, with other machines if they are told to."""

    def __init__(self, built: Built, settings: Settings, folder: Path, corpus: Path, sync: Path | None, progress: Progress) -> None:
        self._built, self._settings, self._folder, self._corpus, self._progress = built, settings, folder, corpus, progress
        self._shared = sync is not None
        self._sync = sync or folder / "aflpp"
        self._blind = settings.blind
        self._seeds = folder / "seeds" if built.target.command else corpus
        self._program = built.replay if self._blind else built.program
        self._histories = folder / "histories"  # of programs of somebody's that live through many inputs
        self.totals = Totals()

    def run(self) -> Totals:
        try:
            self._sync.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Stop(INFRASTRUCTURE, f"{self._sync}: {error.strerror}") from None
        if self._built.target.command:
            self._take_seeds()
        if self._built.target.command and not self._blind:
            self._histories.mkdir()
        if not any(self._seeds.iterdir()):  # AFL++ wants one
            self._first_input()
        # Without instrumentation there is nothing to share: -M and -S are refused.
        names = ([("-n", str(job)) for job in range(self._settings.jobs)] if self._blind
                 else names_for(self._sync, self._settings.jobs, self._shared))
        children: list[subprocess.Popen[bytes]] = []
        with sockets_folder() as sockets:
            try:
                for option, name in names:
                    children.append(self._start(option, name, sockets))
                self._watch(children, [name for _, name in names])
            finally:
                for child in children:
                    end_group(child)
        for child, (_, name) in zip(children, names):
            self._ended(child, name)
        shutil.rmtree(self._histories, ignore_errors=True)
        return self.totals

    def _first_input(self) -> None:
        if self._built.target.typed:
            shutil.copy(pack_text(self._built, EMPTY_INPUT, self._folder), self._seeds / "first")
        else:
            (self._seeds / "first").write_bytes(b"\0")

    def _take_seeds(self) -> None:
        """Some of the corpus, without those that find something at once: AFL++ would pass over them."""
        self._seeds.mkdir()
        paths = sorted(self._corpus.iterdir())
        for path in random.Random(self._settings.seed).sample(paths, min(MOST_SEEDS, len(paths))):
            self.totals.runs += 1
            if self._execute(path) is None:
                shutil.copy(path, self._seeds)
        self._progress.say("fuzz", f"{sum(1 for _ in self._seeds.iterdir())} inputs to begin with")

    def _start(self, option: str, name: str, sockets: dict[str, str]) -> "subprocess.Popen[bytes]":
        mode = ["-o", str(self._sync / name), "-n"] if self._blind else ["-o", str(self._sync), option, name]
        argv = [PROGRAM, "-i", str(self._seeds), *mode, "-t", str(1000 * TIMEOUT), "-m", "none",
                "-G", str(MAX_LEN), "-s", str(self._settings.seed)]
        if self._settings.runs is not None:
            argv += ["-E", str(self._settings.runs)]
        if self._settings.seconds is not None:
            argv += ["-V", str(max(1, int(self._settings.seconds)))]
        ours = {"AFL_IMPORT_FIRST": "1"} if self._shared else {}  # what the others have, before all else
        if self._histories.exists():
            ours |= {HISTORY: str(self._histories)}
        if self._built.target.typed:
            ours |= {"AFL_FAST_CAL": "1"} if self._built.target.command else {}
            ours |= {"AFL_CUSTOM_MUTATOR_LIBRARY": str(self._built.mutator), "AFL_CUSTOM_MUTATOR_ONLY": "1"}
        with open(self._folder / f"{name}.log", "wb") as log:
            return subprocess.Popen([*argv, "--", str(self._program), *(["@@"] if self._blind else [])], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                    cwd=self._folder, start_new_session=True, env=environment(self._settings.mask, self._built) | sockets
                                    | self._settings.environment | _ALWAYS | _SANITIZERS | ours)

    def _watch(self, children: list["subprocess.Popen[bytes]"], names: list[str]) -> None:
        told = time.monotonic()
        while any(child.poll() is None for child in children):
            time.sleep(0.1)
            if time.monotonic() - told >= EVERY:
                told = time.monotonic()
                stats = [stats_of(self._sync / name) for name in names]
                runs = sum(int(each.get("execs_done", 0)) for each in stats)
                self._progress.say("fuzz", f"{runs} executions, {sum(int(each.get('saved_crashes', 0)) for each in stats)} crashes")

    def _ended(self, child: "subprocess.Popen[bytes]", name: str) -> None:
        stats = stats_of(self._sync / name)
        if child.returncode not in (0, -signal.SIGTERM, -signal.SIGKILL) or "execs_done" not in stats:
            text = (self._folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")
            lines = [line for line in re.sub(r"\x1b\[[0-9;]*m|[^\x20-\x7e\n]", "", text).splitlines() if line.strip()]
            why = next((line.strip() for line in lines if "PROGRAM ABORT" in line), lines[-1].strip() if lines else "it said nothing")
            raise Stop(INFRASTRUCTURE, f"{PROGRAM} ended with status {child.returncode}: {why}", f"all it said is in {self._folder / name}.log")
        self.totals.runs += int(stats["execs_done"])
        self.totals.coverage = max(self.totals.coverage, int(stats.get("edges_found", 0)))
        self.totals.inputs = max(self.totals.inputs, int(stats.get("corpus_count", 0)))
        for kind in ("crashes", "hangs"):
            paths = sorted((self._sync / name / kind).glob("id:*"))
            for path in paths[:MOST_AGAIN]:
                self._keep(path)
            if len(paths) > MOST_AGAIN:
                self._progress.say("crash", f"{len(paths) - MOST_AGAIN} more in {paths[0].parent} are not executed again")
        for path in (self._sync / name / "queue").glob("id:*"):
            shutil.copy(path, self._corpus / f"{name}-{path.name.split(',')[0].removeprefix('id:')}")

    def _keep(self, path: Path) -> None:
        """The target executes a crash again, alone, or after what its program had been given before, and says what it finds."""
        if self._execute(path) is None and self._execute_after_others(path) is None:
            self._progress.say("crash", f"{path} does not happen again when it is executed alone")

    def _execute_after_others(self, path: Path) -> Finding | None:
        if not self._histories.exists():
            return None
        last = actions_of(print_input(self._built, path))
        for history in sorted(self._histories.iterdir(), key=lambda each: each.stat().st_size):
            inputs = read_sequence(history).inputs
            if inputs and inputs[-1] == last:
                return self._execute(path, history, pack_texts(self._built, [text_of(lines) for lines in inputs], self._folder))
        return None

    def _execute(self, path: Path, history: Path | None = None, played: list[Path] | None = None) -> Finding | None:
        """`played`: the path's input, after those of its history."""
        with sockets_folder() as sockets:
            done = subprocess.run([str(self._program), *map(str, played or [path])], capture_output=True, text=True, errors="replace", check=False,
                                  stdin=subprocess.DEVNULL, timeout=6 * TIMEOUT + len(played or []),
                                  env=environment(self._settings.mask, self._built) | sockets | self._settings.environment)
        finding = parse(done.stderr)
        if finding is None:
            return None
        found = self.totals.found.get(finding.key)
        if found is not None:
            found.times += 1
            return finding
        place = self._folder / "findings" / finding.key
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place / "input")
        if history is not None:
            shutil.copy(history, place / SEQUENCE)
        (place / "log.txt").write_text(done.stderr, encoding="utf-8")
        after = re.search(r"time:(\d+)", path.name)
        self.totals.found[finding.key] = Found(finding, place / "input", place / "log.txt", 1, int(after[1]) / 1000 if after else 0.0)
        self._progress.say("finding", f"{finding.key}: {finding.title()}")
        return finding
