"""Mechanical mutants of our own fakes: where they apply, what is left alone, and what explains a survivor."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Sequence

import pytest

from lab.mutants import fakes
from lab.mutants.survivors import FAKES, classified
from lab.selftest import Trial
from lab.selftest_mechanical import spread, try_cases
from lab.suite import Case

TEXT = """\
namespace {
constexpr int kMost = 7;
}

int Peer::first(int a) {
  if (a < 3) return call(a, 7);
  const auto late = strikes_with(&Faults::late, "late");
  if (late) {
    reply(a, 5);
    flag = true;
  }
  if (a == 5) {
    recorder_.log("never");
    open = true;
    take(a, 9);
  }
  if (strikes(&Faults::gone,
              "gone")) {
    a = 4;
  }
  return a;
}

void Peer::dirty_slot() {
  flag = true;
}
"""


def of(operator: str) -> list[tuple[int, str]]:
    return [(site.line, site.after) for site in fakes.sites_of(Path("x.cc"), TEXT) if site.operator == operator]


@pytest.mark.parametrize(("operator", "line", "after"), [
    ("condition-turned", 6, "  if (!(a < 3)) return call(a, 7);"),
    ("comparison-by-one", 6, "  if (a <= 3) return call(a, 7);"),
    ("equality-swapped", 12, "  if (a != 5) {"),
    ("truth-swapped", 14, "    open = false;"),
    ("statement-left-out", 15, "    ;"),
    ("constant-off-by-one", 15, "    take(a, 10);"),
])
def test_each_operator_changes_its_line(operator: str, line: int, after: str) -> None:
    assert (line, after) in of(operator)


def test_faults_records_and_declarations_are_left_alone() -> None:
    changed = {site.line for site in fakes.sites_of(Path("x.cc"), TEXT)}
    assert changed == {6, 12, 14, 15}


@pytest.mark.parametrize("role", ["backend", "frontend"])
def test_the_same_seed_chooses_the_same(role: str) -> None:
    names = [mutant.name for mutant in fakes.sample(role, 12, 7)]
    assert names == [mutant.name for mutant in fakes.sample(role, 12, 7)] and len(set(names)) == 12
    assert names != [mutant.name for mutant in fakes.sample(role, 12, 8)]


def test_the_changed_object_comes_before_the_libraries() -> None:
    command = ": && /usr/bin/c++ -O2 a/main.cc.o -o a/program lib.a /usr/lib/libx.so && :"
    assert fakes.linked(command, [Path("/w/changed.o")], Path("/w/program")) == [
        "/usr/bin/c++", "-O2", "a/main.cc.o", "/w/changed.o", "-o", "/w/program", "lib.a", "/usr/lib/libx.so"]


def test_every_explained_survivor_is_a_mutant_of_the_source() -> None:
    """Of one and no other; one whose line has changed is to be looked at again."""
    mutants = fakes.sites("backend") + fakes.sites("frontend")
    stale = [entry for entry in classified(FAKES) if sum(entry.covers(mutant) for mutant in mutants) != 1]
    assert not stale


def test_a_case_of_each_group_comes_first() -> None:
    cases = [Case(f"backend.{name}") for name in ("a.one", "a.two", "b.one", "b.two", "c.one")]
    assert [case.id[8:] for case in spread(cases, ("backend.c.one",))] == ["c.one", "a.one", "b.one", "a.two", "b.two"]


def test_a_change_elsewhere_leaves_the_sample_as_it_is(tmp_path: Path) -> None:
    folder = fakes.FOLDERS["backend"]
    shutil.copytree(fakes.ROOT / folder, tmp_path / folder)
    model = tmp_path / folder / "model.cc"
    model.write_text("// One line more.\n" + model.read_text())
    texts = [[(mutant.before, mutant.after) for mutant in fakes.sample("backend", 12, 7, root)] for root in (fakes.ROOT, tmp_path)]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(("verdicts", "what"), [
    (["pass"], "survived"),
    (["fail", "pass"], "survived"),
    (["fail", "fail"], "caught by backend.a.one: fail: why"),
    (["infra-error", "infra-error"], "not judged: why"),
])
def test_what_became_of_a_mutant(verdicts: Sequence[str], what: str) -> None:
    """One case, which ends as it is told, attempt by attempt."""
    left = iter(verdicts)
    assert try_cases(lambda case: Trial(case.id, next(left), "why", {}), [Case("backend.a.one")]) == what
