"""SARIF against its schema: by the classes that Microsoft's tool generates from it (python3-sarif-python-om), and by the
schema's text where DISPLIF_SARIF_SCHEMA names it (docs.oasis-open.org, sarif-schema-2.1.0.json; it is OASIS', not ours)."""
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import attr
import jsonschema
import pytest
import sarif_om

GOLDEN = sorted((Path(__file__).with_name("golden") / "sarif").iterdir())
ENUMERATIONS = {"level": {"none", "note", "warning", "error"}, "kind": {"external", "inSource", "notApplicable", "pass", "fail", "review", "open", "informational"}}
BAGS = {"properties", "partialFingerprints"}  # any words
# The class of each object that we write, by the class that holds it and the name there.
OBJECTS = {
    ("SarifLog", "runs"): "Run", ("Run", "tool"): "Tool", ("Tool", "driver"): "ToolComponent", ("ToolComponent", "rules"): "ReportingDescriptor",
    ("ReportingDescriptor", "shortDescription"): "MultiformatMessageString", ("ReportingDescriptor", "help"): "MultiformatMessageString",
    ("ReportingDescriptor", "defaultConfiguration"): "ReportingConfiguration", ("Run", "invocations"): "Invocation",
    ("Invocation", "toolExecutionNotifications"): "Notification", ("Notification", "message"): "Message", ("Run", "results"): "Result",
    ("Result", "message"): "Message", ("Result", "locations"): "Location", ("Result", "relatedLocations"): "Location",
    ("Location", "physicalLocation"): "PhysicalLocation", ("Location", "message"): "Message", ("Result", "suppressions"): "Suppression",
    ("PhysicalLocation", "artifactLocation"): "ArtifactLocation", ("PhysicalLocation", "region"): "Region",
    ("ArtifactLocation", "description"): "Message",
}


def violations(name: str, value: dict[str, Any], place: str = "") -> list[str]:
    """What an object says that its class does not have, and what it lacks that the class demands."""
    known = {a.metadata["schema_property_name"]: a for a in attr.fields(getattr(sarif_om, name))}
    found = [f"{place}: {name} has no {key}" for key in value.keys() - known.keys()]
    found += [f"{place}: {key} is missing" for key, a in known.items() if a.default is attr.NOTHING and key not in value]
    for key, item in value.items():
        if key in ENUMERATIONS and item not in ENUMERATIONS[key]:
            found.append(f"{place}/{key}: {item}")
        if key == "originalUriBaseIds":
            found += [text for base in item.values() for text in violations("ArtifactLocation", base, f"{place}/{key}")]
        elif key not in BAGS and key in known:
            for number, child in enumerate(item if isinstance(item, list) else [item]):
                if isinstance(child, dict):
                    found += violations(OBJECTS[name, key], child, f"{place}/{key}/{number}")
    return found


@pytest.mark.parametrize("file", GOLDEN, ids=lambda path: path.stem)
def test_every_object_is_one_of_the_schemas(file: Path) -> None:
    assert violations("SarifLog", json.loads(file.read_text())) == []


@pytest.mark.parametrize("old, new, wanted", [
    ('"ruleId"', '"ruleID"', "Result has no ruleID"), ('"message": {', '"massage": {', "message is missing"),
    ('"level": "error"', '"level": "fatal"', "/level: fatal"), ('"startLine"', '"line"', "Region has no line"),
    ('"driver"', '"driven"', "driver is missing"),
])
def test_what_the_schema_does_not_have_is_seen(old: str, new: str, wanted: str) -> None:
    text = '{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "x"}}, "results": [{"ruleId": "a", "level": "error", ' \
           '"message": {"text": "b"}, "locations": [{"physicalLocation": {"region": {"startLine": 1}}}]}]}]}'
    assert violations("SarifLog", json.loads(text)) == []
    found = violations("SarifLog", json.loads(text.replace(old, new)))
    assert any(wanted in line for line in found), found


@pytest.mark.skipif("DISPLIF_SARIF_SCHEMA" not in os.environ, reason="DISPLIF_SARIF_SCHEMA does not name the schema's file")
@pytest.mark.parametrize("file", GOLDEN, ids=lambda path: path.stem)
def test_the_schema_itself_takes_it(file: Path) -> None:
    schema = json.loads(Path(os.environ["DISPLIF_SARIF_SCHEMA"]).read_text())
    assert schema["$id"].endswith("sarif-schema-2.1.0.json")
    validator = jsonschema.Draft7Validator(schema, format_checker=jsonschema.FormatChecker())
    assert [error.message for error in validator.iter_errors(json.loads(file.read_text()))] == []
