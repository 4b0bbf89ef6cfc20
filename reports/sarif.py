"""SARIF 2.1.0 (OASIS): what was found, at the requirement's line, with the header's line beside it."""
from __future__ import annotations

import json
from typing import Any

from reports import view
from reports.judge import Judged, Result

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
REQUIREMENTS = "cases/requirements.yaml"


def _place(uri: str, line: Any) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": uri, "uriBaseId": "SRCROOT"}}
    if isinstance(line, int) and line > 0:
        place["region"] = {"startLine": line}
    return place


def _rule_id(result: Result) -> str:
    """The requirement that was not kept; for a crash or a hang without a failed check, the verdict."""
    checks = result.case.failed if result.case else []
    binding = [check for check in checks if check["level"] in ("must", "robust")] or checks
    return str(binding[0]["requirement"]) if binding else f"verdict.{result.verdict or 'none'}"


def _rule(judged: Judged, name: str) -> dict[str, Any]:
    found = judged.run.requirements.get(name, {})
    text = str(found.get("text") or name)
    rule: dict[str, Any] = {"id": name, "shortDescription": {"text": text}, "defaultConfiguration": {"level": "error"},
                            "properties": {"tags": ["xen", "displif", str(found.get("level") or "verdict")]}}
    if found.get("reading"):
        rule["help"] = {"text": f"How this suite reads it: {found['reading']}"}
    return rule


def _related(source: dict[str, Any]) -> list[dict[str, Any]]:
    if not source.get("file"):
        return []
    words = ", ".join(str(source[key]) for key in ("section", "field") if source.get(key))
    place = {"artifactLocation": {"uri": f"xen/io/{source['file']}" if "/" not in str(source["file"]) else str(source["file"])}}
    if isinstance(source.get("line"), int) and source["line"] > 0:
        place["region"] = {"startLine": source["line"]}
    return [{"id": 1, "physicalLocation": place, "message": {"text": words or str(source["file"])}}]


def _finding(judged: Judged, result: Result, rules: list[str]) -> dict[str, Any]:
    name = _rule_id(result)
    requirement = judged.run.requirements.get(name, {})
    source = requirement.get("source") or {}
    finding: dict[str, Any] = {
        "ruleId": name, "ruleIndex": rules.index(name), "level": result.row.sarif, "kind": "fail",
        "message": {"text": f"{view.attempt_title(result)}: {result.row.label}: {result.reason or result.verdict or 'no verdict'}"},
        "locations": [{"physicalLocation": _place(REQUIREMENTS, requirement.get("line"))}],
        "partialFingerprints": {"caseAndRequirement/v1": f"{result.id}/{result.attempt}/{name}"},
        "properties": {"case": result.id, "verdict": result.verdict or "none", "outcome": result.outcome,
                       "peer": view.peer_title(judged), "place": view.place_title(judged),
                       "repro": view.repro_command(judged, result), **({"action": result.action} if result.action else {})},
    }
    if related := _related(source):
        finding["relatedLocations"] = related
    if result.known and result.expectation is not None:
        entry = result.expectation
        finding["suppressions"] = [{"kind": "external", "justification": f"{entry.reason} [{entry.reference}], until {entry.expires}"}]
    return finding


def _notifications(judged: Judged) -> list[dict[str, Any]]:
    texts = [*judged.trouble, *(f"{view.attempt_title(result)}: {result.reason}" for result in judged.results
                                if result.outcome == "missing")]
    return [{"level": "error", "message": {"text": text}} for text in texts]


def _invocation(judged: Judged) -> dict[str, Any]:
    invocation: dict[str, Any] = {
        "executionSuccessful": judged.exit_status != 3, "exitCode": judged.exit_status,
        "toolExecutionNotifications": _notifications(judged)}
    command = " ".join(map(str, judged.run.run.get("argv") or []))
    return invocation | ({"commandLine": command} if command else {})


def write(judged: Judged) -> str:
    found = [result for result in (*judged.results, *judged.stale) if result.row.sarif != "none"]
    rules = list(dict.fromkeys(_rule_id(result) for result in found))
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": [{
        "tool": {"driver": {"name": "displif-cts", "rules": [_rule(judged, name) for name in rules]}},
        "invocations": [_invocation(judged)],
        "originalUriBaseIds": {"SRCROOT": {"description": {"text": "the suite's own tree"}}},
        "results": [_finding(judged, result, rules) for result in found],
    }]}
    return json.dumps(document, indent=1, ensure_ascii=True) + "\n"
