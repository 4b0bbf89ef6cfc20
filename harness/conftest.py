"""The real bed, prepared once for the tests that are marked `bed`."""
from __future__ import annotations

from typing import Any, Iterator

import pytest

from lab.progress import Progress
from lab.run import Prepared, RunOptions, open_bed, prepare


@pytest.fixture(scope="session")
def prepared() -> Prepared:
    return prepare(RunOptions(), Progress(quiet=True))


@pytest.fixture(scope="session")
def real_bed(prepared: Prepared) -> Iterator[Any]:
    with open_bed(prepared, Progress(quiet=True)) as real:
        yield real
