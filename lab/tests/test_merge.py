"""Shards, merged: the same verdicts as one run, octet by octet; what is no whole set of shards is refused."""
from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest

from lab.build import ROOT
from lab.cli import main
from reports.tests import streams as s
from reports.tests.test_html import artifact
from reports.write import FORMATS, judged_stream, render

PARTS: dict[str, Callable[[], s.Records]] = {s.GOOD: s.good, s.BAD: s.bad, s.WARN: s.warned, s.SKIP: s.skipped}
KNOWN = [s.expectation(s.BAD), s.expectation(s.MONITOR)]


def selection(shard: "str | None", case: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"case": list(case), "exclude": [], "shard": shard}


def shard(folder: Path, number: int, of: int, **run: Any) -> str:
    """Every N-th case by id, with what the monitor saw in it."""
    mine = sorted(PARTS)[number - 1::of]
    head = s.head([*mine, s.MONITOR], KNOWN, **{"selection": selection(f"{number}/{of}"), **run})
    head[2]["known"] = sorted([*PARTS, s.MONITOR])
    records = [record for name in mine for record in PARTS[name]()]
    seen = [s.check(s.MONITOR, False, "wire.reserved-zero", during=s.GOOD)] if s.GOOD in mine else []
    folder.mkdir()
    s.write(folder, [*head, *records, *seen, s.verdict(s.MONITOR, "fail" if seen else "skip", "" if seen else "nothing of this kind was seen in the run")])
    return str(folder)


def whole(folder: Path) -> Path:
    head = s.head(sorted([*PARTS, s.MONITOR]), KNOWN)
    head[2]["known"] = sorted([*PARTS, s.MONITOR])
    folder.mkdir()
    monitor = s.monitored()
    monitor[-1]["ns_spent"] = 0
    monitor[-1]["reason"] = "wire.reserved-zero: expected id 7 or id 9; saw id <8>"
    return s.write(folder, [*head, *(record for name in sorted(PARTS) for record in PARTS[name]()), *monitor])


@pytest.mark.parametrize("of", [2, 3])
def test_merged_shards_are_the_one_run(tmp_path: Path, of: int, capsys: pytest.CaptureFixture[str]) -> None:
    one = judged_stream(whole(tmp_path / "one"))
    shards = [shard(tmp_path / f"s{number}", number, of) for number in range(1, of + 1)]
    assert main(["merge", *reversed(shards), "--out", str(tmp_path / "merged")]) == 0 == one.exit_status
    assert "AS EXPECTED, with 2 known deviations" in capsys.readouterr().out
    merged = judged_stream(tmp_path / "merged" / "stream.jsonl")
    assert merged.trouble == [] and {p.name for p in (tmp_path / "merged").iterdir()} == {"stream.jsonl", "report.html", "junit.xml"}
    for form in set(FORMATS) - {"html", "human"}:
        assert render(merged, form, tmp_path / "merged") == render(one, form, tmp_path / "one"), form


@pytest.mark.parametrize("words, status, wanted", [
    (lambda p: [shard(p / "a", 1, 2)], 3, "shard 2/2 is missing"),
    (lambda p: [shard(p / "a", 1, 2), shard(p / "b", 1, 2)], 3, "shard 2/2 is missing"),
    (lambda p: [shard(p / "a", 1, 1), shard(p / "b", 1, 1)], 3, "one shard is there twice"),
    (lambda p: [shard(p / "a", 1, 2), shard(p / "b", 2, 2, seed=8)], 2, "seed differs"),
    (lambda p: [shard(p / "a", 1, 2), shard(p / "b", 2, 2, peer_version="7")], 2, "peer_version differs"),
    (lambda p: [shard(p / "a", 1, 2), shard(p / "b", 2, 2, selection=selection("2/2", ("frontend.*",)))], 2, "the selection differs"),
    (lambda p: [shard(p / "a", 1, 2), shard(p / "b", 2, 3)], 2, "the selection differs"),
    (lambda p: [str(whole(p / "a"))], 2, "it is no shard"),
    (lambda p: [str(p / "none")], 2, "No such file"),
])
def test_what_is_no_whole_run_is_refused(tmp_path: Path, words: Callable[[Path], list[str]], status: int, wanted: str,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["merge", *words(tmp_path), "--out", str(tmp_path / "merged")]) == status
    assert wanted in capsys.readouterr().err and not (tmp_path / "merged" / "stream.jsonl").exists()


def test_a_shard_that_was_cut_short_is_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shards = [shard(tmp_path / "a", 1, 2), shard(tmp_path / "b", 2, 2)]
    stream = tmp_path / "b" / "stream.jsonl"
    stream.write_bytes(stream.read_bytes()[:-10])
    assert main(["merge", *shards, "--out", str(tmp_path / "merged")]) == 3
    assert "run again" in capsys.readouterr().err


def test_artifacts_come_along(tmp_path: Path) -> None:
    folders = [shard(tmp_path / "a", 1, 2), shard(tmp_path / "b", 2, 2)]
    mine = sorted(PARTS)[0::2]
    head = s.head([*mine, s.MONITOR], KNOWN, selection=selection("1/2"))
    head[2]["known"] = sorted([*PARTS, s.MONITOR])
    shown = artifact(tmp_path / "a") | {"case": mine[0]}
    first, *rest = PARTS[mine[0]]()
    s.write(tmp_path / "a", [*head, first, shown, *rest, *(r for name in mine[1:] for r in PARTS[name]()), s.verdict(s.MONITOR, "skip", "nothing of this kind was seen in the run")])
    main(["merge", *folders, "--out", str(tmp_path / "merged")])
    assert (tmp_path / "merged" / shown["path"]).read_bytes() == (tmp_path / "a" / shown["path"]).read_bytes()


@pytest.mark.bed
def test_two_shards_of_a_real_run_on_loopback(tmp_path: Path) -> None:
    def run(out: str, *words: str) -> None:
        done = subprocess.run([ROOT / "displif-cts", "run", "--role", "backend", "--case", "backend.bus.*", *words, "--out", tmp_path / out],
                              cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    run("one")
    run("first", "--shard", "1/2")
    run("second", "--shard", "2/2")
    assert main(["merge", str(tmp_path / "first"), str(tmp_path / "second"), "--out", str(tmp_path / "merged")]) == 0
    one, merged = (judged_stream(tmp_path / name / "stream.jsonl") for name in ("one", "merged"))
    assert len(one.results) > 5
    def said(judged: Any, form: str) -> str:  # what each case took is another in each run
        return re.sub(r" MEASUREMENT=\S+ UNITS=\S+>", ">", render(judged, form, tmp_path))

    for form in ("ktap", "lava"):
        assert said(merged, form) == said(one, form)
