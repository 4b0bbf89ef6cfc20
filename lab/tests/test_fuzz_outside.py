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
from lab.errors import Stop
from lab.fuzz import outside, sequence
from lab.fuzz.builds import build_target, driver_settings
from lab.fuzz.findings import parse
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
    played = sequence.read_sequence(tmp_path / "backend-command" / "findings" / BROKEN / "sequence.txt")
    assert played.inputs and "bus.versions-published" in played.passed_over.split(",")
    masked = fuzz("backend-command", *peer, "--runs", "250", "--mask", BROKEN, "--out", tmp_path / "masked")
    assert masked.returncode == 0, masked.stdout + masked.stderr
    assert f"masked    {BROKEN}" in masked.stdout
    triaged = fuzz("triage", tmp_path / "backend-command" / "findings" / BROKEN / "input", *peer)
    assert triaged.returncode == 1, triaged.stdout + triaged.stderr
    assert f"verdict   real: the backend breaks {BROKEN}, as a program: " in triaged.stdout


def test_a_finding_that_needs_inputs_before_it_is_reduced_to_them(tmp_path: Path) -> None:
    """A refused buffer that stays is attached to by the next input: neither of the two shows it alone."""
    key, head = "fb-attach.unknown-dbuf-rejected", "displif-cts fuzz input 1\n"
    place = tmp_path / "backend-command" / "findings" / key
    place.mkdir(parents=True)
    attach = "request operation=fb-attach dbuf=7\n"
    (place / "input").write_text(head + "time\n" + attach, encoding="utf-8")
    refused = "request dbuf=7 gref=2\n"
    polite = head + "request\nrequest operation=dbuf-destroy\n"
    (place / "sequence.txt").write_text("# passed over: dbuf-create.duplicate-cookie-rejected\n" + polite + head + refused + polite + head + "time\n" + attach,
                                        encoding="utf-8")
    peer = ("--peer", "displif-fake-backend", "--peer-command", f"{REFERENCE} --fault backend.omission.refused-buffer-kept")
    done = fuzz("triage", place / "input", *peer)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"finding   {key}: " in done.stdout
    needs = done.stdout.partition("needs ")[2].partition("verdict")[0].split()
    assert needs == ["2", "actions:", "request", "dbuf=7", "gref=2", "request", "operation=fb-attach", "dbuf=7"], done.stdout
    assert "verdict   real: the backend shows it after 3 inputs before this one, as a program: " in done.stdout
    sound = fuzz("triage", place / "input", "--peer", "displif-fake-backend", "--peer-command", REFERENCE)
    assert sound.returncode == 0 and "nor after the 3 before it ends in" in sound.stdout, sound.stdout + sound.stderr


def test_the_fewest_inputs_are_the_last_that_show_it() -> None:
    """Not every subset does: two that matter, of several, which together in one input show nothing."""
    def still(inputs: list[list[str]]) -> bool:
        return [lines for lines in inputs if "b" in lines] != [] and inputs[-1:] != [] and "c" in inputs[-1] and not any({"b", "c"} <= set(lines) for lines in inputs)

    assert sequence.reduced([["b", "x"], ["x"], ["x"], ["b", "y"], ["x"], ["z", "c"]], still) == [["b"], ["c"]]


def test_no_space_for_the_inputs_that_came_before_is_no_finding(tmp_path: Path) -> None:
    built = build_target(find_target("backend-command"), Progress(quiet=True))
    (tmp_path / "empty").touch()
    done = subprocess.run([built.program, tmp_path / "empty"], capture_output=True, text=True, check=False, env={**os.environ, sequence.HISTORY: "/dev/full"})
    assert done.returncode == 3 and "displif-fuzz: /dev/full cannot be written: No space left on device" in done.stderr
    assert parse(done.stderr) is None


def test_what_is_no_sequence_is_said(tmp_path: Path) -> None:
    (tmp_path / "sequence.txt").write_text("# passed over: \nrequest\n", encoding="utf-8")
    with pytest.raises(Stop) as stopped:
        sequence.read_sequence(tmp_path / "sequence.txt")
    assert stopped.value.status == 2 and "line 2: 'request' before the first" in stopped.value.text()


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
