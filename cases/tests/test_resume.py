"""`displif-cts-runner run --resume`: a run that was cut off goes on, and is judged as one."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from reports.model import Run, read_run

ROOT = Path(__file__).resolve().parent.parent.parent
RUNNER = Path(os.environ.get("DISPLIF_CTS_META_RUNNER", ROOT / "build/test/cases/meta/displif-cts-meta-runner"))
SELECTION = ("--case", "meta.fail.*", "--case", "meta.pass.*", "--case", "meta.monitor.*", "--case", "meta.warn.*")


def run(folder: Path, *words: str, selection: tuple[str, ...] = SELECTION) -> "subprocess.CompletedProcess[str]":
    if not RUNNER.exists():
        pytest.skip(f"{RUNNER} is not built (./displif-cts test builds it)")
    peer = folder.parent / "peer.json"
    peer.write_text(json.dumps({"name": "nobody", "version": "0"}))
    return subprocess.run([RUNNER, "run", "--domain", "0", "--peer", peer, "--out", folder, *selection, *words], capture_output=True, text=True,
                          timeout=120)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def cut(folder: Path, case: str, boot: str | None = None) -> list[bytes]:
    """As it stood when the machine went away: `case` has begun, and the line behind that is half written."""
    lines = (folder / "stream.jsonl").read_bytes().splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if b'"begin"' in line and case.encode() in line)
    if boot is not None:
        head = json.loads(lines[0])
        lines[0] = lines[0].replace(head["boot"].encode(), boot.encode())
    (folder / "stream.jsonl").write_bytes(b"".join(lines[:at + 1]) + lines[at + 1][:20])
    return lines[:at + 1]


def whole(folder: Path) -> Run:
    """What the host's own reader makes of it: numbers, hash and folds."""
    found = read_run(folder / "stream.jsonl")
    assert found.damage.complete, found.damage.notes
    assert all((case.folded().verdict, case.folded().reason) == (case.verdict, case.reason) for case in found.cases.values() if case.verdict is not None)
    return found


def verdicts(found: Run) -> dict[str, str | None]:
    return {name: case.verdict for (name, _), case in found.cases.items() if case.verdict is not None}


@pytest.mark.parametrize("boot, reason", [(None, "the runner ended under the case"), ("another boot", "the board rebooted under the case")])
def test_it_goes_on_and_blames_the_case_that_was_running(folder: Path, boot: str | None, reason: str) -> None:
    run(folder)
    before = verdicts(whole(folder))
    victim = next(name for name, verdict in before.items() if verdict == "pass")
    kept = cut(folder, victim, boot)
    done = run(folder, "--resume", "--format", "lava")
    assert done.returncode == 3, done.stderr  # the blamed case proves nothing
    after = whole(folder)
    assert verdicts(after) == before | {victim: "infra-error"}
    assert next(case for case in after.cases.values() if case.id == victim).reason == reason
    assert (folder / "stream.jsonl").read_bytes().startswith(b"".join(kept))
    judged = sum(b'"verdict"' in line and b'"t":"verdict"' in line for line in kept)
    assert done.stdout.count("LAVA_SIGNAL_TESTCASE") == len(before) - judged and "TESTSET START" not in done.stdout
    assert f"displif-cts: {len(before)} told" in done.stdout


def test_a_check_that_had_failed_before_stays_a_failure(folder: Path) -> None:
    run(folder)
    lines = (folder / "stream.jsonl").read_bytes().splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if b'"t":"check"' in line and b'"ok":false' in line and b"meta.fail." in line)
    name = json.loads(lines[at])["case"]
    (folder / "stream.jsonl").write_bytes(b"".join(lines[:at + 1]))
    run(folder, "--resume")
    assert verdicts(whole(folder))[name] == "fail"


def test_a_whole_run_is_left_alone(folder: Path) -> None:
    first = run(folder)
    text = (folder / "stream.jsonl").read_bytes()
    again = run(folder, "--resume")
    assert again.returncode == first.returncode and (folder / "stream.jsonl").read_bytes() == text


def test_another_selection_is_another_run(folder: Path) -> None:
    run(folder)
    cut(folder, "meta.fail")
    done = run(folder, "--resume", selection=("--case", "meta.pass.*"))
    assert done.returncode == 2 and "another selection" in done.stderr
    assert run(folder, "--resume", "--part").returncode == 2


def test_a_machine_that_a_case_spoilt_is_left_and_the_run_goes_on_in_the_next(folder: Path) -> None:
    selection = ("--case", "meta.crash.*", "--case", "meta.pass.*")
    first = run(folder, "--resume", "--while-clean", selection=selection)
    assert first.returncode == 3 and not read_run(folder / "stream.jsonl").damage.ended
    for _ in range(5):
        last = run(folder, "--resume", "--while-clean", selection=selection)
        if last.returncode != 3:
            break
    found = verdicts(whole(folder))
    assert last.returncode == 1 and set(found.values()) == {"crash", "pass"}
