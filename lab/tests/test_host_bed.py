"""The host bed as a lab uses it: the package, unpacked in a dom0 of busybox, on a guest that it starts by xl; under real Xen."""
from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Iterator

import pytest

from lab import package
from lab.lava import images
from reports.model import Run, read_run

pytestmark = [pytest.mark.bed, pytest.mark.full]

FINE, CRASHING, BEHIND = "frontend.bus.stays-initialising", "frontend.fb-attach.error-status-unknown-code", "frontend.set-config.larger-framebuffer"
WAITING = "frontend.pg-flip.event-never"  # for more than a second, so that the guest's log is looked at
COMMAND = ("cd /run/suite/* && exec bin/displif-cts-dom0 --guest-config /etc/xen/guest.cfg --wait 600 --load-module /lib/modules/xen_front_pgdir_shbuf.ko "
           "--load-module /lib/modules/drm_xen_front.ko --bed host --out /run/out")
STREAM = "/run/out/stream.jsonl"


@pytest.fixture(scope="module")
def disk(prepared: Any, real_bed: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("host")
    archive, = package.make(prepared.programs.carried, "amd64", folder, deb=False)
    (folder / "images").mkdir()
    return images.build(real_bed.gather(), archive, folder / "images")["disk"]


class Dom0:
    """A dom0 whose guest is gone, with the package unpacked."""

    def __init__(self, machine: Any) -> None:
        self.machine = machine
        self.sh("xl destroy guest; mkdir -p /run/suite /run/out; tar -xzf /carried/displif-cts.tar.gz -C /run/suite")

    def sh(self, command: str, timeout: float = 1500) -> tuple[int, list[str]]:
        lines: list[bytes] = []
        status = self.machine.run(["/bin/busybox", "sh", "-c", f"exec 2>&1; {command}"], lines.append, timeout)
        return status, [line.decode(errors="replace") for line in lines]

    def stream(self, folder: Path) -> Run:
        (folder / "stream.jsonl").write_text("".join(line + "\n" for line in self.sh(f"cat {STREAM}")[1]))
        return read_run(folder / "stream.jsonl")

    def begin(self, words: str) -> None:
        """A run in the background, until its first case runs."""
        self.sh(f"({COMMAND} {words}) >/run/log 2>&1 </dev/null & echo $! >/run/pid")
        limit = time.monotonic() + 1500
        while self.sh(f"grep -q '\"t\":\"begin\"' {STREAM}")[0] != 0:
            assert time.monotonic() < limit, self.sh("tail -n 3 /run/log")
            time.sleep(1)

    def left(self) -> list[str]:
        """Guests, programs and files that should not be there."""
        _, domains = self.sh("xl list | tail -n +3")
        _, others = self.sh("ls /run/displif-cts | grep host-; pidof displif-cts-runner")
        return domains + others


@pytest.fixture
def dom0(real_bed: Any, disk: Path) -> Iterator[Dom0]:
    with real_bed.instance(disk) as machine:
        yield Dom0(machine)


def verdicts(run: Run) -> dict[str, str | None]:
    return {name: case.verdict for (name, _), case in run.cases.items() if case.verdict is not None}


def test_the_package_judges_a_guest_that_it_starts_and_starts_anew(dom0: Dom0, tmp_path: Path) -> None:
    assert dom0.sh("cd /run/suite/* && bin/displif-cts-dom0 --doctor --guest-config /etc/xen/guest.cfg") == (0, ["displif-cts-dom0: all there"])
    status, said = dom0.sh(f"{COMMAND} --case {FINE} --case {CRASHING} --case {WAITING} --case {BEHIND} --format ktap")
    run = dom0.stream(tmp_path)
    assert run.damage.complete, (run.damage.notes, said)
    assert verdicts(run) == {FINE: "pass", CRASHING: "crash", WAITING: "pass", BEHIND: "fail"} and status == 1, said
    assert sum('"t":"resume"' in line for line in (tmp_path / "stream.jsonl").read_text().splitlines()) == 1  # one guest after the crash
    assert dom0.left() == []


BACKEND = ["backend.dbuf-create.several", "backend.bus.removal.connected", "backend.transport.odd.ring-start"]
BACKEND_COMMAND = ("cd /run/suite/* && exec bin/displif-cts-dom0 --role backend --guest-config /etc/xen/guest.cfg --wait 600 "
                   "--peer share/peers/displif-fake-backend-emulated.json --bed host --out /run/out ") + " ".join(f"--case {case}" for case in BACKEND)
REFERENCE = "$PWD/bin/displif-fake-backend --follow --quiet --edid +"


def backend_words(run: str) -> str:
    """Before the runner's own words: what starts the backend."""
    return BACKEND_COMMAND.replace("--bed host", f"--backend \"{run}\" --ready ^following --bed host")


def test_a_backend_that_a_command_starts_for_each_case(dom0: Dom0, tmp_path: Path) -> None:
    assert dom0.sh("cd /run/suite/* && bin/displif-cts-dom0 --doctor --role backend --guest-config /etc/xen/guest.cfg") == (0, ["displif-cts-dom0: all there"])
    status, said = dom0.sh(f"{backend_words(REFERENCE)} --format lava")
    run = dom0.stream(tmp_path)
    assert run.damage.complete and verdicts(run) == dict.fromkeys(BACKEND, "pass") and status == 0, (run.damage.notes, said)
    assert sum("RESULT=pass" in line for line in said) == len(BACKEND)
    assert dom0.left() == [] and dom0.sh("pidof displif-fake-backend")[0] != 0


# Ends when a buffer has been asked for.
DYING = """#!/bin/sh
rm -f /run/trace
/run/suite/*/bin/displif-fake-backend --follow --edid + >/run/trace 2>&1 &
until grep -q ^following /run/trace; do usleep 20000; done
echo following
until grep -q DBUF_CREATE /run/trace; do usleep 20000; done
echo "no memory"
kill -9 $!
exit 7
"""


def test_a_backend_that_dies_is_a_crash_of_that_case(dom0: Dom0, tmp_path: Path) -> None:
    dom0.machine.agent.put("/run/dying", DYING.encode(), 0o755)
    status, said = dom0.sh(backend_words("/run/dying"))
    run = dom0.stream(tmp_path)
    crashed, *others = BACKEND
    assert run.damage.complete and status == 1 and verdicts(run)[crashed] == "crash", (run.damage.notes, said)
    reason = next(case.reason for case in run.cases.values() if case.id == crashed)
    assert reason == "the backend ended with status 7: no memory"
    assert verdicts(run)[others[0]] == "pass" and dom0.left() == []


def test_a_backend_that_runs_already(dom0: Dom0, tmp_path: Path) -> None:
    dom0.sh(f"cd /run/suite/* && ({REFERENCE}) >/run/backend.log 2>&1 </dev/null &")
    status, said = dom0.sh(BACKEND_COMMAND)
    run = dom0.stream(tmp_path)
    assert run.damage.complete and verdicts(run) == dict.fromkeys(BACKEND, "pass") and status == 0, (run.damage.notes, said)
    assert dom0.left() == [] and dom0.sh("pidof displif-fake-backend")[0] == 0


def test_a_run_goes_on_after_a_kill(dom0: Dom0, tmp_path: Path) -> None:
    words = f"--case {FINE} --case {BEHIND}"
    dom0.begin(words)
    dom0.sh("kill -9 $(cat /run/pid)")
    assert dom0.left() != []
    status, said = dom0.sh(f"{COMMAND} {words} --resume")
    run = dom0.stream(tmp_path)
    assert run.damage.complete and len(verdicts(run)) == 2, (status, said)
    assert dom0.left() == []


def test_a_run_goes_on_after_the_board_rebooted(dom0: Dom0, real_bed: Any, disk: Path, tmp_path: Path) -> None:
    """The board is another machine then, with the disk of the first: its stream, as far as it came, and another boot id."""
    words = f"--case {FINE} --case {BEHIND}"
    dom0.begin(words)
    before = dom0.stream(tmp_path)
    text = (tmp_path / "stream.jsonl").read_bytes()
    dom0.machine.kill()
    with real_bed.instance(disk) as machine:
        board = Dom0(machine)
        machine.agent.put(STREAM, text)
        board.sh("echo 00000000-0000-4000-8000-000000000000 >/run/boot && mount -o bind /run/boot /proc/sys/kernel/random/boot_id")
        status, said = board.sh(f"{COMMAND} {words} --resume")
        after = board.stream(tmp_path)
        assert after.damage.complete and status in (1, 3), said
        judged = verdicts(before)
        assert (tmp_path / "stream.jsonl").read_bytes().startswith(text) and judged.items() <= verdicts(after).items()
        begun = [json.loads(line)["case"] for line in text.splitlines() if b'"t":"begin"' in line and line.endswith(b"}")]
        blamed = next(case for case in after.cases.values() if case.id == begun[-1])
        if begun[-1] not in judged:
            assert blamed.verdict == "infra-error" and blamed.reason == "the board rebooted under the case"
        assert set(verdicts(after)) == {FINE, BEHIND} and board.left() == []
