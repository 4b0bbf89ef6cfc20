"""From a red line of JUnit to its cause, in the report alone: real failures of the driver that Debian ships."""
from __future__ import annotations

import json
import re
import shlex
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, Iterator

import pytest

from lab.build import ROOT, build_carried
from lab.progress import Progress
from lab.replay import differences
from reports.tests.browser import Page, started

# Each with the words of the header's sentence, patterns of what was expected and of what was seen (the connector's size is
# the bed's affair), and the step that did it.
FAILURES = {
    "frontend.dbuf-create.error-status-not-destroyed": (
        "displif.h, Request dbuf destruction", "no DBUF_DESTROY", "DBUF_DESTROY of the refused cookie", "DBUF_DESTROY id 1"),
    "frontend.set-config.larger-framebuffer": (
        "displif.h, Request configuration set/reset", r"at most \d+x\d+", r"\d+x\d+\+0\+0", "SET_CONFIG id"),
    "frontend.set-config.error-status-then-set-again": ("displif.h, ", "SET_CONFIG", "PG_FLIP", "PG_FLIP id"),
}


@pytest.fixture(scope="module")
def red_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without expectations: what is known of the driver is red here."""
    folder = tmp_path_factory.mktemp("red")
    nothing = folder / "none.yaml"
    nothing.write_text("[]\n")
    cases = [word for name in FAILURES for word in ("--case", name)]
    done = subprocess.run([ROOT / "displif-cts", "run", "--jobs", "1", "--again", "0", "--expectations", nothing, "--out", folder / "run", *cases],
                          cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    return folder / "run"


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    yield from started()


@pytest.mark.bed
@pytest.mark.parametrize("name", FAILURES)
def test_the_report_shows_the_cause(red_run: Path, driver: Any, name: str) -> None:
    place, expected, seen, step = FAILURES[name]
    line = next(case for case in ET.parse(red_run / "junit.xml").iter("testcase") if f"{case.get('classname')}.{case.get('name')}" == name)
    failure = line.find("failure")
    assert failure is not None and failure.get("type") == "fail"
    page = Page(driver, red_run / "report.html")
    page.js("""const field = document.forms[0].elements.text; field.value = arguments[0];
        field.dispatchEvent(new Event('input', {bubbles: true}))""", name)
    assert page.shown() == [f"{name}-1"]
    case = page.open_case(f"{name}-1")
    assert place in page.text(case, ".requirement") and "[must]" in page.text(case, ".requirement")
    values = page.text(case, ".check td.fact").splitlines()
    for pattern in (expected, seen):
        assert any(re.fullmatch(pattern, value) for value in values), (pattern, values)
    marked = page.text(case, "svg.sequence [data-marked]")
    assert step in marked and "offending step" in marked
    assert page.complaints() == []


@pytest.mark.bed
@pytest.mark.full
@pytest.mark.parametrize("name", FAILURES)
def test_the_printed_command_gives_the_same_verdict(red_run: Path, driver: Any, name: str, tmp_path: Path) -> None:
    page = Page(driver, red_run / "report.html")
    words = shlex.split(page.text(page.open_case(f"{name}-1"), ".repro"))
    assert words[:2] == ["./displif-cts", "run"] and words[-2:] == ["--case", name]
    done = subprocess.run([*words, "--out", tmp_path / "again"], cwd=ROOT, capture_output=True, text=True, check=False)
    records = [json.loads(record) for record in (tmp_path / "again" / "stream.jsonl").read_text().splitlines()]
    verdicts = {record["verdict"] for record in records if record["t"] == "verdict" and record["case"] == name}
    assert verdicts == {"fail"} and done.returncode == 1, done.stderr


@pytest.mark.bed
def test_the_monitors_say_the_same_over_the_recorded_messages(red_run: Path, tmp_path: Path) -> None:
    runner = build_carried(Progress(quiet=True)).runner
    texts, same = differences(runner, red_run / "stream.jsonl")
    assert texts == [] and same > 10
    lines = (red_run / "stream.jsonl").read_text().splitlines(True)
    flip = next(i for i, line in enumerate(lines) if '"op":"PG_FLIP"' in line and '"kind":"req"' in line)
    zeros = lines[flip].replace('00","fields"', 'ff","fields"', 1)  # the packet's last octet is reserved
    (tmp_path / "stream.jsonl").write_text("".join([*lines[:flip], zeros, *lines[flip + 1:]]))
    texts, _ = differences(runner, tmp_path / "stream.jsonl")
    assert any("frontend.monitor.reserved-zero" in text for text in texts), texts
