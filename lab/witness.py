"""A peer under test seen from outside, on every bed: what its process shows belongs to the case that was running."""
from __future__ import annotations

import json
from typing import Any, Callable, Protocol

from reports.fold import Fold


class PeerLike(Protocol):
    def trouble(self) -> str | None:
        """What the process itself shows of a crash; none: it runs, and no sanitizer has complained."""

    def said(self) -> str:
        """Its output so far, the first and the last of it."""


class CompositorLike(Protocol):
    def trouble(self) -> str | None: ...
    def complaints(self) -> str: ...


class Witness:
    """Looks at the peer's process before a verdict goes out: its output is evidence, and its death a crash."""

    def __init__(self, peer: PeerLike | None, compositor: CompositorLike | None, on_line: Callable[[bytes], None],
                 role: str = "backend") -> None:
        self._peer, self._compositor, self._on_line, self._role = peer, compositor, on_line, role
        self._folds: dict[str, Fold] = {}

    def line(self, raw: bytes) -> None:
        try:
            record = json.loads(raw)
        except ValueError:
            record = None
        if not isinstance(record, dict) or "during" in record or not isinstance(record.get("case"), str):
            self._on_line(raw)
            return
        if record.get("t") == "verdict" and self._peer is not None:
            self._testify(record)
            return
        self._folds.setdefault(record["case"], Fold()).add(record)
        self._on_line(raw)

    def _testify(self, verdict: dict[str, Any]) -> None:
        assert self._peer is not None
        case, fold = verdict["case"], self._folds.setdefault(verdict["case"], Fold())
        trouble, said = self._peer.trouble(), self._peer.said()
        if said:
            self._say({**_head("msg", verdict), "kind": "log", "dir": "-", "fields": {"source": self._role, "text": said}})
        if self._compositor is not None and (ended := self._compositor.trouble()):
            # Not the backend's doing whatever it asked for: its own end, which follows from it, is no crash either.
            trouble = None
            error = {**_head("error", verdict), "text": ended}
            fold.add(error)
            self._say(error)
            verdict = _judged(verdict, fold)
        elif self._role == "backend":
            alive = {**_head("check", verdict), "requirement": "health.peer-alive", "level": "robust", "ok": trouble is None,
                     "expected": ["a backend that runs"], "seen": trouble or "it does"}
            fold.add(alive)
            self._say(alive)
        if trouble:
            health = {**_head("health", verdict), "state": "crashed", "reason": trouble, "own_gap_ms": 0, "peer_gap_ms": 0,
                      "tolerance_ms": 1000}
            fold.add(health)
            self._say(health)
            verdict = _judged(verdict, fold)
            if self._compositor is not None:
                self._say({**_head("msg", verdict), "kind": "log", "dir": "-",
                           "fields": {"source": "compositor", "text": self._compositor.complaints()}})
        self._say(verdict)
        self._folds.pop(case, None)

    def _say(self, record: dict[str, Any]) -> None:
        self._on_line(json.dumps(record).encode())


def _judged(verdict: dict[str, Any], fold: Fold) -> dict[str, Any]:
    judgement = fold.judge()
    return {**verdict, "verdict": judgement.verdict, "reason": judgement.reason}


def _head(kind: str, verdict: dict[str, Any]) -> dict[str, Any]:
    return {"v": 1, "t": kind, "ns": verdict["ns"], "case": verdict["case"]}
