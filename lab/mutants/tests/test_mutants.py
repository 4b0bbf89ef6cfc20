from __future__ import annotations

import functools
import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Sequence

import pytest
import yaml

from lab.build import ROOT
from lab.errors import Stop
from lab.kernel import stock_driver_source
from lab.mutants import KINDS, Mutant, MutantError, apply, list_mutants, unbreakable
from lab.mutants.command import STOCK, chosen, kill_all
from lab.mutants.patches import BUFFERS, HERE, changed_functions, functions
from lab.mutants.runs import Runs
from lab.mutants.verdicts import Checks, Judgement, by_kind, judge, read_checks, table
from lab.progress import Progress
from lab.qemu.errors import BedError

MUTANTS = list_mutants()


@functools.cache
def requirements() -> dict[str, dict[str, Any]]:
    listed = yaml.safe_load((ROOT / "cases" / "requirements.yaml").read_text(encoding="utf-8"))["requirements"]
    return {entry["id"]: entry for entry in listed}


@pytest.fixture(scope="session")
def source() -> Path:
    try:
        return stock_driver_source()
    except BedError as error:
        pytest.skip(f"Debian's driver source is not to be had: {error.message}")


# ------------------------------------------------------------------ the list


def test_what_cannot_be_broken_is_a_requirement_and_has_no_mutant() -> None:
    known = requirements()
    for name, reason in unbreakable().items():
        assert name in known and reason and name not in {mutant.requirement for mutant in MUTANTS}


def test_there_are_two_or_more_of_each_kind() -> None:
    counts = Counter(mutant.kind for mutant in MUTANTS)
    assert len(MUTANTS) >= 40 and [kind for kind in KINDS if counts[kind] < 2] == []


def test_every_patch_is_described() -> None:
    assert {path.stem for path in HERE.glob("*.cocci")} == {mutant.name for mutant in MUTANTS}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_requirement_exists_and_binds_a_frontend(mutant: Mutant) -> None:
    requirement = requirements()[mutant.requirement]
    assert requirement["role"] in ("frontend", "both")
    assert requirement["level"] in ("must", "robust", "should")
    assert "no_case" not in requirement


ENTRY = {"name": "x", "kind": "wire-field", "requirement": "a.b", "function": "f", "description": "d"}


@pytest.mark.parametrize(("entry", "words"), [
    ({"name": "x"}, "x does not have just the texts"),
    ({**ENTRY, "more": "m"}, "x does not have just the texts"),
    ({**ENTRY, "kind": "other"}, "no kind that is known"),
    (ENTRY, "x.cocci does not exist"),
])
def test_a_wrong_description_is_refused(tmp_path: Path, entry: dict[str, str], words: str) -> None:
    index = tmp_path / "mutants.yaml"
    index.write_text(yaml.safe_dump({"mutants": [entry]}))
    with pytest.raises(MutantError, match=words):
        list_mutants(index)


# ------------------------------------------------------------------ the patches


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_patch_changes_its_function_and_no_other_line(mutant: Mutant, source: Path, tmp_path: Path) -> None:
    tree = apply(mutant, source, tmp_path / "tree")
    changed: list[str] = []
    for file in tree.rglob("*.c"):
        before = (source / file.relative_to(tree)).read_text()
        changed += changed_functions(before, file.read_text())
    assert changed == [mutant.function]
    assert (tree / BUFFERS).exists() == (mutant.function in functions((source / BUFFERS).read_text()))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_patch_quotes_what_it_changes_only(mutant: Mutant) -> None:
    """The driver's words are in the lines that go and in those that a semantic patch matches; a lock and its unlock are
    two. What it puts in is the suite's own."""
    lines = mutant.patch.read_text().splitlines()
    assert lines[0].startswith("// ")
    assert sum(line.startswith("-") for line in lines) <= 2
    assert sum(line.startswith("+") for line in lines) <= 6


def test_a_patch_that_matches_nothing_is_an_error(source: Path, tmp_path: Path) -> None:
    tree = tmp_path / "other"
    mutant = MUTANTS[0]
    first = apply(mutant, source, tree)
    with pytest.raises(MutantError, match="changes nothing in .* and should change xen_drm_front_mode_set"):
        apply(mutant, first, tmp_path / "again")


def test_a_source_without_the_function_is_an_error(source: Path, tmp_path: Path) -> None:
    mutant = Mutant("m", "wire-field", "a.b", "no_such_function", "d")
    with pytest.raises(MutantError, match="the source has 0 functions no_such_function"):
        apply(mutant, source, tmp_path / "tree")


def test_a_change_outside_of_functions_is_told() -> None:
    before = "int a;\n\nstatic int f(int x)\n{\n\treturn x;\n}\n"
    assert changed_functions(before, before.replace("int a", "int b")) == {"(no function)"}
    assert changed_functions(before, before.replace("return x", "return 0")) == {"f"}
    assert changed_functions(before, before) == set()


# ------------------------------------------------------------------ caught or not


def stream(path: Path, checks: Sequence[tuple[str, str, bool]], end: bool = True, **more: str) -> Path:
    records: list[dict[str, Any]] = [{"t": "run"}]
    records += [{"t": "check", "case": case, "requirement": name, "ok": ok, **more} for case, name, ok in checks]
    records += [{"t": "end"}] if end else []
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


MUTANT = Mutant("m", "wire-field", "a.b", "f", "d")


@pytest.mark.parametrize(("seen", "stock", "by", "why"), [
    ([("c1", "a.b", False)], [("c1", "a.b", True)], "c1", ""),
    ([("c1", "a.c", False), ("c1", "a.b", True)], [("c1", "a.b", True)], None, "every check of the requirement held"),
    ([("c1", "a.c", False)], [("c1", "a.b", True)], None, "no case came as far as"),
    ([("c1", "a.b", False)], [("c1", "a.b", False)], None, "the driver as it is fails the same"),
    ([("c1", "a.b", False), ("c2", "a.b", False)], [("c1", "a.b", False), ("c2", "a.b", True)], "c2", ""),
    ([("c1", "a.b", True)], [("c1", "a.c", True)], None, "no case checked the requirement on the driver as it is"),
])
def test_only_a_failed_check_of_the_requirement_counts(tmp_path: Path, seen: list[tuple[str, str, bool]],
                                                       stock: list[tuple[str, str, bool]], by: str | None,
                                                       why: str) -> None:
    one, other = read_checks(stream(tmp_path / "a", seen)), read_checks(stream(tmp_path / "b", stock))
    result = judge(MUTANT, one, other, 1.0)
    assert result.by == by
    assert why in result.why
    assert (by or "SURVIVED") in table([result])


def test_a_monitors_check_counts_for_the_case_during_which_it_failed(tmp_path: Path) -> None:
    checks = read_checks(stream(tmp_path / "a", [("frontend.monitor.x", "a.b", False)], during="c7"))
    assert checks.cases("a.b", failed=True) == ["c7"]


def test_a_stream_that_was_cut_off_is_not_complete(tmp_path: Path) -> None:
    path = stream(tmp_path / "a", [("c1", "a.b", False)], end=False)
    with path.open("a") as file:
        file.write('{"t": "chec')
    assert read_checks(path) == Checks(frozenset({("a.b", "c1")}), frozenset({("a.b", "c1")}), False)


# ------------------------------------------------------------------ the command


def test_globs_choose_mutants_and_one_that_matches_none_is_a_mistake() -> None:
    assert [m.name for m in chosen(MUTANTS, ["dbuf-destroy-cookie-*"])] == ["dbuf-destroy-cookie-truncated"]
    assert chosen(MUTANTS, []) == MUTANTS
    with pytest.raises(Stop) as raised:
        chosen(MUTANTS, ["nothing*"])
    assert raised.value.status == 2


def test_the_driver_as_it_is_goes_first_and_mutants_run_their_cases_only(tmp_path: Path) -> None:
    second = Mutant("n", "wire-field", "a.c", "g", "d")
    runs: list[tuple[str, tuple[Path, ...], tuple[str, ...]]] = []

    def run(name: str, modules: Sequence[Path], globs: Sequence[str], _caught: Any) -> Path:
        runs.append((name, tuple(modules), tuple(globs)))
        checks = [("c1", "a.b", name != "m"), ("c2", "a.c", True)]
        return stream(tmp_path / name / "stream.jsonl", checks)

    result = kill_all([MUTANT, second], {"a.b": ["c1"], "a.c": ["c2", "c1"]}, lambda mutant: [Path(mutant.name)], run,
                      Progress(quiet=True))
    assert runs == [(STOCK, (), ("c1", "c2")), ("m", (Path("m"),), ("c1",)), ("n", (Path("n"),), ("c2", "c1"))]
    assert [judgement.by for judgement in result] == ["c1", None]


def test_a_requirement_without_case_is_no_survivor_but_an_error(tmp_path: Path) -> None:
    with pytest.raises(MutantError, match="no case checks a.b"):
        kill_all([MUTANT], {}, lambda _: [], lambda *_: tmp_path, Progress(quiet=True))


def test_a_mutant_that_does_not_build_leaves_the_others_to_be_tried(tmp_path: Path) -> None:
    second = Mutant("n", "event-id", "a.b", "f", "d")

    def modules_of(mutant: Mutant) -> list[Path]:
        if mutant is MUTANT:
            raise BedError("the build failed")
        return []

    result = kill_all([MUTANT, second], {"a.b": ["c1"]}, modules_of,
                      lambda name, *_: stream(tmp_path / name, [("c1", "a.b", name == STOCK)]), Progress(quiet=True))
    assert [judgement.text for judgement in result] == ["NOT JUDGED: not built: the build failed", "caught by c1"]


def test_an_incomplete_run_is_no_survivor_but_infrastructure(tmp_path: Path) -> None:
    cut = stream(tmp_path / "stream.jsonl", [("c1", "a.b", False)], end=False)
    with pytest.raises(Stop) as raised:
        kill_all([MUTANT], {"a.b": ["c1"]}, lambda _: [], lambda *_: cut, Progress(quiet=True))
    assert raised.value.status == 3


def test_a_run_ends_as_soon_as_its_mutant_is_caught(tmp_path: Path) -> None:
    asked: list[bool] = []

    def run(name: str, modules: Sequence[Path], globs: Sequence[str], caught: Any) -> Path:
        if name == STOCK:
            return stream(tmp_path / "stock", [("c1", "a.b", True), ("c2", "a.b", True)])
        asked.append(caught(stream(tmp_path / "1", [("c1", "a.b", True)], end=False)))
        asked.append(caught(stream(tmp_path / "2", [("c1", "a.b", True), ("c2", "a.b", False)], end=False)))
        return stream(tmp_path / "m", [("c1", "a.b", True), ("c2", "a.b", False)])

    (judgement,) = kill_all([MUTANT], {"a.b": ["c1", "c2"]}, lambda _: [], run, Progress(quiet=True))
    assert asked == [False, True] and judgement.by == "c2"


def test_trouble_of_our_own_is_tried_again_and_is_no_survivor(tmp_path: Path) -> None:
    names: list[str] = []

    def run(name: str, modules: Sequence[Path], globs: Sequence[str], _caught: Any) -> Path:
        names.append(name)
        path = stream(tmp_path / name, [("c1", "a.b", True)])
        if len(names) == 1 or name != STOCK and len(names) < 6 and name != "stock-2":
            path.write_text('{"t": "verdict", "case": "c1", "verdict": "infra-error"}\n' + path.read_text())
        return path

    (judgement,) = kill_all([MUTANT], {"a.b": ["c1"]}, lambda _: [], run, Progress(quiet=True))
    assert names == [STOCK, "stock-2", "m", "m-2", "m-3"] and judgement.unjudged and "NOT JUDGED" in table([judgement])


def test_the_rate_is_shown_by_kind() -> None:
    mutants = [Mutant("m", "wire-field", "a.b", "f", "d"), Mutant("n", "event-id", "a.b", "f", "d")]
    text = by_kind([Judgement(mutants[0], "c1", "", 1), Judgement(mutants[1], None, "why", 1)])
    assert text.splitlines() == ["event-id               0 of   1", "wire-field             1 of   1"]


def test_what_one_raises_ends_all(tmp_path: Path) -> None:
    prepared = SimpleNamespace(options=SimpleNamespace(bed="qemu"))
    runs = Runs(prepared, None, tmp_path, tmp_path, Progress(quiet=True), jobs=2)  # type: ignore[arg-type]
    assert runs.side_by_side(lambda number: number * 2, [1, 2, 3]) == [2, 4, 6]
    with pytest.raises(ZeroDivisionError):
        runs.side_by_side(lambda number: 1 // number, [1, 0, 2])
