"""Reads a stream, whole or damaged: what is left of it is still reported, as incomplete.

A damaged line is named and left out. Nothing that stands in a stream makes the reader raise; only a
file that cannot be opened does (StreamError).
"""
from __future__ import annotations

import hashlib
import json
import re
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Callable, Iterator, NamedTuple

VERSION = 1
MAX_LINE = 64 * 1024 * 1024
MAX_DAMAGE = 50
MAX_END = 64 * 1024  # an end record is shorter

_OBJECT, _LIST, _TEXT, _NUMBER, _BOOL = dict, list, str, int, bool

# What the reports rely on, by record type. stream.schema.json says it all, and is what tests and
# other tools check against; here only what is used is looked at, once per record.
_FIELDS: dict[str, dict[str, type]] = {
    "run": {"bed": _TEXT, "peer": _OBJECT},
    "env": {},
    "plan": {"cases": _LIST, "count": _NUMBER},
    "begin": {"case": _TEXT, "requirements": _LIST},
    "msg": {"case": _TEXT, "kind": _TEXT, "dir": _TEXT},
    "check": {"case": _TEXT, "requirement": _TEXT, "level": _TEXT, "expected": _LIST, "ok": _BOOL},
    "artifact": {"case": _TEXT, "name": _TEXT, "path": _TEXT, "sha256": _TEXT},
    "error": {"case": _TEXT, "text": _TEXT},
    "skip": {"case": _TEXT, "reason": _TEXT},
    "process": {"case": _TEXT},
    "health": {"case": _TEXT, "state": _TEXT},
    "verdict": {"case": _TEXT, "verdict": _TEXT},
    "end": {"counts": _OBJECT, "sha256": _TEXT},
}
_OPTIONAL: dict[str, type] = {
    "case": _TEXT,
    "ns": _NUMBER,
    "attempt": _NUMBER,
    "during": _TEXT,
    "reason": _TEXT,
    "fields": _OBJECT,
    "hex": _TEXT,
    "own_gap_ms": _NUMBER,
    "tolerance_ms": _NUMBER,
    "ns_spent": _NUMBER,
    "argv": _LIST,
    "repro": _LIST,
    "started": _TEXT,
    "expectations": _LIST,
    "known": _LIST,
    "attacks": _OBJECT,
    "title": _TEXT,
    "media": _TEXT,
}
_WORD_LISTS = {"begin": "requirements"}


class StreamError(Exception):
    """The file cannot be read at all."""


@dataclass
class Damage:
    """What is wrong with the stream itself. Empty and `ended`: it is whole."""

    notes: list[str] = field(default_factory=list)
    more: int = 0
    ended: bool = False

    def add(self, note: str) -> None:
        if len(self.notes) < MAX_DAMAGE:
            self.notes.append(note)
        else:
            self.more += 1

    @property
    def complete(self) -> bool:
        return self.ended and not self.notes


class Line(NamedTuple):
    number: int
    offset: int  # of its first byte in the file
    record: dict[str, Any]


# Says where the places of a case's messages go, of a sealed stream, where they are not parsed: by the case's id and attempt.
Places = Callable[[bytes, int], "array[int]"]


def record_trouble(record: Any) -> str:
    """Why a parsed line is no record that can be used; empty if it is one."""
    if not isinstance(record, dict):
        return "not an object"
    if record.get("v") != VERSION:
        return f"version {record.get('v')!r}, this reader knows {VERSION}"
    kind = record.get("t")
    if not isinstance(kind, str):
        return "no record type"
    if kind not in _FIELDS:
        return ""
    wanted_fields = _FIELDS[kind]
    for name, wanted in wanted_fields.items():
        if not _is(record.get(name), wanted):
            return f"{kind}: {name} is missing or of the wrong type"
    for name, value in record.items():
        if name in _OPTIONAL and name not in wanted_fields and not _is(value, _OPTIONAL[name]):
            return f"{kind}: {name} is of the wrong type"
    if not all(isinstance(word, str) for word in record.get(_WORD_LISTS.get(kind, ""), [])):
        return f"{kind}: {_WORD_LISTS[kind]} is not a list of ids"
    return _plan_trouble(record) if kind == "plan" else ""


def _plan_trouble(record: dict[str, Any]) -> str:
    for case in record["cases"]:
        if not isinstance(case, dict) or not isinstance(case.get("id"), str):
            return "plan: a case without an id"
        words = case.get("requirements", [])
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            return f"plan: requirements of {case['id']} are no list of ids"
    if trouble := _attacks_trouble(record.get("attacks", {})):
        return trouble
    requirements = record.get("requirements", [])
    if not isinstance(requirements, list):
        return "plan: requirements are no list"
    for requirement in requirements:
        if not isinstance(requirement, dict) or not isinstance(requirement.get("id"), str):
            return "plan: a requirement without an id"
        if not isinstance(requirement.get("source", {}), dict):
            return f"plan: the source of {requirement['id']} is no object"
    return ""


def _attacks_trouble(attacks: dict[str, Any]) -> str:
    classes = attacks.get("classes", [])
    good = isinstance(classes, list) and all(isinstance(entry, dict) and isinstance(entry.get("id"), str) and all(
        isinstance(entry.get(name, []), list) and all(isinstance(word, str) for word in entry.get(name, []))
        for name in ("cases", "advisories")) for entry in classes)
    return "" if good else "plan: attacks are no list of classes with their cases"


def _is(value: Any, wanted: type) -> bool:
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, wanted)


# A message as our own recorder writes it; a kernel log is read whole.
_MESSAGE = re.compile(rb'\{"v":1,"t":"msg","ns":\d+,"case":"([a-z0-9.-]+)","kind":"(?:req|resp|evt|index|state|xs|guest)",'
                      rb'"dir":"(?:f2b|b2f|-)",[^\n]*"seq":(\d+)\}\n')
_ATTEMPT = re.compile(rb'"attempt":(\d+),"seq":\d+\}\n$')


def _attempt_of(raw: bytes) -> int:
    found = _ATTEMPT.search(raw, max(0, len(raw) - 48))
    return int(found[1]) if found else 1


def sealed(path: Path) -> bool:
    """Is the last line an `end` whose hash is that of all lines before? Then they are as they were written, and every
    line was looked at when it was (lab/recording.py)."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        tail_at = max(0, size - MAX_END)
        file.seek(tail_at)
        tail = file.read()
        last = tail.rfind(b"\n", 0, -1) + 1
        if not tail.endswith(b"\n") or (last == 0 and tail_at > 0):
            return False
        file.seek(0)
        left = tail_at + last
        while left > 0 and (block := file.read(min(left, 1 << 20))):
            digest.update(block)
            left -= len(block)
    try:
        end = json.loads(tail[last:])
    except (ValueError, RecursionError):
        return False
    return isinstance(end, dict) and end.get("t") == "end" and end.get("sha256") == digest.hexdigest()


class StreamReader:
    """Iterates over the usable records; `damage` is complete once the iteration ended."""

    def __init__(self, path: Path, places: Places | None = None) -> None:
        """With `places`, a sealed stream's messages are not among the lines: only their offsets in the file go there."""
        self.path = path
        self.damage = Damage()
        self._places = places
        self._hash = hashlib.sha256()
        self._next_seq: int | None = 0

    def __iter__(self) -> Iterator[Line]:
        try:
            places = self._places if self._places is not None and sealed(self.path) else None
            with open(self.path, "rb") as file:
                yield from self._lines(file) if places is None else self._lines_as_written(file, places)
        except OSError as error:
            raise StreamError(f"{self.path}: {error.strerror}") from error
        if not self.damage.ended:
            self.damage.add("the stream has no end record: the run was cut short")

    def _lines_as_written(self, file: BinaryIO, places: Places) -> Iterator[Line]:
        """A sealed stream: messages, most of what there is, are not parsed before somebody looks at them."""
        offset, match, damage = 0, _MESSAGE.fullmatch, self.damage
        put: dict[bytes, Callable[[int], None]] = {}  # of a case's first attempt
        for number, raw in enumerate(file, 1):
            if damage.ended:
                damage.add(f"line {number}: stands behind the end record")
            if (found := match(raw)) is not None:
                case, digits = found.groups()
                if b'"attempt":' in raw:
                    places(case, _attempt_of(raw)).append(offset)
                elif case in put:
                    put[case](offset)
                else:
                    put[case] = places(case, 1).append
                    put[case](offset)
                seq = int(digits)
                if seq != self._next_seq:
                    self._check_seq(number, {"seq": seq})
                self._next_seq = seq + 1
            elif (record := self._parse(number, raw)) is not None:
                damage.ended = damage.ended or record["t"] == "end"
                yield Line(number, offset, record)
            offset += len(raw)

    def _lines(self, file: BinaryIO) -> Iterator[Line]:
        number = offset = 0
        while raw := file.readline(MAX_LINE):
            number += 1
            if self.damage.ended:
                self.damage.add(f"line {number}: stands behind the end record")
            if not raw.endswith(b"\n"):
                self.damage.add(f"line {number}: cut off after {len(raw)} bytes")
            record = self._parse(number, raw)
            if record is not None and record["t"] == "end":
                self._check_end(number, record)
            self._hash.update(raw)
            if record is not None:
                yield Line(number, offset, record)
            offset += len(raw)

    def _parse(self, number: int, raw: bytes) -> dict[str, Any] | None:
        try:
            record = json.loads(raw)
        except (ValueError, RecursionError):
            self.damage.add(f"line {number}: not JSON")
            self._next_seq = None
            return None
        trouble = record_trouble(record)
        if trouble:
            self.damage.add(f"line {number}: {trouble}")
            self._next_seq = None
            return None
        self._check_seq(number, record)
        return record

    def _check_seq(self, number: int, record: dict[str, Any]) -> None:
        seq = record.get("seq")
        if not _is(seq, int):
            self.damage.add(f"line {number}: no seq")
        elif self._next_seq is not None and seq != self._next_seq:
            self.damage.add(f"line {number}: seq is {seq}, not {self._next_seq}")
        self._next_seq = seq + 1 if _is(seq, int) else None

    def _check_end(self, number: int, record: dict[str, Any]) -> None:
        self.damage.ended = True
        if record["sha256"] != self._hash.hexdigest():
            self.damage.add(f"line {number}: the hash of the lines before does not match: "
                            "the stream was changed after it was written")
