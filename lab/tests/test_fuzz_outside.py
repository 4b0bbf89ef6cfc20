"""The fuzz target backend-command: our own backend as a program that nothing was done to, and built with sanitizers, as
its owner would."""
from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Mapping

import pytest

from lab.build import ROOT, build_configured
from lab.errors import Stop
from lab.fuzz import aflpp, outside, sequence
from lab.fuzz.builds import build_target, driver_settings
from lab.fuzz.corpus import pack_text
from lab.fuzz.engine import Settings
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
    assert sound.returncode == 0 and f"after the 3 inputs before it, too, it does not end in {key}" in sound.stdout, sound.stdout + sound.stderr


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


def own_backend(tmp_path: Path, name: str, changed: Mapping[str, str] = {}, preset: str = "fuzz") -> str:
    """The command of our backend as a program of its own, built with sanitizers, texts in the places of some of its files."""
    for file, text in changed.items():
        place = tmp_path / "peer" / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    folder = build_configured(preset, ["displif-fake-backend-sanitized"],
                              [*driver_settings(Progress(quiet=True), None), f"-DDISPLIF_CTS_FUZZ_PEER={tmp_path / 'peer' if changed else ''}"])
    program = shutil.copy(folder / "fuzzers" / "backend" / "displif-fake-backend-sanitized", tmp_path / name)
    return shlex.join([str(program), "--follow", "--quiet", "--edid", "+"])


def instead(file: str, *pairs: tuple[str, str]) -> dict[str, str]:
    text = (ROOT / file).read_text(encoding="utf-8")
    for before, after in pairs:
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    return {file: text}


def played(tmp_path: Path, name: str, actions: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """One input, by a backend of these words."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "one.txt").write_text("displif-cts fuzz input 1\n" + actions, encoding="utf-8")
    return fuzz("backend-command", "--peer", "displif-fake-backend", "--corpus", tmp_path / name, "--runs", "1", "--out", tmp_path / f"out-{name}",
                "--peer-command", *words)


def test_what_a_backend_may_refuse_is_no_finding(tmp_path: Path) -> None:
    """A format other than XRGB8888 (requirements.yaml, fb-attach.accepted), and pages that it cannot write into (hostile-directory-survived)."""
    known = "displif::bits_per_pixel(request.pixel_format)"
    command = own_backend(tmp_path, "strict-backend",
                          instead("fake_backend/model.cc", (known, f"(request.pixel_format == 0x34325258 ? {known} : std::nullopt)"))
                          | instead("fake_backend/requests.cc", ("writable ? xen::Access::read_write : xen::Access::read_only,",
                                                                   "writable ? xen::Access::read_write : xen::Access::read_write,")))
    for name, actions in (("format", "request\nrequest operation=fb-attach depth=24\n"), ("read-only", "directory gref=foreign\nrequest\n")):
        done = played(tmp_path, name, actions, command)
        assert done.returncode == 0, done.stdout + done.stderr
    done = played(tmp_path, "common", "request\nrequest operation=fb-attach\n", f"{command} --fault backend.omission.refuses-small-framebuffer")
    assert done.returncode == 1 and "finding   fb-attach.accepted: " in done.stdout, done.stdout + done.stderr


def test_an_end_and_an_unmapping_that_take_their_time_are_waited_for(tmp_path: Path) -> None:
    """A backend whose pages go after its state, and one that says Closing a second before its program ends."""
    gone, written = '  tear_down("the frontend has left");\n', "  store().write(path, text);\n"
    slow = "  std::this_thread::sleep_for(std::chrono::milliseconds(%d));\n"
    command = own_backend(tmp_path, "slow-backend",
                          instead("fake_backend/service.cc", (gone, "  go(State::closed);\n" + slow % 300 + gone),
                                  (written + "}\n", written + '  if (text == "5") {\n' + slow % 1000 + "  std::_Exit(1);\n  }\n}\n")))
    actions = 2 * "request\n" + 3 * "request operation=fb-attach\n"
    left = played(tmp_path, "left", actions, f"{command} --fault {FAULT}", "--mask", BROKEN)  # so that the connection is given up
    assert left.returncode == 0, left.stdout + left.stderr
    ended = played(tmp_path, "ended", actions, f"{command} --fault backend.stress.state-closing")
    assert "finding   ended-status-1-in-" in ended.stdout, ended.stdout + ended.stderr


def edges(said: str) -> int:
    return int(re.findall(r"(\d+) edges", said)[-1])


@pytest.mark.skipif(shutil.which("afl-fuzz") is None, reason="afl-fuzz is not installed (afl++)")
def test_aflpp_sees_what_an_instrumented_backend_executes(tmp_path: Path) -> None:
    """The corpus is empty: its inputs are those that AFL++ has kept for what the program executed, which the model's eyes alone would not."""
    command = own_backend(tmp_path, "covered-backend", preset="fuzz-aflpp")
    words = ("backend-command", "--engine", "aflpp", "--peer", "displif-fake-backend", "--peer-coverage")
    few = fuzz(*words, "--peer-command", command, "--runs", "10", "--corpus", tmp_path / "few", "--out", tmp_path / "first")
    done = fuzz(*words, "--peer-command", command, "--runs", "700", "--corpus", tmp_path / "corpus", "--out", tmp_path / "out")
    assert few.returncode == done.returncode == 0, few.stdout + done.stdout + done.stderr
    assert edges(done.stdout) > edges(few.stdout) > 0
    assert any((tmp_path / "corpus").iterdir()) and not (tmp_path / "out" / "histories").exists()
    faulty = fuzz(*words, "--peer-command", f"{command} --fault {FAULT}", "--runs", "700", "--corpus", tmp_path / "none", "--out", tmp_path / "faulty")
    assert faulty.returncode == 1 and f"finding   {BROKEN}: " in faulty.stdout, faulty.stdout + faulty.stderr
    assert not left_over("covered-backend")
    learnt = fuzz("backend-command", "--peer", "displif-fake-backend", "--peer-coverage", "--peer-command", command, "--runs", "250",
                  "--out", tmp_path / "libfuzzer")
    assert learnt.returncode == 0, learnt.stdout + learnt.stderr
    blind = fuzz("backend-command", "--peer", "displif-fake-backend", "--peer-command", command, "--runs", "250", "--out", tmp_path / "blind")
    assert features(tmp_path / "libfuzzer") > 2 * features(tmp_path / "blind"), blind.stdout


def features(folder: Path) -> int:
    """That libFuzzer has told apart."""
    return int(re.findall(r" ft: (\d+) ", (folder / "job-0.log").read_text(encoding="utf-8", errors="replace"))[-1])


@pytest.mark.skipif(shutil.which("afl-fuzz") is None, reason="afl-fuzz is not installed (afl++)")
def test_a_crash_of_aflpps_that_needs_others_is_kept_with_them(tmp_path: Path) -> None:
    """Two inputs of one program: the second alone shows nothing."""
    progress = Progress(quiet=True)
    words = argparse.Namespace(peer="displif-fake-backend", peer_command=f"{REFERENCE} --fault backend.omission.refused-buffer-kept", peer_coverage=False)
    head, refused, attach = "displif-cts fuzz input 1\n", "request dbuf=7 gref=2\n", "request operation=fb-attach dbuf=7\n"
    with outside.outside(words, progress) as peer:
        built = outside.attacking(build_target(find_target("backend-command"), progress, "fuzz-aflpp", mutator=True), peer, [])
        fuzzing = aflpp.AflFuzzing(built, Settings(None, 1, 1, 1, "none"), tmp_path, tmp_path / "corpus", None, progress)
        (tmp_path / "histories").mkdir()
        (tmp_path / "histories" / "1.txt").write_text(f"# passed over: \n{head}{refused}{head}time\n", encoding="utf-8")
        (tmp_path / "histories" / "2.txt").write_text(f"# passed over: \n{head}{refused}{head}{attach}", encoding="utf-8")
        crash = shutil.copy(pack_text(built, head + attach, tmp_path), tmp_path / "id:000000")
        fuzzing._keep(crash)
    (found,) = fuzzing.totals.found.values()
    assert found.finding.key == "fb-attach.unknown-dbuf-rejected"
    assert sequence.read_sequence(found.input.with_name("sequence.txt")).inputs == [[refused.strip()], [attach.strip()]]


def test_a_sanitizers_report_is_the_finding(tmp_path: Path) -> None:
    """One of the planted defects, in our backend as a program of its own."""
    defect = next(each for each in defects_of(find_target("backend")) if each.name == "entry-used-after-erase")
    command = own_backend(tmp_path, "damaged-backend", {defect.file: planted(defect, (ROOT / defect.file).read_text(encoding="utf-8"))})
    done = fuzz("backend-command", "--peer", "displif-fake-backend", "--peer-command", command, "--runs", "250", "--out", tmp_path / "out")
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"^finding   heap-use-after-free-", done.stdout, re.MULTILINE), done.stdout
    assert not left_over("damaged-backend")


@pytest.mark.parametrize("words, status, message", [
    (("--peer-command", "false"), 3, "the peer's command cannot be attacked: it ended by status-1 before it was ready"),
    (("--peer-command", "sleep 60"), 3, "the peer's command cannot be attacked: the backend does not reach InitWait"),
    (("--unmask", "none-such"), 2, "no known finding of backend-command has that name"),
    (("--coverage",), 2, "--driver-source and --coverage are not for backend-command"),
    (("--engine", "aflpp", "--sync", "there"), 2, "--sync is for --engine aflpp with --peer-coverage"),
    (("--peer-coverage", "--sync", "there"), 2, "--sync is for --engine aflpp with --peer-coverage"),
    (("--peer-coverage",), 3, "the peer's command cannot be attacked: it writes nothing into AFL++'s map\n  build it with afl-clang-fast, or run it under afl-qemu-trace"),
    pytest.param(("--peer-coverage", "--peer-command", "afl-qemu-trace ./my-backend"), 3, "afl-qemu-trace: not found\n  Debian's afl++ has none",
                 marks=pytest.mark.skipif(shutil.which("afl-qemu-trace") is not None, reason="afl-qemu-trace is there")),
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
