"""pytest as the outer runner: each case is an item on a chosen bed (`pytest --bed qemu --case GLOB`).

The cases run in the background exactly as `./displif-cts run` runs them, several at a time; each item
waits for its verdict. Stream and reports are written as always. Also usable from another tree:
`pytest -p lab.pytest_plugin --bed qemu` with this tree on PYTHONPATH.

Under pytest-xdist (`-n N`) the run is N shards: a process takes whole shards, on machines or a board of its own, and the first
process merges them. A monitor then is an item of each shard, over what that one saw.
"""
from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any, Iterator, Sequence

import pytest

from lab.board import Board, Line, load_board
from lab.board import execute as execute_on_board
from lab import merge
from lab.errors import USAGE, Stop
from lab.progress import Progress
from lab.qemu.errors import BedError
from lab.run import DEFAULT_PEER, Prepared, RunOptions, default_jobs, execute, make_folder, open_bed, prepare
from lab.schedule import Scheduler
from lab.suite import Plan, Selection, check_globs, parse_shard, shard_of
from reports.judge import Result, judge
from reports.junit import details
from reports.model import read_run
from reports.write import judged_stream, write_reports

RUNS = pytest.StashKey["dict[str, BackgroundRun]"]()  # by the name of the collector, which is the shard's
FOLDER = pytest.StashKey[Path]()  # of the whole run, in the process that pytest-xdist was started as


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("displif-cts", "displif-cts: cases as test items")
    group.addoption("--bed", choices=("qemu", "host"), default=None, help="run the suite's cases on this bed, as items")
    group.addoption("--case", action="append", default=[], metavar="GLOB", help="only these cases (repeatable)")
    group.addoption("--exclude", action="append", default=[], metavar="GLOB", help="not these (repeatable)")
    group.addoption("--peer", default=DEFAULT_PEER, metavar="NAME|FILE", help="peer descriptor")
    group.addoption("--jobs", type=int, default=None, metavar="N", help="machines at once, of each process")
    group.addoption("--expectations", type=Path, default=None, metavar="FILE", help="known outcomes")
    group.addoption("--out", type=Path, default=None, metavar="DIR", help="folder of the run")
    group.addoption("--board", action="append", default=[], metavar="NAME|FILE", help="with --bed host: the board that runs the cases; "
                    "with -n N of pytest-xdist N of them, one for each shard")
    group.addoption("--shard", default=None, metavar="I/N", help="the I-th of N parts of the cases")
    group.addoption("--seed", type=int, default=1, metavar="N", help="for everything random")


def _options(config: pytest.Config) -> RunOptions:
    get = config.getoption
    try:
        shard = parse_shard(get("--shard")) if get("--shard") else None
    except ValueError as error:
        raise Stop(USAGE, f"--shard {error}") from None
    selection = Selection(check_globs(get("--case"), "--case"), check_globs(get("--exclude"), "--exclude"), shard)
    jobs = get("--jobs") if get("--jobs") is not None else 1 if _processes(config) > 1 else default_jobs()
    return RunOptions(bed=get("--bed"), peer=get("--peer"), selection=selection, jobs=max(1, jobs),
                      expectations=get("--expectations"), out=get("--out"), seed=get("--seed"), argv=("pytest",))


def _processes(config: pytest.Config) -> int:
    """Of pytest-xdist; 1 without it."""
    told = getattr(config, "workerinput", None)
    return int(told["workercount"]) if told else len(getattr(config.option, "tx", None) or [1])


def _boards(config: pytest.Config) -> list[Board]:
    names = config.getoption("--board")
    if bool(names) != (config.getoption("--bed") == "host"):
        raise Stop(USAGE, "--bed host and --board NAME belong together")
    if names and len(names) != _processes(config):
        raise Stop(USAGE, f"{len(names)} boards and {_processes(config)} processes: each board is a process's own",
                   "-n N and N times --board, or --shard I/N with one")
    return [load_board(name) for name in names]


class CaseFailed(Exception):
    """A red result; the text is what the reader needs."""


class BackgroundRun:
    """The run behind the items."""

    def __init__(self, prepared: Prepared, board: Board | None = None) -> None:
        self.prepared, self._board = prepared, board
        self.folder: Path | None = None
        self._verdicts: dict[str, str] = {}
        self._changed = threading.Condition()
        self._ended = False
        self._trouble = "the run ended without it"
        self._scheduler: Scheduler | Line | None = None
        self._thread: threading.Thread | None = None

    def start(self, ids: set[str], all_ids: Sequence[str] | None = None) -> None:
        """Runs the cases that pytest's own selection left; needs no more than these. `all_ids`: of all shards."""
        plan = self.prepared.plan
        chosen = tuple(case for case in plan.cases if case.id in ids)
        selection = plan.selection if len(chosen) == len(plan.cases) else dataclasses.replace(
            plan.selection, globs=tuple(all_ids or (case.id for case in chosen)))
        prepared = dataclasses.replace(
            self.prepared, plan=Plan(plan.suite, selection, chosen),
            options=dataclasses.replace(self.prepared.options, selection=selection))
        self.folder = make_folder(prepared.options.out)
        self._thread = threading.Thread(target=self._run, args=(prepared,), name="displif-cts-run", daemon=True)
        self._thread.start()

    def _run(self, prepared: Prepared) -> None:
        assert self.folder is not None
        try:
            if self._board is not None:
                execute_on_board(prepared, self._board, self.folder, self._on_verdict, on_start=self._on_start)
                return
            progress = Progress(quiet=True)
            with open_bed(prepared, progress) as bed:
                execute(prepared, bed, bed.facts(), self.folder, self._on_verdict, on_start=self._on_start)
        except (Stop, BedError) as error:
            self._trouble = error.text() if isinstance(error, Stop) else str(error)
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _on_start(self, scheduler: Scheduler | Line) -> None:
        self._scheduler = scheduler

    def _on_verdict(self, case_id: str, _attempt: int, verdict: str, _reason: str) -> None:
        with self._changed:
            self._verdicts[case_id] = verdict
            self._changed.notify_all()

    def result(self, case_id: str) -> Result:
        """Waits for the case's verdict and judges it."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or case_id in self._verdicts)
        stream = self.stream
        judged = judge(read_run(stream)) if stream is not None and stream.exists() else None
        found = next((r for r in judged.results if r.id == case_id), None) if judged else None
        if judged is None or found is None or (found.verdict is None):
            raise CaseFailed(f"{case_id}: no verdict: {self._trouble}")
        if found.red:
            raise CaseFailed("\n".join([f"{case_id}: {found.row.label}: {found.reason}", *details(judged, found)]))
        return found

    def passed_plainly(self, case_id: str) -> bool:
        """Waits; true when there is nothing more to look up."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or case_id in self._verdicts)
            return self._verdicts.get(case_id) == "pass" and not any(
                entry.covers(case_id) for entry in self.prepared.expectations)

    @property
    def started(self) -> bool:
        return self._thread is not None

    @property
    def stream(self) -> Path | None:
        return self.folder / "stream.jsonl" if self.folder else None

    def finish(self) -> None:
        """Ends what still runs (pytest -x, Ctrl-C) and writes the reports."""
        if self._thread is None:
            return
        if self._scheduler is not None:
            self._scheduler.stop()
        self._thread.join(timeout=60)
        if self.stream is not None and self.stream.exists() and self.folder is not None:
            write_reports(judge(read_run(self.stream)), self.folder)


class BedCollector(pytest.Collector):
    """The bed, or a shard's part of it, as the parent of its cases."""

    def collect(self) -> Iterator[pytest.Item]:
        plan = self.config.stash[RUNS][self.name].prepared.plan
        for case in (*plan.runnable, *plan.monitors):  # monitors are judged when all others ran
            yield CaseItem.from_parent(self, name=case.id, title=case.title)


class CaseItem(pytest.Item):
    def __init__(self, *, title: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.title = title

    def runtest(self) -> None:
        assert self.parent is not None
        run = self.config.stash[RUNS][self.parent.name]
        if not run.started:  # pytest-xdist tells a process of a shard by giving it its items
            items = self.session.items
            run.start({item.name for item in items if item.parent is self.parent}, sorted({item.name for item in items}))
        if run.passed_plainly(self.name):
            return
        result = run.result(self.name)
        if result.verdict == "skip":
            pytest.skip(result.reason)
        if result.known:
            assert result.expectation is not None
            pytest.xfail(f"{result.verdict}: {result.expectation.reason}")
        if result.verdict == "warn":
            self.add_report_section("call", "warning", result.reason)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any, **kwargs: Any) -> Any:
        if isinstance(excinfo.value, CaseFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, *args, **kwargs)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, f"case {self.name}"  # pytest would rewrite the dots of a bare id


def _shards(config: pytest.Config) -> "dict[str, BackgroundRun]":
    """One without pytest-xdist."""
    boards = _boards(config)
    prepared = prepare(_options(config), Progress(quiet=config.option.verbose < 0))
    processes, bed = _processes(config), str(config.getoption("--bed"))
    if processes == 1:
        return {bed: BackgroundRun(prepared, boards[0] if boards else None)}
    if config.getoption("--shard"):
        raise Stop(USAGE, "--shard and pytest-xdist's -n both share the cases out: one of them")
    folder = Path(config.workerinput["displif_cts_folder"]) if hasattr(config, "workerinput") else None
    runs = {}
    of = min(processes, len(prepared.plan.runnable))
    for number in range(1, of + 1):
        plan = shard_of(prepared.plan, number, of)
        options = dataclasses.replace(prepared.options, selection=plan.selection, out=folder / f"shard-{number}" if folder else None)
        runs[f"{bed}-{number}of{of}"] = BackgroundRun(dataclasses.replace(prepared, plan=plan, options=options), boards[number - 1] if boards else None)
    return runs


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> bool | None:
    """With --bed, the items are the suite's cases and nothing else."""
    config = session.config
    if config.getoption("--bed") is None or config.pluginmanager.hasplugin("dsession"):
        return None
    try:
        runs = config.stash[RUNS] = _shards(config)
    except Stop as stop:
        raise pytest.UsageError(stop.text()) from None
    session.items = []
    for name in runs:
        bed = BedCollector.from_parent(session, name=name, nodeid=name)
        items = list(bed.collect())
        session.items += items
        config.hook.pytest_collectreport(report=pytest.CollectReport(bed.nodeid, "passed", None, items))
    config.hook.pytest_collection_modifyitems(session=session, config=config, items=session.items)
    config.hook.pytest_collection_finish(session=session)
    session.testscollected = len(session.items)
    return True


@pytest.hookimpl(hookwrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Iterator[None]:
    runs = session.config.stash.get(RUNS, None)
    if runs is None or session.config.option.collectonly or not session.items:
        yield
        return
    if len(runs) == 1:
        next(iter(runs.values())).start({item.name for item in session.items})
    try:
        yield
    finally:
        for run in runs.values():
            run.finish()


class ManyProcesses:
    """Of pytest-xdist's hooks those of the process that was started."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_xdist_setupnodes(self, config: pytest.Config, specs: Sequence[Any]) -> None:
        """What is wrong is said once, and what has to be built is built, before there are several."""
        try:
            _shards(config)
            config.stash[FOLDER] = make_folder(config.getoption("--out"))
        except Stop as stop:
            raise pytest.UsageError(stop.text()) from None

    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput["displif_cts_folder"] = str(node.config.stash[FOLDER])

    @pytest.hookimpl(tryfirst=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        from xdist.scheduler import LoadScopeScheduling

        return LoadScopeScheduling(config, log)  # a scope is what stands before the last ::, a shard


def pytest_configure(config: pytest.Config) -> None:
    if config.pluginmanager.hasplugin("xdist") and config.getoption("--bed") is not None:
        config.pluginmanager.register(ManyProcesses())


def _merged(folder: Path) -> str:
    """The shards as one run; where the report is, or why there is none."""
    try:
        shards = [merge.read_shard(path) for path in sorted(folder.glob("shard-*/stream.jsonl"))]
        if not shards:
            return "no shard ran"
        merge.check(shards)
        write_reports(judged_stream(merge.merge(shards, folder)), folder)
    except Stop as stop:
        return f"not merged: {stop.text()}"
    return str(folder / "report.html")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if (folder := config.stash.get(FOLDER, None)) is not None:
        terminalreporter.write_line(f"displif-cts: {_merged(folder)}")
    for run in config.stash.get(RUNS, {}).values():
        if run.folder is not None:
            terminalreporter.write_line(f"displif-cts: {run.folder / 'report.html'}")
