"""The host bed from outside: a board that is reached by ssh or over its serial line, and that runs the suite by itself.

A descriptor names the command that leads to it; what comes back is its console (`displif-cts-serial` of the
package): LAVA's signals while it runs, then the stream. The stream is written anew with the host's head, as merged
shards are, so that expectations apply and reports are whole."""
from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Sequence

import yaml

from lab.errors import INFRASTRUCTURE, USAGE, Stop
from lab.lava.results import JobResults
from lab.peer import read_text
from lab.recording import Recording
from lab.run import Prepared, write_head

BOARDS = Path(__file__).resolve().parent / "boards"
_END = re.compile(r"displif-cts: end, status \d+")
_KEYS = {"name", "connect", "minutes", "retries"}

OnVerdict = Callable[[str, int, str, str], None]


@dataclass(frozen=True)
class Board:
    """`connect`: a command for the shell; {selection} in it becomes `--case GLOB` words for the board's shell."""

    name: str
    connect: str
    minutes: float = 60
    retries: int = 0  # how often cases that ended in an infrastructure error are run once more

    @property
    def selects(self) -> bool:
        return "{selection}" in self.connect

    def command(self, cases: Sequence[str]) -> str:
        return self.connect.replace("{selection}", " ".join(f"--case {shlex.quote(case)}" for case in cases))


def load_board(name_or_file: str) -> Board:
    """Raises Stop that names the key at fault."""
    path = Path(name_or_file) if "/" in name_or_file or name_or_file.endswith(".yaml") else BOARDS / f"{name_or_file}.yaml"
    try:
        data = yaml.safe_load(read_text(path, "board descriptor"))
    except yaml.YAMLError as error:
        raise Stop(USAGE, f"board descriptor {path}: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict) or not isinstance(data.get("connect"), str) or not isinstance(data.get("name"), str):
        raise Stop(USAGE, f"board descriptor {path}: name and connect are texts that it must have")
    if unknown := sorted(set(data) - _KEYS):
        raise Stop(USAGE, f"board descriptor {path}: {unknown[0]} is no key of it")
    minutes, retries = data.get("minutes", 60), data.get("retries", 0)
    if not isinstance(minutes, (int, float)) or minutes <= 0 or not isinstance(retries, int) or not 0 <= retries <= 10:
        raise Stop(USAGE, f"board descriptor {path}: minutes is above 0, retries from 0 to 10")
    return Board(data["name"], data["connect"], minutes, retries)


class Line:
    """The way to a board. `stop` may be called by another thread: nothing is heard any more, nor begun anew."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._child: "subprocess.Popen[str] | None" = None
        self._lock = threading.Lock()
        self.stopped = False

    def stop(self) -> None:
        with self._lock:
            self.stopped = True
            self._end()

    def _end(self) -> None:
        """The command and what it started (QEMU, ssh)."""
        if self._child is not None:
            try:
                os.killpg(self._child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def listen(self, cases: Sequence[str]) -> JobResults:
        """Runs the command until the board says that it has ended, its line is closed, or time is up."""
        found = JobResults()
        with self._lock:
            if self.stopped:
                return found
            self._child = subprocess.Popen(["sh", "-c", self._board.command(cases)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                           stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace", start_new_session=True)
        alarm = threading.Timer(self._board.minutes * 60, self._end)
        alarm.start()
        with self._child as child:
            assert child.stdout
            try:
                for line in child.stdout:
                    found.console.append(line.rstrip("\r\n"))
                    if _END.search(line):
                        break
            finally:
                alarm.cancel()
                self._end()
        return found


def records_of(found: JobResults, board: Board) -> list[dict[str, Any]]:
    """The stream that the board sent. Raises Stop when it did not come."""
    stream = found.stream()
    if stream is None:
        said = next((line for line in reversed(found.console) if line.strip()), "nothing")
        raise Stop(INFRASTRUCTURE, f"board {board.name}: its stream did not come whole; the last that it said: {said[:200]}")
    return [json.loads(line) for line in stream.splitlines()]


def by_case(records: Sequence[dict[str, Any]], wanted: set[str]) -> dict[str, list[dict[str, Any]]]:
    """The records of each case that has a verdict, those of the monitors beside it among them."""
    found: dict[str, list[dict[str, Any]]] = {}
    judged = set()
    for record in records:
        name = str(record.get("during") or record.get("case") or "")
        if name in wanted:
            found.setdefault(name, []).append(record)
            if record["t"] == "verdict":
                judged.add(name)
    return {name: lines for name, lines in found.items() if name in judged}


def execute(prepared: Prepared, board: Board, folder: Path, on_verdict: OnVerdict, on_start: Callable[[Line], None] = lambda _: None) -> None:
    """Runs the plan on the board. Only what ended in an infrastructure error, or did not end, is run again."""
    names = [case.id for case in prepared.plan.runnable]
    kept: dict[str, list[dict[str, Any]]] = {}
    again: list[dict[str, str]] = []
    line = Line(board)
    on_start(line)
    for attempt in range(1 + board.retries):
        waiting = [name for name in names if _verdict(kept.get(name, [])) in ("", "infra-error")]
        if not waiting or (attempt and not board.selects):
            break
        try:
            seen = by_case(records_of(line.listen(waiting), board), set(waiting))
        except Stop:
            if attempt == board.retries or line.stopped:
                raise
            again.append({"case": "", "reason": "the board did not send its stream"})
            continue
        again += [{"case": name, "reason": _reason(kept[name])} for name in seen if name in kept]
        kept |= seen
    recording = Recording(folder, [case.id for case in prepared.plan.monitors])
    try:
        write_head(recording, prepared, {"board": {"name": board.name, "connect": board.connect}})
        for record in again:
            recording.write("retried", {key: value for key, value in record.items() if value})
        for name in names:
            for record in kept.get(name, []):
                _take(recording, record)
            if name in kept:
                on_verdict(name, 1, _verdict(kept[name]), _reason(kept[name]))
        recording.judge_monitors()
        recording.seal()
    finally:
        recording.close()


def _take(recording: Recording, record: dict[str, Any]) -> None:
    if record["t"] == "artifact" and "data" in record:
        recording.keep_artifact(record, 1)
    elif record["t"] != "artifact":  # its file stayed on the board
        recording.take(record)


def _verdict(records: Sequence[dict[str, Any]]) -> str:
    return next((str(record["verdict"]) for record in records if record["t"] == "verdict"), "")


def _reason(records: Sequence[dict[str, Any]]) -> str:
    return next((str(record.get("reason", "")) for record in records if record["t"] == "verdict"), "")

