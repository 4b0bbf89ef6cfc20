"""What a fuzz target printed when it ended: which finding that is, and whether it is one that was seen before."""
from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

_FRAME = re.compile(r"^\s+#\d+ 0x[0-9a-f]+ in (?P<function>.+?) (?P<place>\S+)$")
_OWN = re.compile(r"__sanitizer|__interceptor|__asan|__ubsan|fuzzer::|vfinding|displif_cts::shim::finding|pthread_kill|^raise$|^abort$|^main$|^_start$|__libc_start")
_LIBRARY = re.compile(r"^/usr/(?:include|lib|bin/\.\./lib)/")  # of the C++ library, and of others whose code is in headers
LONGEST = 100  # letters of a place in a key, which names a folder
DEPTH = 3  # frames that tell one finding from another


@dataclass(frozen=True)
class Finding:
    kind: str  # heap-use-after-free, warning, endless-loop, ...
    text: str  # its one line
    frames: tuple[str, ...]  # functions of the code under test, innermost first
    places: tuple[str, ...] = ()

    @property
    def broken_requirement(self) -> bool:
        """Found by the reference model: the kind is a requirement's id."""
        return "." in self.kind

    @property
    def key(self) -> str:
        """The same for the same defect, as far as the stack tells."""
        digest = hashlib.sha256("\n".join((self.kind, *self.frames[:DEPTH])).encode()).hexdigest()[:8]
        if self.broken_requirement:
            return self.kind  # however it was broken
        where = self.frames[0] if self.frames else "nowhere"
        return f"{self.kind}-{where[:LONGEST]}-{digest}".lower().replace("_", "-")

    def title(self) -> str:
        if not self.frames:
            return self.text
        return f"{self.text} in {self.frames[0]}" + (f" ({self.places[0]})" if self.places else "")


def _head(log: str) -> tuple[str, str, int] | None:
    """(kind, line, where it begins) of the first thing that ended the run."""
    patterns = (
        ("", re.compile(r"^FINDING (?P<kind>[a-z0-9.-]+): (?P<text>.*)$", re.MULTILINE)),
        ("", re.compile(r"^==\d+==\s?ERROR: AddressSanitizer: (?P<text>(?P<kind>[\w-]+).*)$", re.MULTILINE)),
        ("undefined-behaviour", re.compile(r"^(?P<place>\S+): runtime error: (?P<text>.*)$", re.MULTILINE)),
        ("", re.compile(r"^==\d+==\s?ERROR: libFuzzer: (?P<text>(?P<kind>[\w-]+).*)$", re.MULTILINE)),
    )
    found = [(match.start(), kind or match["kind"], match["text"]) for kind, pattern in patterns
             for match in [pattern.search(log)] if match]
    if not found:
        return None
    start, kind, text = min(found)
    return kind.lower(), text.strip(), start


def parse(log: str) -> Finding | None:
    """None: it did not end by a finding."""
    head = _head(log)
    if head is None:
        return None
    kind, text, start = head
    frames: list[tuple[str, str]] = []  # (function, place)
    started = False
    for line in log[start:].splitlines()[1:]:
        match = _FRAME.match(line)
        if not match:
            if started:
                break
            continue
        started = True
        function, place = match["function"], match["place"]
        # The model and the target's own code are not what is under test.
        if _OWN.search(function) or "/fuzzers/" in place or "(" in place or place.endswith(")"):
            continue
        frames.append((_plain(function), place))
    frames = [frame for frame in frames if not _LIBRARY.search(frame[1])] or frames
    # Addresses differ from run to run.
    text = re.sub(r"\s*\bon (unknown )?address.*$|0x[0-9a-f]{6,}", "", text).strip()
    return Finding(kind, text, tuple(function for function, _ in frames), tuple(re.sub(r"^.*/(?=[^/]+$)", "", place) for _, place in frames))


def _plain(function: str) -> str:
    """Without parameters and template arguments."""
    name = function.replace("(anonymous namespace)::", "").partition("(")[0]
    while (shorter := re.sub(r"<[^<>]*>", "", name)) != name:
        name = shorter
    return name
