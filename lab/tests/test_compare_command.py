"""`compare` and `gate`, as a user types them."""
from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

import pytest

from lab import cli_compare, cli_run
from lab.cli import main
from lab.tests import fakes
from lab.tests.test_cli import A, B, bed, nothing_expected  # noqa: F401
from reports.tests import streams as s


def test_compare_says_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, records in (("a", s.whole()), ("b", [*s.head(), *s.good(), *s.good(s.BAD), *s.warned(), *s.skipped(), *s.monitored()])):
        (tmp_path / name).mkdir()
        s.write(tmp_path / name, records)
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert capsys.readouterr().out.startswith("NOT WORSE: 1 newly passing; 4 cases are the same\na ")
    assert main(["compare", str(tmp_path / "b"), str(tmp_path / "a"), "--format", "html", "--out", str(tmp_path / "c.html")]) == 1
    assert "newly failing (1)" in (tmp_path / "c.html").read_text()
    assert main(["compare", str(tmp_path / "a")]) == 3
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "none")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_gate_runs_both_and_shows_only_what_changed(bed: fakes.FakeBed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,  # noqa: F811
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    patched = fakes.FakeBed(lambda case: fakes.bad(case) if case == B else fakes.good(case))
    trees = {name: tmp_path / name for name in ("old", "new")}
    for tree in trees.values():
        tree.mkdir()
    handed_in: list[Any] = []

    def open_bed(prepared: Any, _progress: Any) -> fakes.FakeBed:
        handed_in.append(prepared.options.driver_source)
        return bed if prepared.options.driver_source == trees["old"] else patched

    monkeypatch.setattr(cli_run, "open_bed", open_bed)

    @contextmanager
    def nothing() -> Iterator[None]:
        yield

    monkeypatch.setattr(cli_compare, "fetching", nothing)
    common = ["--expectations", nothing_expected(tmp_path)]
    arguments = ["gate", "--base", str(trees["old"]), "--patched", str(trees["new"]), *common]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().out
    assert handed_in == [trees["old"], trees["new"]]
    assert said.startswith("WORSE: 1 newly failing") and f"{B}: pass -> fail" in said and A not in said
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["base", "compare.html", "patched"]
    assert {p.name for p in (tmp_path / "out" / "patched").iterdir()} >= {"stream.jsonl", "report.html", "junit.xml"}
    same = ["gate", "--base", str(trees["old"]), "--patched", str(trees["old"]), *common, "--out", str(tmp_path / "same")]
    assert main(same) == 0


@pytest.mark.parametrize("words, wanted", [
    (["a.ko", "b"], "of different kinds"), (["missing"], "No such file"), (["{file}"], "needs --base-modules"), (["missing.ko"], "No such file"),
])
def test_what_gate_is_not_given(bed: fakes.FakeBed, tmp_path: Path, words: list[str], wanted: str,  # noqa: F811
                                capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bzImage").write_text("")
    (tmp_path / "tree").mkdir()
    base = [word for name in words for word in ("--base", name.format(file=tmp_path / "bzImage"))]
    assert main(["gate", *base, "--patched", str(tmp_path / "tree"), "--expectations", nothing_expected(tmp_path)]) == 2
    assert wanted in capsys.readouterr().err
