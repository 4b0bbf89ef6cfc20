"""What `bench report` measures is a stream as the recorder writes it, and each step of it runs."""
from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from reports.measure import FAILING, STEPS, cost_of, write_stream
from reports.reader import sealed
from reports.write import judged_stream

SCHEMA = json.loads((Path(__file__).parents[1] / "stream.schema.json").read_text())


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "stream.jsonl"
    write_stream(path, FAILING + 1)
    return path


def test_the_stream_is_a_whole_one(stream: Path) -> None:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    for line in stream.read_text().splitlines()[:40]:
        validator.validate(json.loads(line))
    judged = judged_stream(stream)
    assert sealed(stream) and judged.trouble == [] and dict(judged.verdicts()) == {"pass": FAILING - 1, "fail": 2}


@pytest.mark.parametrize("step", STEPS)
def test_each_step_has_its_cost(stream: Path, step: str) -> None:
    cost = cost_of(step, stream)
    assert cost.seconds > 0 and cost.megabytes > 5 and cost.size > 0
