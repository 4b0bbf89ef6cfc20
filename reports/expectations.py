"""Known outcomes: read from YAML with their line numbers, carried in the stream, applied from there."""
from __future__ import annotations

import datetime
import fnmatch
from dataclasses import dataclass
from typing import Any, Mapping

import yaml

from reports import versions

# What an entry must say; `flaky_rate` and `fixed_in` may be left out.
REQUIRED = ("case", "bed", "versions", "verdict", "reason", "reference", "owner", "expires")
OPTIONAL = ("flaky_rate", "fixed_in")
VERDICTS = ("warn", "fail", "hang", "crash", "skip")


class ExpectationError(Exception):
    """The file is no list of expectations. The text says where and why."""


@dataclass(frozen=True)
class Expectation:
    case: str
    bed: str
    versions: str
    verdict: str
    reason: str
    reference: str
    owner: str
    expires: str  # ISO date, the last day on which the entry holds
    flaky_rate: float | None = None
    fixed_in: str | None = None
    file: str = ""
    line: int = 0

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}" if self.file else f"the entry for {self.case}"

    def applies(self, bed: str, version: str) -> bool:
        """Is the entry about this bed and this version of the peer?"""
        if not fnmatch.fnmatchcase(bed, self.bed) or not versions.matches(version, self.versions):
            return False
        return self.fixed_in is None or versions.compare(version, self.fixed_in) < 0

    def covers(self, case_id: str) -> bool:
        return fnmatch.fnmatchcase(case_id, self.case)

    def expired(self, date: str) -> bool:
        return date[:10] > self.expires

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if value is not None}


def from_json(entry: Mapping[str, Any]) -> Expectation:
    """An entry as a stream or a file holds it. Raises ExpectationError that names the key at fault."""
    known = {name: entry[name] for name in (*REQUIRED, *OPTIONAL, "file", "line") if name in entry}
    where = f"{known.get('file', 'expectations')}:{known.get('line', '?')}"
    for name in REQUIRED:
        if known.get(name) in (None, ""):
            raise ExpectationError(f"{where}: {name} is missing")
    if known["verdict"] not in VERDICTS:
        raise ExpectationError(f"{where}: verdict is {known['verdict']!r}, not one of {', '.join(VERDICTS)}")
    known["expires"] = str(known["expires"])
    try:
        datetime.date.fromisoformat(known["expires"])
    except ValueError:
        raise ExpectationError(f"{where}: expires is no date (YYYY-MM-DD)") from None
    rate = known.get("flaky_rate")
    if rate is not None and not (isinstance(rate, (int, float)) and 0 < rate < 1):
        raise ExpectationError(f"{where}: flaky_rate is not between 0 and 1")
    for name in ("case", "bed", "versions", "verdict", "reason", "reference", "owner", "fixed_in"):
        if name in known:
            known[name] = str(known[name])
    return Expectation(**known)


def parse(text: str, file: str) -> list[Expectation]:
    """The entries of a YAML file: a list, or a mapping with the list under `expectations`."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ExpectationError(f"{file}: {_one_line(error)}") from None
    if data is None:
        return []
    if isinstance(data, dict):
        if "expectations" not in data:
            raise ExpectationError(f"{file}: neither a list nor a mapping with 'expectations'")
        data, node = data["expectations"] or [], _value(node, "expectations")
    if not isinstance(data, list):
        raise ExpectationError(f"{file}: expectations is not a list")
    return [_entry(entry, file, node.value[i].start_mark.line + 1) for i, entry in enumerate(data)]


def _entry(entry: Any, file: str, line: int) -> Expectation:
    if not isinstance(entry, dict):
        raise ExpectationError(f"{file}:{line}: an entry is a mapping")
    unknown = sorted(set(map(str, entry)) - set(REQUIRED) - set(OPTIONAL))
    if unknown:
        raise ExpectationError(f"{file}:{line}: unknown key {unknown[0]}")
    return from_json({**entry, "file": file, "line": line})


def _value(node: yaml.MappingNode, key: str) -> yaml.Node:
    return next(value for name, value in node.value if name.value == key)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def snippet(case_id: str, bed: str, version: str, verdict: str) -> str:
    """The entry to add for a failure that is known and accepted, for the reader to complete."""
    return "\n".join([
        f"- case: {case_id}",
        f"  bed: {bed}",
        f'  versions: "{version}"',
        f"  verdict: {verdict}",
        "  reason: ...",
        "  reference: ...",
        "  owner: ...",
        "  expires: ...",
    ])
