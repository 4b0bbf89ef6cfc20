"""Mechanical mutants: where they apply, and that a seed chooses the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Sequence

import pytest

from lab.kernel.source import BUFFERS
from lab.mutants import mechanical
from lab.mutants.command import What, _what, caught_twice
from lab.mutants.patches import MutantError
from lab.mutants.runs import Caught

TEXT = """\
#include <x.h>

static int first(int a)
{
	int ret = 0;

	if (a < 3)
		ret = call(a, 7);
	if (a == 5) {
		DRM_ERROR("never %d\\n", 3);
		flag = true;
	}
	return ret;
}
"""


def of(operator: str) -> list[mechanical.MechanicalMutant]:
    return [site for site in mechanical._sites_of(Path("x.c"), TEXT) if site.operator == operator]


@pytest.mark.parametrize(("operator", "line", "after"), [
    ("condition-turned", 7, "\tif (!(a < 3))"),
    ("condition-turned", 9, "\tif (!(a == 5)) {"),
    ("comparison-by-one", 7, "\tif (a <= 3)"),
    ("equality-swapped", 9, "\tif (a != 5) {"),
    ("statement-left-out", 8, "\t\t;"),
    ("constant-off-by-one", 8, "\t\tret = call(a, 8);"),
    ("truth-swapped", 11, "\t\tflag = false;"),
])
def test_each_operator_changes_its_line(operator: str, line: int, after: str) -> None:
    assert (line, after) in [(site.line, site.after) for site in of(operator)]


def test_what_is_printed_and_declared_is_left_alone() -> None:
    assert not [site for site in mechanical._sites_of(Path("x.c"), TEXT) if site.line in (1, 3, 5, 10)]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "x.c"
    file.write_text(TEXT)

    class Files:
        files = {Path("drivers/x.c"): file, BUFFERS: file}

    monkeypatch.setattr(mechanical, "find_source", lambda _source: Files)
    return tmp_path


def test_the_same_seed_chooses_the_same(tree: Path) -> None:
    names = [mutant.name for mutant in mechanical.sample(tree, 5, 7)]
    assert names == [mutant.name for mutant in mechanical.sample(tree, 5, 7)] and len(set(names)) == 5
    assert names != [mutant.name for mutant in mechanical.sample(tree, 5, 8)]
    assert len(mechanical.sample(tree, 1000, 1)) == len(mechanical.sites(tree))


def test_one_line_is_changed_and_no_other(tree: Path) -> None:
    mutant = next(site for site in mechanical.sites(tree) if site.operator == "truth-swapped" and site.place != BUFFERS)
    dest = mechanical.apply(mutant, tree, tree / "out")
    assert not (dest / BUFFERS).exists()
    changed = (dest / mutant.place).read_text().split("\n")
    assert [number for number, line in enumerate(TEXT.split("\n"), 1) if changed[number - 1] != line] == [mutant.line]


def test_another_source_is_refused(tree: Path) -> None:
    mutant = mechanical.sites(tree)[0]
    (tree / "x.c").write_text("\n" + TEXT)
    with pytest.raises(MutantError, match="is another"):
        mechanical.apply(mutant, tree, tree / "out")


def verdicts(path: Path, *rows: tuple[str, str, str]) -> Path:
    path.write_text("".join(json.dumps({"t": "verdict", "case": case, "verdict": verdict, "reason": reason}) + "\n"
                            for case, verdict, reason in rows))
    return path


@pytest.mark.parametrize(("rows", "what"), [
    ([("c1", "pass", ""), ("c2", "skip", "no")], None),
    ([("c1", "pass", ""), ("c2", "fail", "x")], What("caught by c2: fail", "c2")),
    ([("c3", "fail", "x")], None),  # the driver as it is does not pass it either
    ([("c1", "infra-error", "the guest's kernel 6.1 refuses a.ko: EINVAL\n | more")],
     What("caught by the guest's kernel: the guest's kernel 6.1 refuses a.ko: EINVAL")),
    ([("c1", "infra-error", "the machine ended")], What("not judged: the machine ended")),
])
def test_what_became_of_a_mutant(tmp_path: Path, rows: list[tuple[str, str, str]], what: What | None) -> None:
    assert _what(verdicts(tmp_path / "s", *rows), {"c1", "c2"}) == what


@pytest.mark.parametrize(("alone", "what"), [
    ({"c1": "fail", "c2": "fail"}, "caught by c1: fail"),
    ({"c1": "pass", "c2": "fail"}, "caught by c2: fail"),
    ({"c1": "pass", "c2": "pass"}, None),
])
def test_a_case_that_fails_only_once_has_caught_nothing(tmp_path: Path, alone: dict[str, str], what: str | None) -> None:
    """Here the machine is always late when cases do not run alone; each run ends with the first that fails."""
    def run(name: str, globs: Sequence[str], _caught: Caught) -> Path:
        return verdicts(tmp_path / name, (globs[0], alone[globs[0]] if name.endswith("alone") else "fail", ""))

    assert caught_twice("m", 1, ["*"], {"c1", "c2"}, run) == what
