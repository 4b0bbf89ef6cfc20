"""What several reports say in the same words: repro command, titles, counts."""
from __future__ import annotations

import shlex
from typing import Any

from reports.judge import Judged, Result, rate

def repro_command(judged: Judged, result: Result) -> str:
    """The one command that runs the case again, with the same peer, bed and seed."""
    base = [str(word) for word in judged.run.run.get("repro") or ["./displif-cts", "run"]]
    cases = [result.id]
    if result.case is not None and result.case.monitor:  # a monitor needs cases to watch
        during = dict.fromkeys(str(c["during"]) for c in result.case.failed if c.get("during"))
        cases += list(during)[:1] or ["*"]
    return shlex.join([*base, *(word for case in cases for word in ("--case", case))])


def peer_title(judged: Judged) -> str:
    peer = judged.run.peer
    return f"{peer.get('name', 'unknown peer')} {judged.run.peer_version}"


def place_title(judged: Judged) -> str:
    """Where it was judged: a result is a claim about this bed and guest type only."""
    run = judged.run
    guest = run.env.get("guest_type") or run.run.get("guest_type")
    arch = run.env.get("arch")
    if guest and arch not in (None, "amd64"):
        guest = f"{arch} {guest}"
    return f"{run.run.get('bed', '?')} bed" + (f", {guest} guest" if guest else "")


def attempt_title(result: Result) -> str:
    return result.id if result.attempt == 1 else f"{result.id} (attempt {result.attempt})"


def flaky_text(judged: Judged, case_id: str) -> str:
    """`failed 1 of 3 runs; ...` for a case that was run again; empty for one that was not."""
    bad, total = rate(judged.run, case_id)
    if total <= judged.run.repeat or not judged.run.run.get("again"):
        return ""
    again = total - judged.run.repeat
    return f"bad in {bad} of {total} runs, {again} of them alone in a fresh machine"


def count_text(judged: Judged) -> str:
    """`61 cases: 55 pass, 1 warn, 4 fail (4 known)`"""
    counts = judged.verdicts()
    words = [f"{counts[v]} {v}" for v in ("pass", "warn", "fail", "hang", "crash", "skip", "infra-error", "missing")
             if counts[v]]
    known = len(judged.deviations())
    text = f"{len(judged.results)} verdicts: {', '.join(words) or 'none'}"
    return text + (f" ({known} known deviations)" if known else "")


def headline(judged: Judged) -> str:
    """The run's verdict in one line."""
    if not judged.complete or any("cut short" in note for note in judged.trouble):
        return "INCOMPLETE: this run proves nothing about what is missing"
    missing = sum(result.outcome == "missing" for result in judged.results)
    if judged.exit_status == 3:
        return f"NOT JUDGED: {missing} of {len(judged.results)} without a verdict on the peer" if missing \
            else "NOT JUDGED: " + judged.trouble[0]
    if judged.exit_status == 1:
        number = len(judged.surprises())
        return f"SURPRISED: {number} result{'s' if number != 1 else ''} not as expected"
    known = len(judged.deviations())
    return "AS EXPECTED" + (f", with {known} known deviation{'s' if known != 1 else ''}" if known else "")


def fields_text(fields: dict[str, Any]) -> str:
    if list(fields) == ["text"]:
        return str(fields["text"])
    return "  ".join(f"{name}={_value(value)}" for name, value in fields.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + fields_text(value) + "}"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)



def suite_title(judged: Judged) -> str:
    """The suite's name, and its commit where the stream says it."""
    run = judged.run.run
    version = run.get("suite_version")
    if not isinstance(version, dict) or not version.get("commit"):
        return str(run.get("suite", ""))
    return f"{run.get('suite', '')} {version['commit']}" + ("" if version.get("clean") else ", with changes that are not committed")
