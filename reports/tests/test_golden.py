"""Every format as it was: golden/ holds what each makes of four small streams.

To change a format knowingly, run this with UPDATE_GOLDEN=1 and look at the difference.
"""
from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from reports import compare, html, security
from reports.details import unpack
from reports.html import PAGE, script
from reports.judge import Judged
from reports.tests import streams as s
from reports.tests.test_security import ATTACKS, session
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
    _kept(text, GOLDEN / form / f"{name}{Path(FILES.get(form, 'report.txt')).suffix}")


def _kept(text: str, golden: Path) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()


def _two_runs(folder: Path) -> list[Judged]:
    """Of one peer on two beds: what is known on one surprises on the other."""
    runs = []
    for bed in ("qemu", "loopback"):
        records = s.whole(s.KNOWN, bed=bed)
        records[2] |= {"attacks": ATTACKS}
        (folder / bed).mkdir()
        runs.append(judged_stream(s.write(folder / bed, records if bed == "qemu" else records[:-2])))
    return runs


@pytest.mark.parametrize("form", ["txt", "html"])
def test_the_views_of_several_runs_are_as_they_were(tmp_path: Path, form: str) -> None:
    runs = _two_runs(tmp_path)
    sessions = [session(), session(peer="other", bed="in process", findings=())]
    tables = [security.table_of(judged, sessions) for judged in runs]
    compared = compare.compare(*runs, ("before", "after"))
    views = {"security": (security.text if form == "txt" else security.html)(tables, sessions), "compare": (compare.text if form == "txt" else compare.html)(compared)}
    for name, text in views.items():
        _kept(text.replace((PAGE / "page.css").read_text(encoding="utf-8"), "(page.css)\n"), GOLDEN / name / f"two-runs.{form}")


@pytest.mark.parametrize("form", FORMATS)
def test_a_report_is_the_same_each_time(tmp_path: Path, form: str) -> None:
    first, second = (render(judged_stream(stream_of("surprised", tmp_path)), form, tmp_path) for _ in range(2))
    assert first == second
