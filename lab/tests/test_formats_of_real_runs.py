"""The reports, made from what the runner itself writes, and read by others' programs."""
from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.build import build
from lab.kernel.source import KUNIT, stock_driver_source
from lab.recording import CaseRecorder, Recording
from reports.statuses import statuses
from reports.tests import consumers
from reports.tests import streams as s
from reports.tests.test_golden import META as META_STREAM
from reports.write import FORMATS, judged_stream, render

META = "displif-cts-meta-runner"


@pytest.fixture(scope="session")
def meta_records(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    """What cases/meta gives: every verdict, each on purpose."""
    runner = build("release", [META]) / "cases" / "meta" / META
    peer = tmp_path_factory.mktemp("meta") / "peer.json"
    peer.write_text(json.dumps({"name": "nobody", "version": "0"}))
    done = subprocess.run([runner, "run", "--format", "jsonl", "--domain", "0", "--peer", peer], capture_output=True, timeout=120, check=False)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def meta_stream(meta_records: list[dict[str, object]], tmp_path: Path) -> Path:
    """As the host records it."""
    recording = Recording(tmp_path, [])
    plan = next(record for record in meta_records if record["t"] == "plan")
    for record in (*s.head(())[:2], plan):
        recording.take(dict(record))
    for record in meta_records:
        if "case" in record:
            recording.take(dict(record))
    recording.seal()
    recording.close()
    return recording.stream


def test_the_recorder_is_the_same_for_each_line(meta_records: list[dict[str, object]], tmp_path: Path) -> None:
    recording = Recording(tmp_path, [])
    recorder = CaseRecorder(recording, "meta.fail.must-broken", ("meta.must",), 1)
    for record in meta_records:
        if record.get("case") == "meta.fail.must-broken":
            recorder.line(json.dumps(record).encode())
    assert recorder.verdict == "fail"


def test_the_golden_stream_is_what_the_meta_cases_record(meta_stream: Path) -> None:
    """But for the times, which are the record's numbers here. UPDATE_GOLDEN=1 writes it anew."""
    settled = b""
    for line in meta_stream.read_bytes().splitlines()[:-1]:
        record = json.loads(line)
        record |= {"ns": (record["seq"] + 1) * 1_000_000} | ({"ns_spent": 1_000_000} if "ns_spent" in record else {})
        settled += json.dumps(record, separators=(",", ":")).encode() + b"\n"
    end = json.loads(meta_stream.read_bytes().splitlines()[-1]) | {"ns": 1_000_000_000, "sha256": hashlib.sha256(settled).hexdigest()}
    settled += json.dumps(end, separators=(",", ":")).encode() + b"\n"
    if os.environ.get("UPDATE_GOLDEN"):
        META_STREAM.write_bytes(settled)
    assert settled == META_STREAM.read_bytes()


@pytest.mark.parametrize("form", FORMATS)
def test_every_verdict_goes_through_every_writer(meta_stream: Path, form: str) -> None:
    judged = judged_stream(meta_stream)
    assert {result.verdict for result in judged.results} == set(statuses().verdicts)
    found = consumers.ALL[form](render(judged, form, meta_stream.parent))
    for result in judged.results:
        assert result.case is not None and result.case.folded().verdict == result.verdict, result.id
        word = found.get(result.id, "")
        row = result.row
        wanted = {"junit": row.junit, "ktap": row.ktap, "lava": row.lava, "html": row.label, "markdown": row.label if result.red else "",
                  "human": row.label if result.red else "", "sarif": "missing" if result.outcome == "missing" else "" if row.sarif == "none" else row.sarif}[form]
        if form == "sarif" and result.outcome == "missing":
            continue  # told as notifications of the tool, in its own words
        if form == "human" and result.red:
            assert word.startswith(wanted) or len(judged.surprises()) > 20, result.id
        else:
            assert word.startswith(wanted) and bool(word) == bool(wanted), (result.id, word, wanted)


def test_the_runners_own_signals_say_what_its_records_say(meta_records: list[dict[str, object]], tmp_path: Path) -> None:
    """`--format lava` on a board without Python: the words of the one table, and two counts that show a lost line."""
    runner = build("release", [META]) / "cases" / "meta" / META
    (tmp_path / "peer.json").write_text(json.dumps({"name": "nobody", "version": "0"}))
    done = subprocess.run([runner, "run", "--format", "lava", "--domain", "0", "--peer", tmp_path / "peer.json"], capture_output=True, text=True, timeout=120)
    wanted = {str(record["case"]): str(record["verdict"]) for record in meta_records if record["t"] == "verdict"}
    words = {"fail": "unexpected-fail", "hang": "unexpected-fail", "crash": "unexpected-fail", "infra-error": "missing"}
    lines = done.stdout.strip().splitlines()
    assert lines[:2] == ["<LAVA_SIGNAL_TESTSET START displif-cts>", f"displif-cts: {len(wanted)} planned"]
    assert lines[-2:] == [f"displif-cts: {len(wanted)} told", "<LAVA_SIGNAL_TESTSET STOP>"]
    assert consumers.lava("\n".join(lines[2:-2])) == {
        name: statuses().row(words.get(verdict, "expected"), verdict).lava for name, verdict in wanted.items()}


def kunit(text: str, folder: Path) -> tuple[int, str]:
    """The kernel's own reader, out of Debian's linux-source."""
    file = folder / "report.ktap"
    file.write_text(text)
    tool = stock_driver_source() / KUNIT / "kunit.py"
    done = subprocess.run([sys.executable, tool, "parse", file], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.bed
@pytest.mark.parametrize("known, status, wanted", [
    (s.KNOWN, 0, "Ran 5 tests: passed: 4, skipped: 1"), ([s.KNOWN[1]], 1, "Ran 5 tests: passed: 3, failed: 1, skipped: 1")])
def test_ktap_is_read_by_the_kernels_own_tool(tmp_path: Path, known: s.Records, status: int, wanted: str) -> None:
    text = render(judged_stream(s.write(tmp_path, s.whole(known))), "ktap", tmp_path)
    code, said = kunit(text, tmp_path)
    assert wanted in said and code == status, said
    assert "[ERROR]" not in said and "error" not in said.lower().replace("errors: 0", ""), said


@pytest.mark.bed
def test_the_kernels_tool_refuses_a_plan_that_does_not_fit(tmp_path: Path) -> None:
    text = render(judged_stream(s.write(tmp_path, s.whole(s.KNOWN))), "ktap", tmp_path)
    code, said = kunit(text.replace("ok 3 ", "# ok 3 "), tmp_path)
    assert code != 0 or "[ERROR]" in said, said
