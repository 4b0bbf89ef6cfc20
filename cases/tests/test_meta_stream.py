"""The meta runner's own stream, as the C++ runner writes it, through everything in Python that reads streams."""

from __future__ import annotations

import json
import os
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import jsonschema
import pytest

from reports.judge import judge
from reports.model import Run, read_run
from reports.write import render

ROOT = Path(__file__).resolve().parent.parent.parent
RUNNER = Path(os.environ.get("DISPLIF_CTS_META_RUNNER", ROOT / "build/test/cases/meta/displif-cts-meta-runner"))


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not RUNNER.exists():
        pytest.skip(f"{RUNNER} is not built (./displif-cts test builds it)")
    folder = tmp_path_factory.mktemp("meta")
    peer = folder / "peer.json"
    peer.write_text(json.dumps({"name": "nobody", "version": "0"}))
    done = subprocess.run([RUNNER, "run", "--domain", "0", "--peer", peer, "--format", "human", "--out", folder],
                          capture_output=True, timeout=120)
    assert done.returncode == 3, done.stderr  # infra-errors are part of it
    return folder / "stream.jsonl"


@pytest.fixture(scope="module")
def run(stream: Path) -> Run:
    return read_run(stream)


def test_the_stream_is_whole(run: Run) -> None:
    assert run.damage.complete, run.damage.notes
    assert len(run.cases) == len(run.plan)


def test_both_folds_agree_to_the_word(run: Run) -> None:
    for case in run.cases.values():
        judgement = case.folded()
        assert (judgement.verdict, judgement.reason) == (case.verdict, case.reason), case.id


def test_every_record_fits_the_schema(stream: Path) -> None:
    schema = json.loads((ROOT / "reports/stream.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    for line in stream.read_text().splitlines():
        errors = [error.message for error in validator.iter_errors(json.loads(line))]
        assert not errors, (line, errors)


def test_every_format_shows_every_case(run: Run, tmp_path: Path) -> None:
    judged = judge(run)
    for form in ("junit", "ktap", "html"):
        text = render(judged, form, tmp_path)
        for case in run.plan:
            assert case["id"].split(".", 2)[-1] in text, (form, case["id"])


def test_junit_counts_what_is_red(run: Run, tmp_path: Path) -> None:
    root = ET.fromstring(render(judge(run), "junit", tmp_path))
    suites = [root] if root.tag == "testsuite" else list(root)
    red = sum(int(suite.get("failures", 0)) + int(suite.get("errors", 0)) for suite in suites)
    bad = [case for case in run.cases.values() if case.verdict in ("fail", "hang", "crash", "infra-error")]
    assert red == len(bad)
