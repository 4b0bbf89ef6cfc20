"""What a certification run shows: of every case on the list its verdict, of every level what was kept, and the result."""
from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Iterable, Sequence

import yaml

from reports import view
from reports.expectations import Expectation
from reports.judge import Judged, requirement_states
from reports.statuses import statuses

WAIVER_KEYS = ("case", "verdict", "reason", "reference")


class WaiverError(Exception):
    """A waiver that is none. The text says which and why."""


@dataclass(frozen=True)
class Waiver:
    case: str
    verdict: str
    reason: str
    reference: str


def parse_waivers(text: str, file: str) -> list[Waiver]:
    """A YAML list. A waiver without a reference is refused: nobody could look at what it rests on."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise WaiverError(f"{file}: {' '.join(str(error).split())}") from None
    if not isinstance(data or [], list):
        raise WaiverError(f"{file}: not a list of waivers")
    waivers: list[Waiver] = []
    for number, entry in enumerate(data or [], 1):
        if not isinstance(entry, dict) or set(entry) - set(WAIVER_KEYS):
            raise WaiverError(f"{file}: waiver {number}: a mapping with the keys {', '.join(WAIVER_KEYS)}, and no others")
        lacking = [key for key in WAIVER_KEYS if not str(entry.get(key) or "").strip()]
        if lacking:
            raise WaiverError(f"{file}: waiver {number} ({entry.get('case', '?')}): {lacking[0]} is missing")
        if statuses().certify.get(str(entry["verdict"])) != "waivable":
            raise WaiverError(f"{file}: waiver {number} ({entry['case']}): {entry['verdict']} cannot be waived")
        if any(entry["case"] == waiver.case for waiver in waivers):
            raise WaiverError(f"{file}: waiver {number}: a second one for {entry['case']}")
        waivers.append(Waiver(**{key: str(entry[key]) for key in WAIVER_KEYS}))
    return waivers


def dump_waivers(waivers: Sequence[Waiver]) -> str:
    return yaml.safe_dump([asdict(waiver) for waiver in waivers], sort_keys=False, allow_unicode=True, width=10_000)


def list_hash(cases: Iterable[str]) -> str:
    return hashlib.sha256("".join(f"{case}\n" for case in cases).encode()).hexdigest()


def make(judged: Judged, mandatory: Sequence[str], waivers: Sequence[Waiver]) -> dict[str, Any]:
    """The statement as data. Whatever stands against conformance is in `objections`, a line each."""
    objections = [f"the stream: {text}" for text in judged.trouble]
    table, cases = statuses(), {}
    waived = {waiver.case: waiver for waiver in waivers}
    unseen = {}
    worst: dict[str, str | None] = {}
    for result in judged.results:
        verdict = None if result.outcome == "missing" and result.verdict == "skip" else result.verdict
        order = (None, *table.verdicts)
        if result.id not in worst or order.index(verdict) > order.index(worst[result.id]) or verdict is None:
            worst[result.id] = verdict
    for case in mandatory:
        verdict = worst.get(case)
        cases[case] = verdict or "none"
        treatment = table.certify[verdict] if verdict else "refused"
        if treatment == "refused":
            objections.append(f"{case}: {'no verdict' if verdict is None else verdict}")
        elif treatment == "waivable" and (case not in waived or waived[case].verdict != verdict):
            objections.append(f"{case}: {verdict}, and no waiver covers it")
    for case, waiver in waived.items():
        if cases.get(case) == waiver.verdict:
            continue
        chance = _by_chance(judged, waiver)
        if chance is not None and table.certify.get(cases.get(case, "")) == "accepted":
            unseen[case] = {"verdict": waiver.verdict, "rate": chance.flaky_rate, "expectation": chance.where}
        else:
            objections.append(f"waiver for {case}: " + ("it is not on the list" if case not in cases else f"it is now {cases[case]}"))
    version = judged.run.run.get("suite_version") or {}
    if not version.get("clean"):
        objections.append("the suite was not in a clean state: what judged cannot be had again")
    return {
        "format": 1,
        "result": "not conformant" if objections else "conformant with waivers" if waivers else "conformant",
        "peer": view.peer_title(judged), "judged on": view.place_title(judged), "date": judged.date,
        "suite": {"name": str(judged.run.run.get("suite", "")), "commit": str(version.get("commit", "unknown")), "clean": bool(version.get("clean"))},
        "role": str(judged.run.run.get("role", "")),
        "list": {"cases": len(mandatory), "sha256": list_hash(mandatory)},
        "verdicts": dict(sorted(Counter(cases.values()).items())),
        "levels": _levels(judged),
        "skipped": {case: next(r.reason for r in judged.results if r.id == case) for case, verdict in cases.items() if verdict == "skip"},
        "waivers": [asdict(waiver) for waiver in waivers],
        **({"not seen": unseen} if unseen else {}),
        "objections": objections,
    }


def _by_chance(judged: Judged, waiver: Waiver) -> Expectation | None:
    """The expectation that records how often a waived deviation shows: one that does not show each time needs its waiver all the same."""
    return next((entry for entry in judged.entries if entry.flaky_rate and entry.covers(waiver.case) and entry.verdict == waiver.verdict
                 and not entry.expired(judged.date)), None)


def _levels(judged: Judged) -> dict[str, dict[str, Any]]:
    """By level: how many requirements were kept, and which were not."""
    levels: dict[str, dict[str, Any]] = {}
    for name, state in sorted(requirement_states(judged).items()):
        level = str(judged.run.requirements.get(name, {}).get("level", "unknown"))
        row = levels.setdefault(level, {"kept": 0, "not kept": [], "not looked at": []})
        if state == "kept":
            row["kept"] += 1
        else:
            row["not looked at" if state == "unchecked" else "not kept"].append(name)
    return levels


def dump(statement: dict[str, Any]) -> bytes:
    return json.dumps(statement, indent=1, ensure_ascii=False).encode(errors="replace") + b"\n"


def text(statement: dict[str, Any]) -> str:
    lines = [f"{statement['result'].upper()}: {statement['peer']}, {statement['judged on']}",
             f"suite     {statement['suite']['name']} {statement['suite']['commit']}" + ("" if statement["suite"]["clean"] else ", NOT CLEAN"),
             f"list      {statement['list']['cases']} mandatory cases, sha256 {statement['list']['sha256']}",
             f"verdicts  {', '.join(f'{number} {verdict}' for verdict, number in statement['verdicts'].items())}"]
    for level, row in statement["levels"].items():
        lines.append(f"{level:<9} {row['kept']} kept, {len(row['not kept'])} not kept, {len(row['not looked at'])} not looked at")
    lines.extend(f"waived    {waiver['case']} ({waiver['verdict']}): {waiver['reason']} [{waiver['reference']}]" for waiver in statement["waivers"])
    lines.extend(f"not seen  {case} ({chance['verdict']}): it shows by chance, in {chance['rate']:.0%} of runs as {chance['expectation']} records, and did not in this run"
                 for case, chance in statement.get("not seen", {}).items())
    lines.extend(f"skipped   {case}: {reason}" for case, reason in statement["skipped"].items())
    lines.extend(f"against   {objection}" for objection in statement["objections"])
    return "\n".join(lines) + "\n"
