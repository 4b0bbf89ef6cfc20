"""Which recorded step a failed check speaks of: the one that it names, else the last that the peer took before it.

A check says in words what was seen, and no more; messages are records with fields. What is compared here are words and
numbers with the fields' values: nothing is known of the protocol.
"""
from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Sequence

Message = dict[str, Any]

NAMED = "named by the check"
UNANSWERED = "the call that was never answered"
BEFORE = "the peer's last step before the check"
_WORD = re.compile(r"[A-Za-z0-9_]+(?:[.-][A-Za-z0-9_]+)*")
_PAIR = re.compile(r"([a-z_]+) (\d+)")
_KINDS = frozenset(("req", "resp", "evt", "state", "xs"))
_LEAST = 3  # one word, or one number that does not occur everywhere


@dataclass(frozen=True)
class Mark:
    index: int  # into the messages that were handed in
    how: str


def peer_way(role: str) -> str:
    """`dir` of what the peer sends."""
    return "b2f" if role == "backend" else "f2b"


def find_mark(messages: Sequence[Message], seen: str, role: str, silent: bool = False) -> Mark | None:
    """`messages` are those before the check. `silent`: the case ended with a crash or a hang of the peer."""
    way = peer_way(role)
    best, best_score = -1, _LEAST - 1
    clauses = [_Clause(text) for text in seen.split(";")]
    for index, message in enumerate(messages):
        if message.get("kind") in _KINDS and message.get("dir") == way:
            score = max(clause.score(message.get("fields") or {}) for clause in clauses)
            if score >= max(best_score, _LEAST):
                best, best_score = index, score
    if best >= 0:
        return Mark(best, NAMED)
    unanswered = _unanswered(messages) if silent else None
    if unanswered is not None:
        return Mark(unanswered, UNANSWERED)
    for index in range(len(messages) - 1, -1, -1):
        kind, sent = messages[index].get("kind"), messages[index].get("dir")
        if kind == "guest" or (kind in _KINDS and sent == way):
            return Mark(index, BEFORE)
    return Mark(len(messages) - 1, BEFORE) if messages else None


class _Clause:
    """What one part of `seen` mentions."""

    def __init__(self, text: str) -> None:
        self.words = set(_WORD.findall(text))
        self.pairs = set(_PAIR.findall(text))
        self.numbers = {number for number in re.findall(r"\d+", text) if len(number) >= 3}

    def score(self, fields: dict[str, Any]) -> int:
        total = 0
        for name, value in fields.items():
            if isinstance(value, str):
                total += 4 if len(value) > 2 and value in self.words else 0
            elif isinstance(value, int) and not isinstance(value, bool):
                total += 3 if str(value) in self.numbers else 2 if (name, str(value)) in self.pairs else 0
        return total


def _unanswered(messages: Sequence[Message]) -> int | None:
    """The last call of the guest's program without its return."""
    open_calls: dict[str, int] = {}
    for index, message in enumerate(messages):
        fields = message.get("fields") or {}
        if "call" in fields:
            open_calls[str(fields["call"])] = index
        elif "return" in fields:
            open_calls.pop(str(fields["return"]), None)
    return max(open_calls.values(), default=None)
