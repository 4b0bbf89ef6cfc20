"""A frontend that is a program, in the guest of the qemu bed: the reference frontend on real Xen."""
from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab.build import ROOT
from lab.qemu.errors import BedError
from lab.qemu.guest_program import content_of, start_script
from reports.judge import judge
from reports.model import read_run

PEER = "displif-fake-frontend-emulated"
# An operation, its refusal, the bus, the backend's own pages.
CASES = ["frontend.pg-flip.contents", "frontend.dbuf-create.error-status", "frontend.recovery.restarts", "frontend.be-alloc.contents"]


def test_the_program_comes_with_its_libraries_and_their_linker() -> None:
    content = content_of(Path("/usr/bin/sort"))
    assert content["/peer/sort"] == Path("/usr/bin/sort")
    assert {"libc.so.6"} <= {Path(name).name for name in content} and all(path.is_file() for path in content.values())
    script = start_script(Path("/usr/bin/sort"), ["-k", "a b"]).decode()
    assert script.startswith("#!/bin/busybox sh\nexec /peer/lib/ld-linux") and script.endswith("/peer/sort -k 'a b'\n")


def test_a_missing_library_is_named(tmp_path: Path) -> None:
    lacking = tmp_path / "program"
    library = tmp_path / "libno-such-thing.so"
    subprocess.run(["gcc", "-shared", "-o", library, "-x", "c", "/dev/null"], check=True)
    subprocess.run(["gcc", "-o", lacking, "-x", "c", "-", "-x", "none", "-Wl,--no-as-needed", library, "-Wl,-rpath,/nowhere"],
                   input="int main(void) { return 0; }", text=True, check=True)
    library.rename(tmp_path / "moved.so")
    with pytest.raises(BedError, match="libno-such-thing.so"):
        content_of(lacking)


def run(folder: Path, bed: str, peer: str, cases: list[str]) -> tuple[int, dict[str, str]]:
    selected = [word for case in cases for word in ("--case", case)]
    done = subprocess.run(["./displif-cts", "run", "--bed", bed, "--peer", peer, "--jobs", "1", "--again", "0", "--out", str(folder), *selected],
                          cwd=ROOT, capture_output=True, text=True)
    return done.returncode, {result.id: result.verdict for result in judge(read_run(folder / "stream.jsonl")).results}


def environment(folder: Path) -> dict[str, Any]:
    records = (json.loads(line) for line in open(folder / "stream.jsonl", encoding="utf-8"))
    return next(record for record in records if record.get("t") == "env")


@pytest.mark.bed
def test_the_reference_frontend_has_the_same_verdicts_on_real_xen(tmp_path: Path) -> None:
    real = run(tmp_path / "real", "qemu", PEER, CASES)
    assert real == run(tmp_path / "loopback", "loopback", "displif-fake-frontend", CASES) == (0, dict.fromkeys(CASES, "pass"))
    seen = environment(tmp_path / "real")
    assert seen["peer_command"].startswith("displif-fake-guest ") and seen["modules"] == {}


@pytest.mark.bed
@pytest.mark.full
def test_the_whole_suite_has_loopbacks_verdicts(tmp_path: Path) -> None:
    results = [run(tmp_path / "real", "qemu", PEER, []), run(tmp_path / "loopback", "loopback", "displif-fake-frontend", [])]
    assert [status for status, _ in results] == [0, 0]
    real, loopback = ({name: verdict for name, verdict in verdicts.items() if verdict != "skip"} for _, verdicts in results)
    # Xen does not tell domain 0 of its own grants, and loopback has no tool stack.
    assert set(loopback) - set(real) == {"frontend.be-alloc.given-back"} and set(real) - set(loopback) == {"frontend.bus.tool-stack"}
    assert all(real[name] == loopback[name] for name in set(real) & set(loopback)) and len(real) > 150
