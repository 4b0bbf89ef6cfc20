"""What each report costs: streams of 100, 1,000 and 10,000 cases as real ones are, each report in a process of its own."""
from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Sequence

from reports import bundle, compare
from reports.model import read_run
from reports.write import FILES, judged_stream, render

MESSAGES = 150  # of a case, about as many as the median case of a run on real Xen has
FAILING = 12  # one case in so many fails
LIST = tuple(FILES)
STEPS = ("parse as JSON alone", "read", *LIST, "human", "compare with itself", "bundle", "verify the bundle")


@dataclass(frozen=True)
class Cost:
    seconds: float  # of processor time, the start of Python included
    megabytes: float
    size: int  # of what was made, in bytes


def _line(body: dict[str, Any], seq: int) -> bytes:
    return json.dumps({"v": 1, **body, "seq": seq}, separators=(",", ":")).encode() + b"\n"


def _case(name: str, bad: bool, messages: int) -> list[dict[str, Any]]:
    ns, records = 30_000_000_000, []

    def add(kind: str, /, **body: Any) -> None:
        nonlocal ns
        ns += 7_000_000
        records.append({"t": kind, "ns": ns, "case": name, **body})

    add("begin", title=f"What {name} shows.", requirements=["dbuf-create.width"], timeout_ms=45000)
    for number in range(messages // 3):
        cookie = f"0xffff8880{number:08x}"
        packet = hashlib.sha256(cookie.encode()).hexdigest() * 2
        add("msg", kind="req", dir="f2b", hex=packet, fields={"connector": 0, "index": number, "notified": True, "op": "DBUF_CREATE", "id": number,
                                                             "dbuf_cookie": cookie, "width": 64, "height": 64, "bpp": 32, "buffer_sz": 16384})
        add("msg", kind="resp", dir="b2f", hex=packet, fields={"connector": 0, "index": number, "op": "DBUF_CREATE", "id": number, "status": 0})
        add("msg", kind="index", dir="b2f", fields={"connector": 0, "name": "rsp_prod", "value": number})
    add("check", requirement="dbuf-create.width", level="must", expected=["width 333"], seen="DBUF_CREATE id 7, width 64" if bad else "width 333", ok=not bad)
    add("process", exit_status=0, signal=0, timed_out=False)
    add("msg", kind="log", dir="-", fields={"source": "guest kernel", "text": "[   17.020123] a line of the kernel's log\r\n" * 60})
    add("health", state="ok", reason="", own_gap_ms=131, peer_gap_ms=95, tolerance_ms=1000)
    reason = "dbuf-create.width: expected width 333; saw DBUF_CREATE id 7, width 64" if bad else ""
    add("verdict", verdict="fail" if bad else "pass", reason=reason, attempt=1, ns_spent=3_391_936_797)
    return records


def write_stream(path: Path, cases: int, messages: int = MESSAGES) -> None:
    """A sealed stream with so many cases, and so many messages in each."""
    ids = [f"frontend.bench-{number % 20}.case-{number}" for number in range(cases)]
    plan = [{"id": name, "title": f"What {name} shows.", "requirements": ["dbuf-create.width"], "timeout_ms": 45000} for name in ids]
    head = [
        {"t": "run", "ns": 1, "suite": "displif-cts", "bed": "qemu", "role": "frontend", "peer": {"name": "nobody", "version": "1"}, "seed": 1,
         "suite_version": {"commit": "none", "clean": True}, "started": "2026-01-01T00:00:00+00:00", "expectations": [], "repeat": 1},
        {"t": "env", "ns": 2, "guest_type": "pv"},
        {"t": "plan", "ns": 3, "cases": plan, "count": cases, "sha256": "0" * 64, "known": ids,
         "requirements": [{"id": "dbuf-create.width", "level": "must", "text": "The width is the buffer's.", "source": {"file": "displif.h"}}]},
    ]
    digest, seq = hashlib.sha256(), 0
    with open(path, "wb") as file:
        seq = _append(file, digest, head, seq)
        for number, name in enumerate(ids):
            seq = _append(file, digest, _case(name, number % FAILING == 0, messages), seq)
        _append(file, digest, [{"t": "end", "ns": 4, "counts": {}, "sha256": digest.hexdigest()}], seq)


def _append(file: IO[bytes], digest: Any, records: Sequence[dict[str, Any]], seq: int) -> int:
    for seq, record in enumerate(records, seq):
        line = _line(record, seq)
        file.write(line)
        digest.update(line)
    return seq + 1


def _do(step: str, path: Path) -> int:
    """The step alone, from the file; the size of what it made."""
    if step == "parse as JSON alone":
        return sum(1 for line in open(path, "rb") if json.loads(line))
    if step == "read":
        return len(read_run(path).cases)
    if step == "verify the bundle":  # after "bundle"
        with open(path.with_name("bundle.tar"), "rb") as file:
            found = bundle.verify(file, [], "none", path.parent)
            return len(found.checked)
    judged = judged_stream(path)
    if step == "bundle":
        with open(path.with_name("bundle.tar"), "wb") as file:
            bundle.make(judged, [case["id"] for case in judged.run.plan], [], file)
            return file.tell()
    if step == "compare with itself":
        return len(compare.text(compare.compare(judged, judged)))
    text = render(judged, step, path.parent)
    return len(text.encode(errors="replace"))


def cost_of(step: str, path: Path) -> Cost:
    """In a process of its own: its memory is the report's."""
    done = subprocess.run([sys.executable, "-P", "-m", "reports.measure", step, str(path)], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])})
    seconds, kilobytes, size = done.stdout.split()
    return Cost(float(seconds), int(kilobytes) / 1024, int(size))


def main(step: str, path: str) -> None:
    size = _do(step, Path(path))
    print(time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, size)


if __name__ == "__main__":
    main(*sys.argv[1:])
