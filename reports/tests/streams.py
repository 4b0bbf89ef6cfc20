"""Small streams for tests of the reports."""
from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Iterable

GOOD, BAD, WARN, SKIP = "frontend.ring.good", "frontend.ring.bad", "frontend.bus.warned", "frontend.bus.skipped"
MONITOR = "frontend.monitor.reserved-zero"
REQUIREMENTS = [
    {"id": "ring.id-echoed", "role": "frontend", "level": "must", "text": "Ids <are> kept & echoed.",
     "source": {"file": "displif.h", "section": "Response <format>"}, "reading": "literally"},
    {"id": "bus.prompt", "role": "frontend", "level": "should", "text": "States follow promptly.",
     "source": {"file": "xenbus.h", "section": "States"}, "reading": ""},
    {"id": "wire.reserved-zero", "role": "frontend", "level": "must", "text": "Reserved bytes are zero.",
     "source": {"file": "displif.h", "section": "Requests"}, "reading": ""},
]
Records = list[dict[str, Any]]


def rec(t: str, case: str | None = None, /, ns: int = 1000, **body: Any) -> dict[str, Any]:
    return {"v": 1, "t": t, "ns": ns, **({"case": case} if case else {}), **body}


def head(ids: Iterable[str] = (GOOD, BAD, WARN, SKIP, MONITOR), expectations: Records | None = None, **run: Any) -> Records:
    cases = [{"id": i, "requirements": ["ring.id-echoed"], "timeout_ms": 1000, "title": f"what {i} shows",
              **({"monitor": True} if ".monitor." in i else {})} for i in ids]
    digest = hashlib.sha256("".join(f"{c['id']}\n" for c in cases).encode()).hexdigest()
    return [
        rec("run", **{
            "suite": "displif-cts", "argv": ["./displif-cts", "run"], "bed": "qemu", "role": "frontend",
            "peer": {"name": "some-frontend", "version": "6.1"}, "peer_version": "6.1.176-1", "seed": 7,
            "started": "2026-03-01T10:00:00+00:00", "expectations": expectations or [], "expectations_file": "lab/peers/x.yaml",
            "repeat": 1, "selection": None, **run}),
        rec("env", guest_type="pv", xen={"build_id": "abcd"}),
        rec("plan", cases=cases, count=len(cases), sha256=digest, known=[c["id"] for c in cases],
            requirements=REQUIREMENTS),
    ]


def begin(case: str) -> dict[str, Any]:
    return rec("begin", case, requirements=["ring.id-echoed"], timeout_ms=1000)


def check(case: str, ok: bool, requirement: str = "ring.id-echoed", level: str = "must", **body: Any) -> dict[str, Any]:
    return rec("check", case, requirement=requirement, level=level, expected=["id 7", "id 9"],
               seen="id 7" if ok else "id <8>", ok=ok, **body)


def verdict(case: str, word: str, reason: str = "", **body: Any) -> dict[str, Any]:
    return rec("verdict", case, verdict=word, reason=reason, attempt=1, ns_spent=1_500_000_000, **body)


def msg(case: str, kind: str = "req", **body: Any) -> dict[str, Any]:
    return rec("msg", case, kind=kind, **{"dir": "f2b", "hex": "0a0b", "fields": {"op": "PG_FLIP", "fb": "0x1"}, **body})


def good(case: str = GOOD) -> Records:
    return [begin(case), msg(case), check(case, True), verdict(case, "pass")]


def bad(case: str = BAD) -> Records:
    return [begin(case), msg(case), check(case, False), verdict(case, "fail", "ring.id-echoed: expected id 7; saw id 8")]


def warned(case: str = WARN) -> Records:
    return [begin(case), check(case, True), check(case, False, "bus.prompt", "should"), verdict(case, "warn", "slow")]


def skipped(case: str = SKIP) -> Records:
    return [begin(case), rec("skip", case, reason="no EDID"), verdict(case, "skip", "no EDID")]


def monitored(ok: bool = False) -> Records:
    return [check(MONITOR, ok, "wire.reserved-zero", during=GOOD), verdict(MONITOR, "pass" if ok else "fail", "" if ok else "not zero")]


def whole(expectations: Records | None = None, **run: Any) -> Records:
    return [*head(expectations=expectations, **run), *good(), *bad(), *warned(), *skipped(), *monitored()]


def expectation(case: str, **changes: Any) -> dict[str, Any]:
    return {"case": case, "bed": "qemu", "versions": ">=6.1, <6.2", "verdict": "fail", "reason": "the driver's way",
            "reference": "xen_drm_front.c", "owner": "somebody", "expires": "2026-12-31", "file": "lab/peers/x.yaml",
            "line": 3, **changes}


KNOWN = [expectation(BAD), expectation(MONITOR)]


def write(folder: Path, records: Records, end: bool = True, renumber: bool = True) -> Path:
    """A sealed stream, in the form that the recorder gives it. `end=False`: as a run leaves it that was killed."""
    path, data = folder / "stream.jsonl", b""
    for seq, record in enumerate(records):
        data += _line({**record, "seq": seq} if renumber else record)
    if end:
        data += _line(rec("end", counts={}, sha256=hashlib.sha256(data).hexdigest(), seq=len(records)))
    path.write_bytes(data)
    return path


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"
