#!/usr/bin/python3
"""Walks Xen's installed headers line by line: is everything that they say a requirement, or known to be none?

usage: headers.py [--headers DIR] [--list]

headers.yaml says of each piece of displif.h, ring.h and xenbus.h (a sentence's paragraph, a picture, a definition) which
requirements cite it, or why it asks for nothing. A piece that it does not know, because a newer Xen added or changed it,
is an error, and so is an entry for a piece that is gone. --list prints the pieces. Exit status 0: all is known; 1: not.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, Sequence

import yaml

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import generate_requirements  # noqa: E402

INSTALLED = Path("/usr/include/xen/io")
HEADERS = ("displif.h", "ring.h", "xenbus.h")
INDEX = HERE / "headers.yaml"
REQUIREMENTS = HERE / "requirements.yaml"
# What a sentence that binds somebody is recognised by.
BINDING = re.compile(
    r"\b(must|shall|should|is an error|treated as|ignored|bound by|cannot|optional|reserved|available)\b", re.IGNORECASE
)
ENTRY_KEYS = frozenset(("begins", "piece", "requirements", "informative", "programming"))
# Only the generic ring macros tell programmers how to use them; displif.h and xenbus.h speak of the wire.
FILES_WITH_PROGRAMMING = ("ring.h",)

_BANNER = re.compile(r"[*=]{10,}")
_RULED_TITLE = re.compile(r"-{3,}\s*([^-].*?)\s*-{3,}")
_PICTURE = re.compile(r"(\+[-+]+\+|\|.*\|)(\s.*)?|0 +1 +2 +3 +octet")
_ITEM = re.compile(r"(o|-|\d\.)\s+\S")
_FIELD = re.compile(r"[a-z_]+(\[i\])? - [a-z0-9_]+,")
_NODE = re.compile(r"[a-z]+(-[a-z]+)*|\$NAME_\w+|XEN_FLEX_RING_SIZE")
_SENTENCE_END = re.compile(r"(?<=[A-Za-z0-9\")][.])(?<!^\d[.])\s+(?=[A-Z])")  # not behind a list's number
_ENDED = re.compile(r"[A-Za-z0-9\")][.](?<!^\d[.])$")
_CAPITAL = re.compile(r"[A-Z]")
_PACKET = re.compile(r"(Request \w+(?: \w+)?|Get EDID response|Page flip complete event|Shared page for \w+)")


@dataclass(frozen=True)
class Piece:
    """One statement, picture or definition of a header."""

    file: str
    line: int  # where it begins
    context: str  # section, packet or structure that it belongs to
    text: str  # in one line, without the comment's asterisks
    member: str = ""  # of a structure

    @property
    def key(self) -> str:
        """Stays the same when lines move, and changes with every word."""
        return hashlib.sha256(f"{self.file}\0{self.context}\0{self.text}".encode()).hexdigest()[:12]

    @property
    def begins(self) -> str:
        """Enough of it to be recognised by a reader."""
        return " ".join(re.sub(r"[|+][-+|/\\\s]+", " ", self.text).split()[:5])

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def binding(self) -> bool:
        return BINDING.search(self.text) is not None


def pieces(name: str, text: str) -> list[Piece]:
    """All of a header, in its order. Nothing is left out but banners, braces and the editor's block at the end."""
    return list(_Walk(name, text.split("\n")).walk())


class _Walk:
    def __init__(self, name: str, lines: Sequence[str]) -> None:
        self.name, self.lines, self.at = name, lines, 0
        self.section = "head of the file"
        self.structure = ""

    def walk(self) -> Iterator[Piece]:
        while self.at < len(self.lines):
            line = self.lines[self.at].strip()
            if not line or re.fullmatch(r"[{}]\s*(\w+)?;?", line):
                if line.startswith("}"):
                    self.structure = "" if not re.fullmatch(r"\}\s*op;", line) else self.structure
                self.at += 1
            elif line.startswith("/*"):
                yield from self._comment()
            elif line.startswith("#"):
                yield from self._directive()
            else:
                yield from self._declaration(line)

    def _piece(self, line: int, words: Sequence[str], context: str, member: str = "") -> Piece:
        return Piece(self.name, line + 1, context, " ".join(" ".join(words).split()), member)

    def _directive(self) -> Iterator[Piece]:
        start = self.at
        while self.lines[self.at].rstrip().endswith("\\"):
            self.at += 1
        self.at += 1
        words = [line.rstrip().rstrip("\\") for line in self.lines[start : self.at]]
        yield self._piece(start, words, "definitions")

    def _declaration(self, line: str) -> Iterator[Piece]:
        start = self.at
        self.at += 1
        if opened := re.fullmatch(r"(struct|enum|union)\s*(\w*)\s*\{", line):
            if opened[2]:
                self.structure = f"{opened[1]} {opened[2]}"
                yield self._piece(start, [line], "definitions")
            return
        words = [line]
        while not self.structure and not words[-1].endswith(";") and self.at < len(self.lines):
            words.append(self.lines[self.at])
            self.at += 1
        if self.structure:
            member = re.match(r"(?:struct\s+)?(?:\w+\s+)?(\w+)", line)
            yield self._piece(start, words, self.structure, member[1] if member else "")
        else:
            yield self._piece(start, words, "definitions")

    def _comment(self) -> Iterator[Piece]:
        start = self.at
        while self.at < len(self.lines) - 1 and "*/" not in self.lines[self.at]:
            self.at += 1
        self.at += 1
        body = []
        for number in range(start, self.at):
            stripped = re.sub(r"\*/\s*$", "", self.lines[number].strip())
            stripped = re.sub(r"^/?\*(?!\*)", "", stripped).rstrip()
            body.append((number, stripped))
        if any("Local variables:" in text for _, text in body):
            return
        yield from self._statements(body)

    def _statements(self, body: Sequence[tuple[int, str]]) -> Iterator[Piece]:
        context = self.structure or self.section
        words: list[tuple[int, str]] = []
        picture = False
        for at, (number, raw) in enumerate(body):
            text = raw.strip()
            is_picture = _PICTURE.fullmatch(text) is not None
            title = _RULED_TITLE.fullmatch(text)
            heading = self._banner_title(body, at)
            ends = not text or _BANNER.search(text) or title or heading or picture != is_picture
            ends = ends or (_starts_statement(text) and not is_picture)
            if ends and words:
                said = [self._piece(line, [one], context) for line, one in _sentences(words, picture)]
                yield from said
                if is_picture and (packet := _PACKET.match(said[0].text)):
                    context = packet[1]
                words = []
            if title or heading:
                self.section = context = title[1] if title else text
                continue
            picture = is_picture
            if text and not _BANNER.search(text):
                words.append((number, text))
        for line, one in _sentences(words, picture):
            yield self._piece(line, [one], context)

    @staticmethod
    def _banner_title(body: Sequence[tuple[int, str]], at: int) -> bool:
        """A line between two rows of asterisks."""
        def row(index: int) -> bool:
            return 0 <= index < len(body) and re.fullmatch(r"/?\*{10,}", body[index][1].strip()) is not None

        return row(at - 1) and row(at + 1)


def _sentences(lines: Sequence[tuple[int, str]], picture: bool) -> Iterator[tuple[int, str]]:
    """Each with the number of the line in which it begins. A picture is one."""
    if picture:
        yield lines[0][0], " ".join(text for _, text in lines)
        return
    begin, said = 0, ""
    for number, text in lines:
        for at, part in enumerate(_SENTENCE_END.split(text)):
            if said and (at or _ENDED.search(said) and _CAPITAL.match(part)):
                yield begin, said
                said = ""
            begin = begin if said else number
            said = f"{said} {part}".strip()
    if said:
        yield begin, said


def _starts_statement(text: str) -> bool:
    return bool(_ITEM.match(text) or _FIELD.match(text) or _NODE.fullmatch(text))


def read(folder: Path) -> list[Piece]:
    """Raises OSError when a header is not there."""
    return [piece for name in HEADERS for piece in pieces(name, (folder / name).read_text(encoding="utf-8"))]


@dataclass(frozen=True)
class Entry:
    """What headers.yaml says of a piece."""

    file: str
    context: str
    begins: str
    key: str
    requirements: tuple[str, ...]
    reason: str  # why it asks for nothing, or for nothing that is seen between two domains
    programming: bool


def load_index(path: Path = INDEX) -> list[Entry]:
    """Raises generate_requirements.BadInput."""
    document = yaml.load(path.read_text(encoding="utf-8"), Loader=generate_requirements.LOADER)
    entries, faults = [], []
    for file, contexts in document["headers"].items():
        for context, items in contexts.items():
            for item in items:
                fault = _entry_fault(item)
                if fault:
                    faults.append(f"{path.name}: {file}, {context}, {item.get('begins')!r}: {fault}")
                    continue
                entries.append(Entry(file, context, item["begins"], str(item["piece"]), tuple(item.get("requirements", ())),
                                     item.get("informative") or item.get("programming") or "", "programming" in item))
    if faults:
        raise generate_requirements.BadInput(*faults)
    return entries


def _entry_fault(item: dict[str, Any]) -> str | None:
    if unknown := set(item) - ENTRY_KEYS:
        return f"unknown key {sorted(unknown)[0]}"
    said = [key for key in ("requirements", "informative", "programming") if item.get(key)]
    if not item.get("begins") or not item.get("piece") or len(said) != 1:
        return "an entry has `begins`, `piece`, and one of `requirements`, `informative` and `programming`"
    return None


def faults(found: Sequence[Piece], index: Sequence[Entry], requirements: Sequence[dict[str, Any]]) -> list[str]:
    """A line for everything that is wrong."""
    by_key: dict[str, list[Piece]] = defaultdict(list)
    for piece in found:
        by_key[piece.key].append(piece)
    by_id = {entry["id"]: entry for entry in requirements}
    known = {entry.key: entry for entry in index}
    lines = [f"headers.yaml: piece {key} stands twice" for key, n in Counter(entry.key for entry in index).items() if n > 1]
    for piece in found:
        if piece.key not in known:
            lines.append(f"{piece.where}: not known to headers.yaml ({piece.context}): {piece.text[:160]}")
    for entry in index:
        lines += _entry_faults(entry, by_key.get(entry.key, []), by_id)
    cited = {name for entry in index if entry.key in by_key for name in entry.requirements}
    for name, requirement in by_id.items():
        if requirement["source"]["file"] in HEADERS and name not in cited:
            lines.append(f"requirement {name}: no piece of {requirement['source']['file']} is cited by it")
    return lines


def _entry_faults(entry: Entry, its_pieces: Sequence[Piece], by_id: dict[str, dict[str, Any]]) -> Iterator[str]:
    label = f"headers.yaml: {entry.file}, {entry.context}, {entry.begins!r}"
    if not its_pieces:
        yield f"{label}: the header does not have it, or says it differently"
        return
    piece = its_pieces[0]
    if entry.begins != piece.begins:
        yield f"{label}: it begins {piece.begins!r}"
    for name in entry.requirements:
        if name not in by_id:
            yield f"{label}: there is no requirement {name}"
        elif by_id[name]["source"]["file"] != entry.file:
            yield f"{label}: requirement {name} is of {by_id[name]['source']['file']}"
    if entry.programming and entry.file not in FILES_WITH_PROGRAMMING:
        yield f"{label}: `programming` is for {', '.join(FILES_WITH_PROGRAMMING)} only"
    if entry.reason and not entry.programming and piece.binding:
        word = BINDING.search(piece.text)
        yield f"{label}: says {word[0] if word else ''!r}, and may not be informative"
    if entry.file == "displif.h" and piece.member and piece.context.startswith("struct"):
        yield from _member_faults(label, piece, entry, by_id)


def _member_faults(label: str, piece: Piece, entry: Entry, by_id: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Every field of every packet has a requirement of its own: one that names it."""
    if piece.text.startswith("struct "):
        return  # a packet within the union
    own = [n for n in entry.requirements if n in by_id
           and re.search(rf"\b{piece.member}\b", by_id[n]["source"].get("field", "")) or "reserved" in piece.member]
    if not own:
        yield f"{label}: no requirement has {piece.member} as its field"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Is everything that Xen's headers say known to the requirements?")
    parser.add_argument("--headers", type=Path, default=INSTALLED, metavar="DIR", help=f"default: {INSTALLED}")
    parser.add_argument("--list", action="store_true", help="print the pieces")
    arguments = parser.parse_args(argv)
    try:
        found = read(arguments.headers)
        if arguments.list:
            print("\n".join(f"{p.where}\t{p.key}\t{p.context}\t{p.text}" for p in found))
            return 0
        wrong = faults(found, load_index(), generate_requirements.load(REQUIREMENTS))
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except generate_requirements.BadInput as bad:
        wrong = list(bad.args)
    print("\n".join(wrong) if wrong else f"{len(found)} pieces of {', '.join(HEADERS)}: all known")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
