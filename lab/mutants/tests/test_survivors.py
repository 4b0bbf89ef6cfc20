"""Which survivors of the mechanical mutants are explained, and what one that is not does to the exit status."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.errors import INFRASTRUCTURE, Stop
from lab.kernel import stock_driver_source
from lab.mutants import mechanical
from lab.mutants.mechanical import MechanicalMutant
from lab.mutants.survivors import DRIVER, NOT_BUILT, NOT_JUDGED, SURVIVED, Classified, classified, status, table

MUTANTS = [MechanicalMutant(Path("a.c"), n, "truth-swapped", "x", f"y{n}", "f") for n in (1, 2, 3)]


@pytest.mark.parametrize("text", ["- {file: a.cc}", "- {file: a.cc, function: f, before: x, after: y, kind: no-such, reason: r}"])
def test_an_explanation_that_lacks_something_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "f.yaml").write_text(text)
    with pytest.raises(Stop):
        classified(tmp_path / "f.yaml")


def test_a_survivor_without_a_reason_is_red_and_one_that_does_not_build_counts_nowhere() -> None:
    known = [Classified("a.c", "f", "x", "y2", "same", "because")]
    rows = [(MUTANTS[0], "caught by frontend.a: fail"), (MUTANTS[1], SURVIVED), (MUTANTS[2], NOT_BUILT)]
    assert table(rows, known).endswith("1 of 2 mechanical mutants caught, 1 known survivors, 0 others")
    assert "known survivor: a-2-truth-swapped: same: because" in table(rows, known)
    assert "survivor: a.c:2: f(): `x` becomes `y2`" in table(rows, [])
    assert status(rows, known) == 0 and status(rows, []) == 1


def test_an_explanation_is_of_one_of_several_equal_lines() -> None:
    text = "static int f(int a)\n{\n\tcall(a);\n\tif (a)\n\t\tcall(a);\n}\n"
    left_out = [site for site in mechanical._sites_of(Path("a.c"), text) if site.operator == "statement-left-out"]
    entry = Classified("a.c", "f", "call(a);", ";", "unseen", "because", nth=2)
    assert [(site.line, entry.covers(site)) for site in left_out] == [(3, False), (5, True)]


def test_one_that_was_not_judged_is_no_success() -> None:
    rows = [(MUTANTS[0], "caught by frontend.a: fail"), (MUTANTS[1], f"{NOT_JUDGED}: the machine ended")]
    assert table(rows, []).endswith("1 of 1 mechanical mutants caught, 0 known survivors, 0 others")
    assert status(rows, []) == INFRASTRUCTURE


@pytest.mark.bed
def test_every_explained_survivor_is_a_mutant_of_the_drivers_source() -> None:
    """Of one and no other. Another release of the source has other lines: the explanations are to be looked at again then."""
    mutants = mechanical.sites(stock_driver_source())
    assert not [entry for entry in classified(DRIVER) if sum(entry.covers(mutant) for mutant in mutants) != 1]
