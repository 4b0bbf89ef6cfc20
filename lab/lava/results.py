"""What LAVA says of a job, out of lava-run's log: results, the console, and the stream that came over it."""
from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Mapping

import yaml

from reports.lava import plain
from reports.model import Run

SUITE = "displif-cts"
_LINE = "displif-cts> "


@dataclass
class JobResults:
    cases: dict[str, str] = field(default_factory=dict)  # id -> pass, fail, skip, unknown
    seconds: dict[str, float] = field(default_factory=dict)  # id -> what LAVA has as its measurement
    twice: list[str] = field(default_factory=list)
    job: str = "missing"  # LAVA's own verdict on the job
    error: str = ""  # and its type of error: Infrastructure, Job, ...
    console: list[str] = field(default_factory=list)

    @property
    def planned(self) -> int | None:
        return self._number(r"displif-cts: (\d+) planned")

    @property
    def told(self) -> int | None:
        return self._number(r"displif-cts: (\d+) told")

    def _number(self, pattern: str) -> int | None:
        found = next((re.fullmatch(pattern, line.strip()) for line in self.console if re.fullmatch(pattern, line.strip())), None)
        return int(found[1]) if found else None

    def stream(self) -> bytes | None:
        """The stream that the board sent; None when it is not there whole, by its hash."""
        wanted = next((line.split()[-1] for line in self.console if line.startswith("displif-cts: stream ")), "")
        packed = "".join(line.removeprefix(_LINE).strip() for line in self.console if line.startswith(_LINE))
        try:
            data = zlib.decompress(base64.b64decode(packed, validate=True), wbits=31)
        except (binascii.Error, zlib.error):
            return None
        return data if hashlib.sha256(data).hexdigest() == wanted else None


def read(log: Path) -> JobResults:
    """A line that is no record of LAVA's is left out."""
    found = JobResults()
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = yaml.load(line, loader)
            record = record[0] if isinstance(record, list) else record
            level, message = record["lvl"], record["msg"]
        except (yaml.YAMLError, TypeError, IndexError, KeyError):
            continue
        if level == "target":
            found.console.extend(str(message).split("\n"))
        elif level == "results" and isinstance(message, dict):
            _take(found, message)
    return found


def _take(found: JobResults, message: dict[str, object]) -> None:
    if message.get("definition") == "lava" and message.get("case") == "job":
        found.job, found.error = str(message.get("result")), str(message.get("error_type", ""))
    extra = message.get("extra")
    if message.get("definition") != SUITE or not isinstance(extra, dict):
        return
    name = str(extra.get("test_case_id"))
    if name in found.cases:
        found.twice.append(name)
    found.cases[name] = str(message.get("result"))
    if message.get("units") == "seconds":
        found.seconds[name] = float(str(message.get("measurement")))


def differences(found: JobResults, run: Run | None) -> list[str]:
    """Where LAVA's results and the suite's own stream do not say the same."""
    texts = [f"{name}: LAVA has it twice" for name in found.twice]
    if found.job != "pass":
        texts.append(f"the job: {found.job}" + (f" ({found.error})" if found.error else ""))
    if found.planned is None or found.planned != len(found.cases):
        texts.append(f"the runner planned {found.planned if found.planned is not None else 'nothing that was heard of'}, LAVA has {len(found.cases)} results")
    if found.told is not None and found.told != len(found.cases):
        texts.append(f"the runner told {found.told} results, LAVA has {len(found.cases)}")
    if run is None:
        return [*texts, "the stream did not come whole"]
    said = {name: case.verdict for (name, _), case in run.cases.items() if case.verdict is not None}
    for name in sorted(said.keys() | found.cases.keys()):
        wanted, heard = plain(said[name]) if name in said else "nothing", found.cases.get(name, "nothing")
        if wanted != heard:
            texts.append(f"{name}: the stream says {wanted}" + (f" ({said[name]})" if name in said else "") + f", LAVA {heard}")
    for case in run.cases.values():
        if case.id in found.cases and abs(found.seconds.get(case.id, -1) - case.seconds) > 0.001:
            texts.append(f"{case.id}: the stream says {case.seconds:.3f} seconds, LAVA {found.seconds.get(case.id, 'nothing')}")
    return texts


def lavas_name(case: str) -> str:
    """A monitor's id as LAVA writes it down."""
    return re.sub(r"\W+", "_", case).lower()


def server_differences(found: JobResults, database: Mapping[str, str]) -> list[str]:
    """Where a server's database and the job's log do not say the same."""
    said = {lavas_name(name): result for name, result in found.cases.items()}
    return [f"{name}: the job's log says {said.get(name, 'nothing')}, the server's database {database.get(name, 'nothing')}"
            for name in sorted(said.keys() | database.keys()) if said.get(name) != database.get(name)]
