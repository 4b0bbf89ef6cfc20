"""The fuzz target in the real guest: what a session found, from a finding to a case; and, on the bed, a short run and the whole
chain on one known finding."""
from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cases.generate_regressions import BadRegression, header, parse, regressions_in
from lab.build import ROOT
from lab.errors import Stop
from lab.fuzz import promote as promoting
from lab.fuzz.findings import Finding
from lab.fuzz.guest_findings import finding_of, known_in_guest, of_kernel_log
from lab.fuzz.guest_replay import reason_for_model_only
from lab.fuzz.sessions import Outcome
from lab.fuzz.triage import Wish, triage
from lab.progress import Progress

KNOWN = ROOT / "fuzzers" / "known" / "linux-frontend"
OOPS = """[   12.300000] [drm] something harmless
[   12.345678] BUG: kernel NULL pointer dereference, address: 0000000000000018
[   12.345680] RIP: e030:xen_drm_front_dbuf_create+0x1f/0x3c0 [drm_xen_front]
[   12.345690] Call Trace:
[   12.345691]  ? exc_page_fault+0x64/0x140
[   12.345692]  drm_ioctl_kernel+0xc6/0x170 [drm]
[   12.345693]  xen_drm_drv_dumb_create+0x76/0x1b0 [drm_xen_front]
[   12.345694] ---[ end trace 0000000000000000 ]---
"""
COMPLAINT = """[   17.765203] ------------[ cut here ]------------
[   17.765675] refcount_t: addition on 0; use-after-free.
[   17.766253] WARNING: CPU: 0 PID: 23 at lib/refcount.c:25 refcount_warn_saturate+0x97/0x110
[   17.790000] Call Trace:
[   17.790001]  xen_drm_drv_release+0x29/0x60 [drm_xen_front]
[   17.793719] ---[ end trace 0000000000000000 ]---
"""


def outcome(verdict: str, *failed: tuple[str, str], log: str = "") -> Outcome:
    records: list[dict[str, Any]] = [{"t": "check", "requirement": requirement, "ok": False, "seen": seen} for requirement, seen in failed]
    records.append({"t": "msg", "kind": "log", "fields": {"source": "guest kernel", "text": log}})
    return Outcome("x", verdict, "", records)


def test_an_oops_is_known_by_the_drivers_functions() -> None:
    found = finding_of(outcome("crash", ("health.kernel-log-clean", "BUG"), log=OOPS), [])
    assert found is not None and found.kind == "oops"
    assert found.frames == ("xen_drm_front_dbuf_create", "xen_drm_drv_dumb_create")
    assert found.title() == "BUG: kernel NULL pointer dereference, address: in xen_drm_front_dbuf_create"
    later = OOPS.replace("12.34", "99.99").replace("0000000000000018", "0000000000000099")
    again = finding_of(outcome("crash", ("health.kernel-log-clean", "BUG"), log=later), [])
    assert again is not None and again.key == found.key


def test_a_known_complaint_is_no_finding_and_hides_none() -> None:
    assert of_kernel_log(COMPLAINT, ["xen_drm_drv_release"]) is None
    assert of_kernel_log(COMPLAINT.replace("\n", "\r\n"), ["xen_drm_drv_release"]) is None
    assert of_kernel_log(COMPLAINT, []) is not None
    found = of_kernel_log(COMPLAINT + OOPS, ["xen_drm_drv_release"])
    assert found is not None and found.kind == "oops"


def test_damage_that_strikes_elsewhere_is_the_drivers_warning() -> None:
    elsewhere = OOPS.replace("[drm_xen_front]", "[drm]")
    found = of_kernel_log(COMPLAINT + elsewhere, [])
    assert found is not None and (found.kind, found.frames) == ("warning", ("xen_drm_drv_release",))
    alone = of_kernel_log(elsewhere, [])
    assert alone is not None and (alone.kind, alone.frames) == ("oops", ())


def test_a_leak_is_its_requirement_and_our_own_trouble_is_nothing() -> None:
    found = finding_of(outcome("fail", ("health.grants-released", "20 in use: [8,9]"), log=COMPLAINT), ["xen_drm_drv_release"])
    assert found is not None and found.broken_requirement and found.key == "health.grants-released"
    assert finding_of(outcome("infra-error", ("health.grants-released", "20 in use")), []) is None
    assert finding_of(outcome("pass"), []) is None


def test_a_guest_that_spins_is_known_by_what_it_executes() -> None:
    found = finding_of(outcome("hang"), [], ["evtchnl_interrupt_ctrl"])
    assert found is not None and found.key.startswith("hang-evtchnl-interrupt-ctrl-")


@pytest.mark.parametrize("kind, line, word", [
    ("memory-left", "client call=create", "AddressSanitizer"),
    ("object-leaks", "client call=create", "AddressSanitizer"),
    ("warning", "fail what=drm after=1", "to fail where the input says so"),
    ("oops", "interleave points=3", "interruption"),
    ("oops", "client call=export-map", "another driver"),
])
def test_a_reason_why_only_the_model_shows_it(kind: str, line: str, word: str) -> None:
    assert word in reason_for_model_only(Finding(kind, "", ()), ["bus", line], 3)


def test_no_reason_is_made_up() -> None:
    assert reason_for_model_only(Finding("warning", "", ()), ["bus", "client call=create"], 3) == ""


def test_what_a_session_avoids_has_the_models_names() -> None:
    fuzzers = ROOT / "fuzzers"
    names = (fuzzers / "known.h").read_text(encoding="utf-8")
    model = (fuzzers / "linux_frontend" / "shim" / "findings.cc").read_text(encoding="utf-8")
    sessions = "".join(path.read_text(encoding="utf-8") for path in (fuzzers / "guest").glob("*.cc"))
    for name, known in known_in_guest().items():
        assert f'"{name}"' in names, name
        if known.avoided.startswith("it is recognised"):
            assert known.keys
            continue
        value = "Known::" + name.replace("-", "_")
        assert value in model and value in sessions, name


def test_a_promoted_finding_is_a_case_that_names_what_it_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promoting, "FOLDER", tmp_path / "regressions")
    found = Finding("oops", "BUG: kernel NULL pointer dereference", ("dbuf_free",))
    path = promoting.promote("import-twice", found, ["bus", "client"], "a-driver 1")
    (regression,) = regressions_in(path.parent)
    assert (regression.id, regression.requirements) == ("frontend.regression.import-twice", ("health.peer-alive",))
    assert "# finding: oops-dbuf-free-" in regression.text and regression.text.endswith("bus\nclient\n")
    assert '{"frontend.regression.import-twice", R"(' in header([regression]) and "&req::health_peer_alive" in header([regression])
    with pytest.raises(Stop, match="exists"):
        promoting.promote("import-twice", found, ["bus"], "a-driver 1")
    with pytest.raises(Stop, match=r"\[a-z0-9.-\] only"):
        promoting.promote("Import Twice", found, ["bus"], "a-driver 1")


@pytest.mark.parametrize("text, message", [
    ("bus\n", "does not begin with"), ("displif-cts fuzz input 1\nbus\n", "# title"),
    ("displif-cts fuzz input 1\n# title: A.\n# finding: x\nbus\n", "# requirements"),
])
def test_a_regression_that_says_too_little_does_not_build(text: str, message: str) -> None:
    with pytest.raises(BadRegression, match=message):
        parse("name", text)


def test_the_committed_regressions_are_whole() -> None:
    assert regressions_in(promoting.FOLDER)


def fuzz(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([ROOT / "displif-cts", "fuzz", *map(str, words)], capture_output=True, text=True, check=False)


@pytest.mark.bed
def test_a_short_session_in_the_real_guest(tmp_path: Path) -> None:
    """The driver is executed, also its interrupt handlers, and what reached it is kept."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "polite.txt").write_text("displif-cts fuzz input 1\nbus\nserve\nbus state=connected\nclient\nclient call=create\nclient call=attach\n"
                                       "client call=configure\nclient call=flip flags=1\n", encoding="utf-8")
    done = fuzz("guest-frontend", "--corpus", corpus, "--coverage", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NO FINDINGS: 1 sessions" in done.stdout and "masked    channels-leak: " in done.stdout
    assert "never entered: xen_drm_front_evtchnl.c: evtchnl_interrupt_ctrl" not in done.stdout
    assert "never entered: xen_drm_front_kms.c: display_update" not in done.stdout
    assert "never entered: xen-front-pgdir-shbuf.c: backend_map" in done.stdout  # be-alloc only
    left = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert (left["executions"], left["peer"], left["bed"]) == (1, "linux-drm-xen-front", "qemu")
    assert len(list((tmp_path / "out" / "corpus").iterdir())) == 1


@pytest.mark.bed
def test_a_planted_defect_is_found_in_the_real_guest() -> None:
    """The table of channels is too short for one connector more: with the guest's red zones the first connection shows it."""
    done = fuzz("planted", "guest-frontend", "one-pair-short", "--time", "120")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 found from an empty corpus" in done.stdout


@pytest.mark.bed
def test_from_a_known_finding_to_a_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Found in user space, minimised there, reproduced in the guest with the driver that Debian ships, promoted."""
    monkeypatch.setattr(promoting, "FOLDER", tmp_path / "regressions")
    folder = tmp_path / "linux-frontend"
    folder.mkdir()
    text = (KNOWN / "response-index-far.txt").read_text(encoding="utf-8")
    (folder / "input").write_text(text + "event\n", encoding="utf-8")
    assert triage([folder / "input"], Progress(quiet=True), Wish(promote="chain")) == 1
    said = capsys.readouterr().out
    assert "known     response-index-far: " in said and "verdict   real: reproduced in the guest" in said
    (regression,) = regressions_in(tmp_path / "regressions")
    assert regression.requirements == ("health.peer-alive",)
    assert "index value=2147483648" in regression.text and "event" not in regression.text
