"""Writes a run's stream and artifacts (docs/stream.md). The host owns seq, the head, the plan and the end."""
from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Callable

from lab.errors import INFRASTRUCTURE, Stop
from lab.qemu.processor import TOLERANCE_MS
from reports.fold import Fold
from reports.reader import record_trouble

# A record that ends something is on disk before the next one is taken.
_FLUSHED = frozenset({"run", "env", "plan", "verdict", "end"})


class Recording:
    """One run's folder. Thread-safe: cases that run at the same time interleave by whole records."""

    def __init__(self, folder: Path, monitors: list[str]) -> None:
        self.folder = folder
        self.counts: Counter[str] = Counter()
        self._monitors = {name: Fold() for name in monitors}
        self._lock = threading.Lock()
        self._hash = hashlib.sha256()
        self._seq = 0
        try:
            self._file = open(self.stream, "xb", buffering=1 << 16)
        except FileExistsError:
            raise Stop(2, f"{self.stream} exists: a run is never written over another",
                       "give another --out, or none") from None
        except OSError as error:
            raise self._cannot_write(self.stream, error) from None

    @property
    def stream(self) -> Path:
        return self.folder / "stream.jsonl"

    @staticmethod
    def _cannot_write(path: Path, error: OSError) -> Stop:
        return Stop(INFRASTRUCTURE, f"cannot write {path}: {error.strerror}",
                    "what was recorded so far is kept and reported as incomplete")

    def write(self, kind: str, body: dict[str, Any], ns: int | None = None) -> None:
        """A record of the host's own."""
        self.take({"v": 1, "t": kind, "ns": time.monotonic_ns() if ns is None else ns, **body})

    def take(self, record: dict[str, Any]) -> None:
        """Numbers and writes a record. Raises Stop when the disk does not take it."""
        if "during" in record and record.get("case") in self._monitors:
            with self._lock:
                self._monitors[record["case"]].add(record)
        with self._lock:
            record["seq"] = self._seq
            line = json.dumps(record, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
            try:
                self._file.write(line)
                if record["t"] in _FLUSHED:
                    self._file.flush()
            except OSError as error:
                raise self._cannot_write(self.stream, error) from None
            self._seq += 1
            self._hash.update(line)
        if record["t"] == "verdict":
            self.counts[record["verdict"]] += 1

    def keep_artifact(self, record: dict[str, Any], attempt: int) -> None:
        """Writes the record's bytes to a file, and the record with the file's path and hash."""
        name = record.get("name")
        if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,99}", name):
            raise ValueError(f"an artifact named {name!r}")
        try:
            data = base64.b64decode(record.pop("data"), validate=True)
        except (KeyError, TypeError, binascii.Error):
            raise ValueError(f"artifact {name} without its data") from None
        folder = Path("artifacts") / (record["case"] + ("" if attempt == 1 else f".{attempt}"))
        path = self.folder / folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError as error:
            raise self._cannot_write(path, error) from None
        self.take(record | {"path": str(folder / name), "sha256": hashlib.sha256(data).hexdigest()})

    def judge_monitors(self) -> None:
        """The monitors' verdicts, from their checks in all cases of the run."""
        for name, fold in self._monitors.items():
            judgement = fold.judge_monitor()
            self.write("verdict", {"case": name, "verdict": judgement.verdict, "reason": judgement.reason,
                                   "attempt": 1, "ns_spent": 0})

    def seal(self) -> None:
        """Writes `end`: the stream is whole."""
        self.write("end", {"counts": dict(self.counts), "sha256": self._hash.hexdigest()})

    def close(self) -> None:
        """Without `seal` before, the stream says by itself that it is incomplete."""
        try:
            self._file.close()
        except OSError:
            pass  # the disk is full, and that was said already


class CaseRecorder:
    """Takes what the runner in the instance prints for one attempt of one case, and sees that a verdict comes."""

    def __init__(self, recording: Recording, case_id: str, requirements: tuple[str, ...], attempt: int,
                 waited_ms: Callable[[], int] = lambda: 0) -> None:
        self._recording = recording
        self._waited_ms = waited_ms
        self._case = case_id
        self._requirements = requirements
        self._attempt = attempt
        self._fold = Fold()
        self._ns = 0
        self.begun = False
        self._started = time.monotonic_ns()
        self.verdict: str | None = None
        self.reason = ""
        self.concluded = False

    def line(self, raw: bytes) -> None:
        """One line of the runner's output."""
        if self.verdict is not None or not raw.strip():
            return
        try:
            record = json.loads(raw)
            self._check(record)
            self._take(record)
        except ValueError as error:
            self.error(f"the runner printed something that is no record ({error}): {raw[:200]!r}")

    def _check(self, record: Any) -> None:
        """Only this case's records, whole, may enter the stream. Raises ValueError."""
        is_artifact = isinstance(record, dict) and record.get("t") == "artifact"
        trouble = record_trouble(record | {"path": "", "sha256": ""} if is_artifact else record)
        if trouble:
            raise ValueError(trouble)
        if self._case not in (record.get("case"), record.get("during")):
            raise ValueError(f"a record of {record.get('case')} during {self._case}")

    def _take(self, record: dict[str, Any]) -> None:
        self._ns = record.get("ns", self._ns)
        if self._attempt > 1:
            record["attempt"] = self._attempt
        if record.get("case") == self._case:
            self._fold.add(record)
            self.begun = self.begun or record["t"] == "begin"
        if record["t"] == "artifact":
            self._recording.keep_artifact(record, self._attempt)
            return
        if record["t"] == "verdict":
            record["attempt"] = self._attempt
            self._tell_lateness(record)
            self.verdict, self.reason = str(record["verdict"]), str(record.get("reason", ""))
        self._recording.take(record)

    def _tell_lateness(self, verdict: dict[str, Any]) -> None:
        """What the machine cannot know: the host left it waiting. Its verdict follows from that record too."""
        waited = self._waited_ms()
        if waited <= TOLERANCE_MS:
            return
        record = {"state": "ok", "reason": "the host was too busy", "own_gap_ms": waited, "tolerance_ms": TOLERANCE_MS}
        self._fold.add({"t": "health", **record})
        self._write("health", record)
        judgement = self._fold.judge()
        verdict["verdict"], verdict["reason"] = judgement.verdict, judgement.reason

    def host_record(self, kind: str, body: dict[str, Any]) -> None:
        """Something that the host knows of this case's machine; no verdict depends on it."""
        self._write(kind, body)

    def error(self, text: str) -> None:
        """Trouble on the suite's own side."""
        if self.verdict is not None:
            return
        record = {"t": "error", "case": self._case, "text": text}
        self._begin()
        self._fold.add(record)
        self._write("error", {"text": text})

    def _begin(self) -> None:
        if not self.begun:
            self.begun = True
            begin = {"t": "begin", "requirements": list(self._requirements)}
            self._fold.add(begin)
            self._write("begin", {"requirements": list(self._requirements)})

    def _write(self, kind: str, body: dict[str, Any]) -> None:
        extra = {"attempt": self._attempt} if self._attempt > 1 else {}
        self._recording.write(kind, {"case": self._case, **body, **extra}, ns=self._ns)

    def conclude(self) -> None:
        """Gives the verdict that the runner could not give any more."""
        self.concluded = True
        if self.verdict is not None:
            return
        self._begin()
        judgement = self._fold.judge()
        self.verdict, self.reason = judgement.verdict, judgement.reason
        self._recording.write("verdict", {
            "case": self._case, "verdict": judgement.verdict, "reason": judgement.reason, "attempt": self._attempt,
            "ns_spent": time.monotonic_ns() - self._started}, ns=self._ns)
