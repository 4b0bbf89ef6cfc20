"""Each report as somebody reads it who knows nothing but its format: what it says of each case."""
from __future__ import annotations

import json
import re

import junitparser

from reports.tests.test_html import Reader

TROUBLE = "displif-cts."  # what is said of the stream or the run, not of a case


def junit(text: str) -> dict[str, str]:
    found = {}
    for suite in junitparser.JUnitXml.fromstring(text.encode()):
        for case in suite:
            name = f"{case.classname}.{case.name}"
            assert name not in found
            found[name] = f"{case.result[0]._tag} {case.result[0].message}" if case.result else "passed"
    return found


def ktap(text: str) -> dict[str, str]:
    found = {}
    lines = [re.fullmatch(r"(ok|not ok) (\d+) (\S+)( # .*)?", line) for line in text.splitlines() if line.startswith(("ok", "not ok"))]
    assert [int(line[2]) for line in lines if line] == list(range(1, len(lines) + 1)) and f"1..{len(lines)}" in text.splitlines()
    for line in lines:
        assert line
        found[line[3]] = line[1] + (line[4] or "")
    return {(TROUBLE + name if name == "stream" else name): word for name, word in found.items()}


def lava(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = re.fullmatch(r"<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=([A-Za-z0-9._-]+) RESULT=(pass|fail|skip|unknown)(?: MEASUREMENT=[0-9.]+ UNITS=seconds)?>", line)
        assert match and match[1] not in found
        found[match[1]] = match[2]
    return found


def sarif(text: str) -> dict[str, str]:
    (run,) = json.loads(text)["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    found = {}
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"] and result["message"]["text"]
        assert result["level"] in ("none", "note", "warning", "error")
        found[result["properties"]["case"]] = result["level"] + (" suppressed" if result.get("suppressions") else "")
    for note in run["invocations"][0]["toolExecutionNotifications"]:
        name, _, words = note["message"]["text"].partition(": ")
        if re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", name) and words.startswith("it "):
            found[name] = "missing"
    return found


def markdown(text: str) -> dict[str, str]:
    found = {name: label for label, name in re.findall(r"^### (.*): ` (.*) `$", text, re.MULTILINE)}
    return found | dict(re.findall(r"^- ` (\S+) ` (fail|hang|crash|warn|skip)", text, re.MULTILINE))


def human(text: str) -> dict[str, str]:
    return dict(re.findall(r"^  (\S+): (.+)$", text.split("\ntrouble\n")[0] + text, re.MULTILINE))


def html(text: str) -> dict[str, str]:
    rows = re.findall(r'<details class="case" id="(\S+)-1" data-label="([^"]+)"', text)
    packed = {case["id"]: case["verdict"] for case in Reader(text).packed}
    return {name: f"{label} {packed[name]}" for name, label in rows}


ALL = {"junit": junit, "ktap": ktap, "lava": lava, "sarif": sarif, "markdown": markdown, "human": human, "html": html}
