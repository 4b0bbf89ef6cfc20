"""The fuzz target backend-command: our own backend as a program that nothing was done to, and built with sanitizers, as
its owner would."""
from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from lab.build import ROOT, build_configured
from lab.fuzz import outside
from lab.fuzz.builds import driver_settings
from lab.fuzz.planted import defects_of, planted
from lab.fuzz.targets import find_target
from lab.progress import Progress

FAULT = "backend.omission.accepts-duplicate-dbuf-cookie"
BROKEN = "dbuf-create.duplicate-cookie-rejected"
REFERENCE = f"{ROOT}/build/release/fake_backend/displif-fake-backend --follow --quiet --edid +"
FAULTY = f"{REFERENCE} --fault {FAULT}"


def fuzz(*words: str | Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([ROOT / "displif-cts", "fuzz", *map(str, words)], capture_output=True, text=True, check=False,
                          env={**os.environ, **variables})


def left_over(word: str) -> list[str]:
    """Command lines of processes that are still there."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if word in line:
            found.append(line)
    return found


def test_the_reference_as_a_program_has_no_finding(tmp_path: Path) -> None:
    done = fuzz("backend-command", "--runs", "250", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^NO FINDINGS: [1-9]\d* executions", done.stdout, re.MULTILINE)


def test_requests_that_are_taken_unannounced_are_known_to_the_attacker(tmp_path: Path) -> None:
    """A backend that never waits for a notification has answered before the attacker goes on."""
    done = fuzz("backend-command", "--peer", "displif-fake-backend", "--peer-command", REFERENCE + " --poll", "--runs", "250",
                "--out", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NO FINDINGS: " in done.stdout


def test_a_request_that_is_withdrawn_owes_no_answer(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "one.txt").write_text("displif-cts fuzz input 1\nrequest notify=0\nrequest push=-1 notify=0\nrequest\n", encoding="utf-8")
    done = fuzz("backend-command", "--corpus", tmp_path / "corpus", "--runs", "1", "--out", tmp_path / "out")
    assert done.returncode == 0 and " 1 inputs from" in done.stdout, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("afl-fuzz") is None, reason="afl-fuzz is not installed (afl++)")
def test_aflpp_without_instrumentation_finds_a_fault(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    words = ("backend-command", "--engine", "aflpp", "--peer", "displif-fake-backend", "--corpus", tmp_path / "corpus", "--runs", "150")
    done = fuzz(*words, "--peer-command", FAULTY, "--out", tmp_path / "faulty")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"finding   {BROKEN}: " in done.stdout
    assert any((tmp_path / "faulty" / "aflpp" / "0" / "crashes").glob("id:*")), "nothing that AFL++ itself has made"
    assert not left_over(FAULT)


def test_a_fault_is_found_masked_and_triaged(tmp_path: Path) -> None:
    peer = ("--peer", "displif-fake-backend", "--peer-command", FAULTY)
    done = fuzz("backend-command", *peer, "--runs", "250", "--out", tmp_path / "backend-command")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"finding   {BROKEN}: " in done.stdout
    assert not left_over(FAULT)
    masked = fuzz("backend-command", *peer, "--runs", "250", "--mask", BROKEN, "--out", tmp_path / "masked")
    assert masked.returncode == 0, masked.stdout + masked.stderr
    assert f"masked    {BROKEN}" in masked.stdout
    triaged = fuzz("triage", tmp_path / "backend-command" / "findings" / BROKEN / "input", *peer)
    assert triaged.returncode == 1, triaged.stdout + triaged.stderr
    assert f"verdict   real: the backend breaks {BROKEN}, as a program: " in triaged.stdout


def test_a_sanitizers_report_is_the_finding(tmp_path: Path) -> None:
    """One of the planted defects, in our backend as a program of its own."""
    defect = next(each for each in defects_of(find_target("backend")) if each.name == "entry-used-after-erase")
    place = tmp_path / "peer" / defect.file
    place.parent.mkdir(parents=True)
    place.write_text(planted(defect, (ROOT / defect.file).read_text(encoding="utf-8")), encoding="utf-8")
    folder = build_configured("fuzz", ["displif-fake-backend-sanitized"],
                              [*driver_settings(Progress(quiet=True), None), f"-DDISPLIF_CTS_FUZZ_PEER={tmp_path / 'peer'}"])
    program = shutil.copy(folder / "fuzzers" / "backend" / "displif-fake-backend-sanitized", tmp_path / "damaged-backend")
    command = shlex.join([str(program), "--follow", "--quiet", "--edid", "+"])
    done = fuzz("backend-command", "--peer", "displif-fake-backend", "--peer-command", command, "--runs", "250", "--out", tmp_path / "out")
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"^finding   heap-use-after-free-", done.stdout, re.MULTILINE), done.stdout
    assert not left_over("damaged-backend")


@pytest.mark.parametrize("words, status, message", [
    (("--peer-command", "false"), 3, "the peer's command cannot be attacked: it ended by status-1 before it was ready"),
    (("--peer-command", "sleep 60"), 3, "the peer's command cannot be attacked: the backend does not reach InitWait"),
    (("--unmask", "none-such"), 2, "no known finding of backend-command has that name"),
    (("--engine", "aflpp", "--sync", "there"), 2, "--driver-source, --coverage and --sync are not for backend-command"),
])
def test_what_cannot_be_attacked_is_said_once(words: tuple[str, ...], status: int, message: str, tmp_path: Path) -> None:
    done = fuzz("backend-command", *words, "--runs", "1", "--out", tmp_path / "out")
    assert done.returncode == status and message in done.stderr, done.stdout + done.stderr


def test_options_of_a_command_are_for_that_target_alone() -> None:
    done = fuzz("backend", "--peer-command", "false")
    assert done.returncode == 2 and "are for backend-command, not for backend" in done.stderr


@pytest.mark.parametrize("target", ["backend-command", "guest-frontend"])
def test_corpora_that_libfuzzer_does_not_see_are_not_merged(target: str, tmp_path: Path) -> None:
    done = fuzz("merge", target, tmp_path, tmp_path)
    assert done.returncode == 2 and f"corpora of {target} are not merged" in done.stderr


def test_what_need_not_be_kept_is_no_finding() -> None:
    peer = outside.Outside("x", "x", (), {})
    passed = peer.passing_over(["known-one"])["DISPLIF_FUZZ_PASS_OVER"].split(",")
    assert passed[0] == "known-one" and "bus.versions-published" in passed and BROKEN not in passed
