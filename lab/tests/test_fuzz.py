"""`fuzz`: reading what a target says, masks, corpora, bad input; and each target for a fixed number of executions."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
import yaml

from lab.build import ROOT
from lab.errors import Stop
from lab.fuzz import aflpp, bench, builds, engine, findings, guest_bench, planted
from lab.fuzz.corpus import pack_text
from lab.fuzz.known import known_findings, mask_of
from lab.fuzz.targets import EMPTY, IN_PROCESS, TARGETS, Target, find_target
from lab.fuzz.triage import replay
from lab.kernel import stock_driver_source
from lab.progress import Progress

OWN = """FINDING memory-left: 16 octets of backend_map are never freed
    #0 0x55 in __sanitizer_print_stack_trace (/build/displif-fuzz-linux-frontend+0x10) (BuildId: 1)
    #1 0x56 in displif_cts::shim::finding(char const*, char const*, ...) /tree/fuzzers/linux_frontend/shim/findings.cc:90:3
    #2 0x57 in backend_map /cache/drivers/xen/xen-front-pgdir-shbuf.c:303:2
    #3 0x58 in xen_drm_front_dbuf_create /cache/drivers/gpu/drm/xen/xen_drm_front.c:187:8
==1== ERROR: libFuzzer: deadly signal
"""
ASAN = """INFO: Seed: 1
==27== ERROR: AddressSanitizer: heap-use-after-free on address 0x6020{n} at pc 0x55 bp 0x7ff sp 0x7ff
READ of size 8 at 0x6020 thread T0
    #0 0x5{n} in dbuf_free /cache/drivers/gpu/drm/xen/xen_drm_front.c:67:2
    #1 0x56 in displif_cts::shim::file_close(drm_file*) /tree/fuzzers/linux_frontend/shim/drm_core.cc:90:3

freed by thread T0 here:
    #0 0x57 in free (/build/x+0x1)
"""
UBSAN = "/cache/drivers/gpu/drm/xen/a.c:3:7: runtime error: division by zero\n    #0 0x5 in f /cache/drivers/gpu/drm/xen/a.c:3:7\n"


def test_a_finding_is_its_kind_and_the_code_under_test() -> None:
    found = findings.parse(OWN)
    assert found is not None and found.kind == "memory-left"
    assert found.frames == ("backend_map", "xen_drm_front_dbuf_create")
    assert found.title() == "16 octets of backend_map are never freed in backend_map (xen-front-pgdir-shbuf.c:303:2)"
    found = findings.parse(UBSAN)
    assert found is not None and found.kind == "undefined-behaviour" and found.frames == ("f",)


def test_addresses_do_not_tell_findings_apart_and_stacks_do() -> None:
    first, second = findings.parse(ASAN.replace("{n}", "1")), findings.parse(ASAN.replace("{n}", "2"))
    other = findings.parse(ASAN.replace("dbuf_free", "dbuf_get"))
    assert first is not None and second is not None and other is not None
    assert first.key == second.key and first.frames == ("dbuf_free",)
    assert first.key != other.key
    assert first.text == "heap-use-after-free"


TEMPLATES = """==27== ERROR: AddressSanitizer: heap-use-after-free on address 0x1 at pc 0x55 bp 0x7ff sp 0x7ff
    #0 0x51 in std::vector<{long}>::front() const /usr/bin/../lib/gcc/x86_64-linux-gnu/12/../include/c++/12/bits/stl_vector.h:1073:20
    #1 0x52 in displif_cts::(anonymous namespace)::text_of(nlohmann::basic_json<{long}> const&, char const*) /tree/harness/runner/fold.cc:12:14
"""


def test_a_finding_in_a_librarys_header_is_its_callers_and_names_a_folder() -> None:
    found = findings.parse(TEMPLATES.replace("{long}", "std::map<a, b>, " * 100))
    assert found is not None and found.title() == "heap-use-after-free in displif_cts::text_of (fold.cc:12:14)"
    assert len(findings.Finding("kind", "", ("f" * 1000,)).key) < 200


def test_an_ending_without_a_finding_is_none() -> None:
    assert findings.parse("INFO: Seed: 1\nNo space left on device\n") is None


def test_masks() -> None:
    target = TARGETS[0]
    assert mask_of(target, [], ["a", "b"]) == "a,b"
    assert mask_of(target, ["a"], ["a", "b"]) == "b"
    assert mask_of(target, ["all"], ["a"]) == "none"
    with pytest.raises(Stop, match="--unmask c: no known finding"):
        mask_of(target, ["c"], ["a"])


@pytest.mark.parametrize("words", [("--no-guest", "no/such"), ("no/such", "--no-guest")])
def test_triage_takes_options_before_and_after_its_inputs(words: tuple[str, str]) -> None:
    done = subprocess.run([ROOT / "displif-cts", "fuzz", "triage", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.strip() == "displif-cts: no/such is no file"


def test_a_target_that_is_none() -> None:
    with pytest.raises(Stop, match="there is no fuzz target 'x'"):
        find_target("x")


@pytest.mark.parametrize("target", IN_PROCESS, ids=lambda target: target.name)
def test_clang_missing(monkeypatch: pytest.MonkeyPatch, target: Target) -> None:
    monkeypatch.setattr(builds, "COMPILER", "clang++-none")
    with pytest.raises(Stop) as stopped:
        builds.build_target(target, Progress(quiet=True))
    assert stopped.value.status == 3 and "clang++-none is not installed" in stopped.value.text()


@pytest.mark.parametrize("target", IN_PROCESS, ids=lambda target: target.name)
def test_no_space(monkeypatch: pytest.MonkeyPatch, target: Target) -> None:
    monkeypatch.setattr(builds, "NEED", 1 << 60)
    with pytest.raises(Stop) as stopped:
        builds.build_target(target, Progress(quiet=True))
    assert stopped.value.status == 3 and "no space to build" in stopped.value.text()


def test_aflpp_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aflpp, "PROGRAM", "afl-fuzz-none")
    with pytest.raises(Stop) as stopped:
        aflpp.need_aflpp()
    assert stopped.value.status == 3 and "afl-fuzz-none is not installed" in stopped.value.text() and "afl++" in stopped.value.text()


def standing_in(tmp_path: Path, script: str, target: Target = TARGETS[0]) -> builds.Built:
    """A target that is a script."""
    stand_in = builds.Built(tmp_path / "build", target)
    stand_in.program.parent.mkdir(parents=True)
    stand_in.program.write_text("#!/bin/sh\n" + script, encoding="utf-8")
    stand_in.program.chmod(0o755)
    return stand_in


@pytest.mark.parametrize("script, message", [
    ("echo 'the backend does not connect: no such node' >&2; exit 1\n", "ended without a finding: the backend does not connect: no such node"),
    ("exit 77\n", "ended without a finding: it said nothing"),
    ("exit 0\n", "ends before it executes anything"),
    ("echo 'write: No space left on device' >&2; exit 1\n", "no space in "),
], ids=["dies-at-start", "dies-silently", "ends-at-start", "no-space"])
@pytest.mark.parametrize("target", IN_PROCESS, ids=lambda target: target.name)
def test_a_target_that_dies_is_told_in_one_message(tmp_path: Path, target: Target, script: str, message: str) -> None:
    (tmp_path / "corpus").mkdir()
    settings = engine.Settings(30, 1000, 1, 1, "none")
    with pytest.raises(Stop) as stopped:
        engine.Fuzzing(standing_in(tmp_path, script, target), settings, tmp_path, tmp_path / "corpus", Progress(quiet=True)).run()
    assert stopped.value.status == 3 and message in stopped.value.text()


def test_a_target_that_dies_under_aflpp_is_told_in_one_message(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "first").write_bytes(b"DFI\x01")
    stand_in = standing_in(tmp_path, "exit 1\n")
    with pytest.raises(Stop) as stopped:
        aflpp.AflFuzzing(stand_in, engine.Settings(30, 1000, 1, 1, "none"), tmp_path, tmp_path / "corpus", None, Progress(quiet=True)).run()
    assert stopped.value.status == 3 and "afl-fuzz ended with status 1: " in stopped.value.text()


def test_names_of_processes_that_share_a_folder(tmp_path: Path) -> None:
    assert aflpp.names_for(tmp_path, 2, False) == [("-M", "0"), ("-S", "1")]
    (tmp_path / "other-0").mkdir()
    (tmp_path / "other-0" / "is_main_node").touch()
    (option, name), = aflpp.names_for(tmp_path, 1, True)
    assert option == "-S" and re.fullmatch(r"[A-Za-z0-9_-]{2,32}", name) and name.endswith("-0")


def fuzz(*words: str | Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([ROOT / "displif-cts", "fuzz", *map(str, words)], capture_output=True, text=True, check=False,
                          env={**os.environ, **variables})


@pytest.fixture(scope="module")
def built() -> builds.Built:
    return builds.build_target(TARGETS[0], Progress(quiet=True))


@pytest.mark.parametrize("target", IN_PROCESS, ids=lambda target: target.name)
def test_each_target_replays_its_corpus_and_runs(target: object, tmp_path: Path) -> None:
    # One that connects anew for each input takes a hundred times as long.
    runs = "200" if getattr(target, "name").endswith("-connect") else "2000"
    done = fuzz(getattr(target, "name"), "--runs", runs, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NO FINDINGS: " in done.stdout
    assert getattr(target, "corpus").is_dir() and " 0 inputs from" not in done.stdout


def test_corpora_of_actions_are_text() -> None:
    for target in TARGETS:
        for path in target.corpus.iterdir() if target.typed and target.corpus.is_dir() else ():
            assert path.read_bytes().startswith(b"displif-cts fuzz input 1\n"), path


@pytest.mark.skipif(shutil.which("afl-fuzz") is None, reason="afl-fuzz is not installed (afl++)")
@pytest.mark.parametrize("fault", ["", "backend.omission.accepts-duplicate-dbuf-cookie"], ids=("reference", "fault"))
def test_aflpp_attacks_our_backend_in_its_process(fault: str, tmp_path: Path) -> None:
    """In AFL++'s persistent mode, with the reference model as oracle; the corpus is empty, so that what is found AFL++ has made."""
    done = fuzz("backend", "--engine", "aflpp", "--runs", "3000", "--corpus", tmp_path / "none", "--out", tmp_path / "out",
                **({"DISPLIF_FUZZ_FAULT": fault} if fault else {}))
    assert done.returncode == (1 if fault else 0), done.stdout + done.stderr
    assert ("finding   dbuf-create.duplicate-cookie-rejected: " in done.stdout) == bool(fault)
    assert re.search(r"FINDINGS: [1-9]\d{3} executions", done.stdout)


def test_aflpp_fuzzes_in_a_folder_that_others_share(built: builds.Built, tmp_path: Path) -> None:
    """Two runs one after the other, as two machines: the second goes on from what the first has found."""
    sync = tmp_path / "sync"
    words = ("linux-frontend", "--engine", "aflpp", "--runs", "400", "--sync", sync)
    (tmp_path / "empty").mkdir()
    done = fuzz(*words, "--corpus", tmp_path / "empty", "--out", tmp_path / "one")
    assert done.returncode in (0, 1), done.stdout + done.stderr  # what it finds is another matter: AFL++ goes by the clock, too
    assert "FINDINGS: " in done.stdout and re.search(r"^kept      [1-9]\d* inputs", done.stdout, re.MULTILINE)
    (first,) = sync.iterdir()
    done = fuzz(*words, "--corpus", tmp_path / "none", "--out", tmp_path / "two")
    assert done.returncode in (0, 1), done.stdout + done.stderr
    second = next(path for path in sync.iterdir() if path != first)
    assert int(aflpp.stats_of(second)["corpus_imported"]) > 0


# The loop of event-index-far ends by itself, after 2^31 turns: whether an engine sees that depends on the clock.
KNOWN_INPUTS = sorted(path for path in (ROOT / "fuzzers" / "known" / "linux-frontend").glob("*.txt") if path.stem != "event-index-far")


@pytest.mark.parametrize("path", KNOWN_INPUTS, ids=lambda path: path.stem)
def test_a_known_finding_is_what_its_small_input_shows(path: Path, built: builds.Built, tmp_path: Path) -> None:
    """With all others masked; and nothing is shown while it is masked, too."""
    known = known_findings(built)
    packed = pack_text(built, path.read_text(encoding="utf-8"), tmp_path)
    assert replay(built, packed, ",".join(known)) is None
    assert replay(built, packed, ",".join(name for name in known if name != path.stem)) is not None


ANOTHER_WAY = {
    # A commit that waits for the one before it, and no client, holds the buffer of a device that is removed.
    "removed-while-held": """serve
bus
bus state=connected
client who=1
client who=1 call=create height=64
store value="abc"
client who=1 call=create height=64 depth=16
client who=1 call=create height=64
client
client call=create
client call=attach
client call=configure
client who=1 call=create height=65536
serve on=0
client call=flip flags=1
event
bus
client call=flip flags=1
device
interleave points=17
serve events=255
""",
    # A state that the driver hears while it waits for its clients, and does not read its configuration, comes before the one where it does.
    "reconnect-with-other-connectors": """bus
serve
bus state=connected
client
client call=create object=3
client call=attach
client call=configure
serve on=0
client call=flip
response status=-22
client who=2
bus
bus state=connected
client
store node=be-alloc value="1"
bus
bus state=connected
client who=1
bus
client
store value="abc"
bus
"""}


@pytest.mark.parametrize("name", ANOTHER_WAY)
def test_a_mask_avoids_what_it_names_whatever_leads_to_it(name: str, built: builds.Built, tmp_path: Path) -> None:
    """Both were found in ten minutes from an empty corpus, with everything masked."""
    known = known_findings(built)
    packed = pack_text(built, "displif-cts fuzz input 1\n" + ANOTHER_WAY[name], tmp_path)
    assert replay(built, packed, ",".join(known)) is None
    found = replay(built, packed, ",".join(other for other in known if other != name))
    assert found is not None and found.kind == "heap-use-after-free"


def test_corpora_that_libfuzzer_does_not_see_are_not_merged(tmp_path: Path) -> None:
    done = fuzz("merge", "guest-frontend", tmp_path, tmp_path)
    assert done.returncode == 2 and "corpora of guest-frontend are not merged" in done.stderr


def test_a_run_takes_nothing_away_from_a_corpus(tmp_path: Path) -> None:
    """Neither what reaches no more than others, nor what ends in a finding."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    name = next(iter(ANOTHER_WAY))
    texts = {"same.txt": "bus\n", "once-more.txt": "bus\n", "finding.txt": ANOTHER_WAY[name]}
    for file, lines in texts.items():
        (corpus / file).write_text("displif-cts fuzz input 1\n" + lines, encoding="utf-8")
    done = fuzz("linux-frontend", "--runs", "200", "--corpus", corpus, "--unmask", name, "--out", tmp_path / "out")
    assert done.returncode in (0, 1), done.stdout + done.stderr
    for file, lines in texts.items():
        assert (corpus / file).read_text(encoding="utf-8").endswith(lines)
    assert len(list(corpus.iterdir())) > len(texts), "a run of 200 reaches more than these"
    done = fuzz("merge", "linux-frontend", corpus)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (corpus / "once-more.txt").exists() or not (corpus / "same.txt").exists()


def test_corpora_are_merged(built: builds.Built, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder, lines in ((ours, "bus\n"), (theirs, "bus\nserve\nbus state=connected\nclient\nclient call=create\n")):
        folder.mkdir()
        (folder / "one.txt").write_text("displif-cts fuzz input 1\n" + lines, encoding="utf-8")
    done = fuzz("merge", "linux-frontend", ours, theirs)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kept      2 of 2 inputs" in done.stdout
    assert any("call=create" in path.read_text(encoding="utf-8") for path in ours.iterdir())
    done = fuzz("merge", "linux-frontend")
    assert done.returncode == 2 and "fuzz merge needs a target, the corpus to keep, and others" in done.stderr


def test_the_guests_empty_session_is_an_input_of_the_same_format() -> None:
    assert guest_bench.without_actions("displif-cts fuzz input 1\nrequest\ntime\n") == "displif-cts fuzz input 1\n"


def test_bench_says_what_each_target_does_against_an_empty_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(quiet=True)
    measured, empty = (builds.build_target(target, progress, replay=True) for target in (TARGETS[0], EMPTY))
    bench._row(measured, empty, tmp_path, 0.05)
    name, inputs, median, rate, actions, ratio = capsys.readouterr().out.split()
    assert name == TARGETS[0].name and int(inputs) == len(list(TARGETS[0].corpus.iterdir()))
    assert int(median) >= 20 and int(actions) > int(rate) > 0 and 0 < float(ratio) < 1


def test_the_targets_build_by_oss_fuzz_conventions(tmp_path: Path) -> None:
    """What OSS-Fuzz's machinery sets, set here."""
    out, work = tmp_path / "out", tmp_path / "work"
    out.mkdir()
    flags = "-O1 -gline-tables-only -fsanitize=address,fuzzer-no-link"
    environment = os.environ | {"CC": "clang-14", "CXX": "clang++-14", "CFLAGS": flags, "CXXFLAGS": flags, "OUT": str(out), "WORK": str(work),
                                "SRC": str(tmp_path), "LIB_FUZZING_ENGINE": "-fsanitize=fuzzer", "DISPLIF_FUZZ_TARGETS": "parsers"}
    done = subprocess.run(["bash", ROOT / "fuzzers" / "oss-fuzz" / "build.sh"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    program = out / "displif-fuzz-parsers"
    with zipfile.ZipFile(out / "displif-fuzz-parsers_seed_corpus.zip") as seeds:
        seeds.extractall(tmp_path / "seeds")
    done = subprocess.run([program, "-runs=200", tmp_path / "seeds"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "INITED cov: " in done.stderr, done.stderr


@pytest.mark.parametrize("target", [target.name for target in TARGETS if target.typed])
def test_an_input_of_an_older_version_is_named_by_each_target(built: builds.Built, tmp_path: Path, target: str) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "old").write_bytes(b"DFI\x00\x01\x00\x00")
    done = fuzz(target, "--runs", "1", "--corpus", corpus, "--out", tmp_path / "out")
    assert done.returncode == 2, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("displif-cts: ")]
    assert len(lines) == 1 and "a fuzz input of format version 0; this suite reads version 1" in lines[0]


@pytest.mark.parametrize("name, content, message", [
    ("old", b"DFI\x00\x01\x00\x00", "a fuzz input of format version 0; this suite reads version 1"),
    ("cut", b"DFI\x01\x02\x03", "not a readable fuzz input: the end in the middle of an action (action 1)"),
    ("text.txt", b"displif-cts fuzz input 1\nbus stat=3\n", "line 2: bus has no field 'stat'"),
    ("other", b"\x7fELF", "not a readable fuzz input"),
])
def test_a_corrupt_input_is_named(built: builds.Built, tmp_path: Path, name: str, content: bytes, message: str) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / name).write_bytes(content)
    done = fuzz("linux-frontend", "--runs", "1", "--corpus", corpus, "--out", tmp_path / "out")
    assert done.returncode == 2, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("displif-cts: ")]
    assert len(lines) == 1 and name in lines[0] and message in lines[0]


def test_known_findings_are_found_when_they_are_not_masked(built: builds.Built, tmp_path: Path) -> None:
    """The planted input is the shortest of a known finding: the run names it, keeps it, and triage says what it needs."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "held.txt").write_text("displif-cts fuzz input 1\nbus\nserve\nbus state=connected\nclient\nclient call=create\n"
                                     "response fill=ones\ndevice\n", encoding="utf-8")
    out = tmp_path / "linux-frontend"
    done = fuzz("linux-frontend", "--runs", "3", "--corpus", corpus, "--unmask", "removed-while-held", "--out", out)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "finding   heap-use-after-free-" in done.stdout
    (found,) = (out / "findings").glob("heap-use-after-free-*/input")
    done = fuzz("triage", found, "--no-guest")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "needs     6 actions:" in done.stdout  # of seven
    assert "known     removed-while-held: " in done.stdout
    assert "verdict   model only: not replayed in the real guest" in done.stdout


@pytest.mark.parametrize("path", [path for path in sorted((ROOT / "fuzzers" / "known" / "linux-frontend").glob("*.txt"))
                                  if not path.stem.endswith("-index-far")],  # minutes: as many loops
                         ids=lambda path: path.stem)
def test_a_known_finding_has_an_input_that_shows_it(built: builds.Built, path: Path, tmp_path: Path) -> None:
    packed = pack_text(built, path.read_text(encoding="utf-8"), tmp_path)
    known = known_findings(built)
    assert path.stem in known
    others = ",".join(name for name in known if name != path.stem)
    assert replay(built, packed, others) is not None
    assert replay(built, packed, ",".join(known)) is None


def test_a_broken_requirement_is_one_finding_however_it_is_broken() -> None:
    texts = ("FINDING dbuf-create.accepted: DBUF_CREATE answered -XEN_EINVAL\n", "FINDING dbuf-create.accepted: DBUF_CREATE answered -XEN_EIO\n")
    found = [findings.parse(text) for text in texts]
    assert [each and each.key for each in found] == ["dbuf-create.accepted"] * 2


@pytest.mark.parametrize("target", [target for target in TARGETS if planted.file_of(target).exists()],
                         ids=lambda target: target.name)
def test_every_planted_defect_has_its_place_once(target: Target) -> None:
    root = stock_driver_source() if target.driver else ROOT
    defects = planted.defects_of(target)
    assert len(defects) >= 10 and len({defect.name for defect in defects}) == len(defects)
    for defect in defects:
        text = (root / defect.file).read_text(encoding="utf-8")
        assert planted.planted(defect, text) != text


def test_a_defect_whose_place_is_gone_is_named() -> None:
    defect = planted.Defect("gone", "", "a.c", "f", "free(x);", "")
    with pytest.raises(Stop, match=r"gone: f in a.c does not have `free\(x\);` once"):
        planted.planted(defect, "void f(void)\n{\n}\n")


def test_a_tree_with_a_defect_is_touched_only_where_it_differs(tmp_path: Path) -> None:
    """So that the next defect costs the compilation of one file or two; and nothing is left of the one before."""
    stock, changed, tree = tmp_path / "stock", tmp_path / "changed", tmp_path / "tree"
    for folder, text in ((stock, "good"), (changed, "bad")):
        folder.mkdir()
        for name in ("a.c", "b.c", "c.h"):
            (folder / name).write_text(text, encoding="utf-8")
    planted.tree_with(stock, {Path("a.c"): changed / "a.c"}, tree)
    os.utime(tree / "c.h", (1, 1))
    assert planted.tree_with(stock, {Path("b.c"): changed / "b.c"}, tree) == tree
    assert [(tree / name).read_text(encoding="utf-8") for name in ("a.c", "b.c", "c.h")] == ["good", "bad", "good"]
    assert (tree / "c.h").stat().st_mtime == 1


def test_what_a_defect_is_looked_for_can_be_counted() -> None:
    assert str(planted.Effort(None, 8000, 1)) == "8000 executions" and str(planted.Effort(60.0, None, 1)) == "60 s"


def test_a_planted_fault_of_the_backend_is_found_from_an_empty_corpus() -> None:
    done = fuzz("planted", "backend", "backend.omission.accepts-duplicate-dbuf-cookie")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 found from an empty corpus" in done.stdout


def test_the_oracles_requirements_are_the_suites() -> None:
    known = {each["id"] for each in yaml.safe_load((ROOT / "cases" / "requirements.yaml").read_text(encoding="utf-8"))["requirements"]}
    for name in ("oracle.cc", "attacker.cc"):
        text = (ROOT / "fuzzers" / "backend" / name).read_text(encoding="utf-8")
        named = set(re.findall(r'"([a-z-]+\.[a-z-]+)"', text))
        assert named and named <= known, named - known
