"""JUnit XML, in the form that Jenkins, GitLab, GitHub's actions and junitparser agree on."""
from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import groupby
from typing import Iterable

from reports import view
from reports.judge import Judged, Result

_TAGS = {"failure": "failure", "error": "error", "skipped": "skipped"}


def _clean(text: str) -> str:
    """XML 1.0 has no control characters, lone surrogates or non-characters, not even escaped ones."""
    return "".join(c if c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff"
                   else "\ufffd" for c in text)


def _class(case_id: str) -> str:
    return ".".join(case_id.split(".")[:2])


def _suite(root: ET.Element, name: str, judged: Judged) -> ET.Element:
    suite = ET.SubElement(root, "testsuite", name=_clean(name))
    if judged.date:
        suite.set("timestamp", judged.date[:19])
    properties = ET.SubElement(suite, "properties")
    for key, value in (("peer", view.peer_title(judged)), ("place", view.place_title(judged))):
        ET.SubElement(properties, "property", name=key, value=_clean(value))
    return suite


def _testcase(suite: ET.Element, judged: Judged, result: Result) -> None:
    name = ".".join(result.id.split(".")[2:]) or result.id
    if result.attempt > 1:
        name += f"#{result.attempt}"
    seconds = result.case.seconds if result.case else 0.0
    case = ET.SubElement(suite, "testcase", name=_clean(name), classname=_clean(_class(result.id)),
                         time=f"{seconds:.3f}")
    row = result.row
    if row.junit == "passed":
        return
    message = f"{row.label}: {result.reason}" if result.reason else row.label
    node = ET.SubElement(case, _TAGS[row.junit], message=_clean(message.replace("\n", " ")))
    if row.junit != "skipped":
        node.set("type", result.verdict or "missing")
    node.text = _clean("\n".join(details(judged, result)))


def details(judged: Judged, result: Result) -> Iterable[str]:
    for check in result.case.failed[:5] if result.case else []:
        requirement = judged.run.requirements.get(check["requirement"], {})
        yield f"{check['requirement']} [{check['level']}] {requirement.get('text', '')}"
        yield from (f"  expected {outcome}" for outcome in check["expected"])
        yield f"  saw      {check.get('seen', '')}"
    if result.id in judged.again:
        yield view.flaky_text(judged, result.id)
    if result.expectation is not None:
        yield f"expectation {result.expectation.where}: {result.expectation.reason}"
    if result.action:
        yield result.action
    if result.case is not None:
        yield "run again: " + view.repro_command(judged, result)


def _trouble_case(suite: ET.Element, number: int, text: str) -> None:
    case = ET.SubElement(suite, "testcase", name=f"trouble-{number}", classname="displif-cts.stream", time="0.000")
    ET.SubElement(case, "error", message=_clean(text), type="incomplete")


def _count(element: ET.Element) -> None:
    cases = list(element.iter("testcase"))
    element.set("tests", str(len(cases)))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(attribute, str(sum(case.find(tag) is not None for case in cases)))
    element.set("time", f"{sum(float(case.get('time', '0')) for case in cases):.3f}")


def write(judged: Judged) -> str:
    root = ET.Element("testsuites", name="displif-cts")
    if judged.trouble:
        suite = _suite(root, "displif-cts.stream", judged)
        for number, text in enumerate(judged.trouble, 1):
            _trouble_case(suite, number, text)
    ordered = sorted((*judged.results, *judged.stale), key=lambda r: (_class(r.id), r.id, r.attempt))
    for name, results in groupby(ordered, key=lambda r: _class(r.id)):
        suite = _suite(root, name, judged)
        for result in results:
            _testcase(suite, judged, result)
    for suite in root.findall("testsuite"):
        _count(suite)
    _count(root)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
