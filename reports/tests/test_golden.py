"""Every format as it was: golden/ holds what each makes of four small streams.

To change a format knowingly, run this with UPDATE_GOLDEN=1 and look at the difference.
"""
from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from reports import html
from reports.details import unpack
from reports.html import PAGE, script
from reports.tests import streams as s
from reports.write import FILES, FORMATS, judged_stream, render

GOLDEN = Path(__file__).with_name("golden")
META = GOLDEN / "meta.jsonl"  # what cases/meta records: lab/tests/test_formats_of_real_runs.py keeps it true
SURPRISING = [s.expectation(s.GOOD), s.expectation(s.WARN, expires="2026-02-01"), s.expectation("frontend.gone")]


def stream_of(name: str, folder: Path) -> Path:
    if name == "meta":
        return META
    return s.write(folder, s.whole(s.KNOWN if name == "known" else SURPRISING), end=name != "damaged")


def settled(page: str) -> str:
    """The page as somebody can compare it: the cases' data unpacked (how well zlib packs is its version's affair), script and
    style, which stand in the tree as files, by name."""
    style = (PAGE / "page.css").read_text(encoding="utf-8")
    assert page.count(script()) == 1 and page.count(style) == 1
    page = page.replace(script(), "(the scripts of reports/page)").replace(style, "(page.css)\n").replace(html._hash(script()), "(their hash)")
    return re.sub(r'(?<=<script type="text/plain" class="packed">)[^<]*', lambda data: "\n" + _lines(data[0]), page)


def _lines(packed: str) -> str:
    about = unpack(packed)
    messages = about.pop("messages")
    return json.dumps(about, indent=1, ensure_ascii=False) + "\n" + "".join(json.dumps(message) + "\n" for message in messages)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["known", "surprised", "damaged", "meta"])
def test_formats_are_as_they_were(tmp_path: Path, form: str, name: str) -> None:
    text = render(judged_stream(stream_of(name, tmp_path)), form, tmp_path)
    text = settled(text) if form == "html" else text
    golden = GOLDEN / form / f"{name}{Path(FILES.get(form, 'report.txt')).suffix}"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("form", FORMATS)
def test_a_report_is_the_same_each_time(tmp_path: Path, form: str) -> None:
    first, second = (render(judged_stream(stream_of("surprised", tmp_path)), form, tmp_path) for _ in range(2))
    assert first == second
