"""Runs on the real bed that end badly from outside: each the right verdict and status, nothing left behind."""
from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from lab.build import ROOT
from lab.qemu.template import same_build_id
from lab.recording import Recording
from lab.run import Prepared, write_head
from lab.schedule import Job, Scheduler, Settings
from lab.suite import Case
from reports.judge import Judged, Result, judge
from reports.model import read_run

pytestmark = pytest.mark.bed

# Simple enough to pass on any driver that works at all.
CASE = "frontend.bus.stays-initialising"
# Lasts three seconds on the fastest machine, which is what the driver waits for an answer: it is surely disturbed.
LONG_CASE = "frontend.ring.unanswered.dbuf-create"


def case_named(prepared: Prepared, name: str) -> Case:
    return next(case for case in prepared.suite.cases if case.id == name)


class Disturbed:
    """The real bed, with something that happens to each machine while its case runs."""

    def __init__(self, bed: Any, disturb: Callable[[Any], None], after: float) -> None:
        self._bed, self._disturb, self._after = bed, disturb, after

    @contextmanager
    def instance(self, disk: Path) -> Iterator[Any]:
        with self._bed.instance(disk) as machine:
            timer = threading.Timer(self._after, self._disturb, (machine,))
            timer.start()
            try:
                yield machine
            finally:
                timer.cancel()


def one_result(prepared: Prepared, bed: Any, real_bed: Any, folder: Path, case_id: str) -> Result:
    case = case_named(prepared, case_id)
    recording = Recording(folder, [])
    write_head(recording, prepared, real_bed.facts())
    settings = Settings("frontend", "qemu", prepared.peer.descriptor, 1, facts=real_bed.facts())
    scheduler = Scheduler(bed, real_bed.make_disk(prepared.programs.carried), recording, settings)
    scheduler.run([(Job(case, 1),)], 1)
    recording.close()
    judged: Judged = judge(read_run(recording.stream))
    return next(result for result in judged.results if result.id == case_id)


def machines() -> set[int]:
    """QEMU processes of this user."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"qemu-system" in entry.read_bytes().split(b"\0")[0]:
                found.add(int(entry.parent.name))
        except OSError:
            continue
    return found


def children_of(pid: int) -> set[int]:
    done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    mine = {int(word) for word in done.stdout.split()}
    return mine | {child for one in mine for child in children_of(one)}


def test_an_undisturbed_case_passes(prepared: Prepared, real_bed: Any, tmp_path: Path) -> None:
    result = one_result(prepared, real_bed, real_bed, tmp_path, CASE)
    assert (result.verdict, result.outcome) == ("pass", "expected"), result.reason


def build_id_of(image: Path, folder: Path) -> str:
    """By readelf, of the package's file; a compressed hypervisor is unpacked first."""
    data = image.read_bytes()
    plain = folder / "image"
    plain.write_bytes(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
    notes = subprocess.run(["readelf", "-n", plain], capture_output=True, text=True).stdout
    return re.findall(r"Build ID: ([0-9a-f]+)", notes)[0]


def test_it_is_real(prepared: Prepared, real_bed: Any, tmp_path: Path) -> None:
    """Hypervisor and driver, asked inside the machine that ran the case, are the packages' files."""
    one_result(prepared, real_bed, real_bed, tmp_path, CASE)
    records = [json.loads(line) for line in (tmp_path / "stream.jsonl").read_text().splitlines()]
    seen = next(record for record in records if record["t"] == "instance")
    facts = real_bed.facts()
    assert len(seen["xen"]) >= 8 and same_build_id(seen["xen"], build_id_of(Path(facts["xen"]["file"]), tmp_path))
    assert seen["modules"]["drm_xen_front"] == build_id_of(Path(facts["modules"]["drm_xen_front"]["file"]), tmp_path)


def test_qemu_killed_from_outside_is_an_infra_error(prepared: Prepared, real_bed: Any, tmp_path: Path) -> None:
    kill = Disturbed(real_bed, lambda machine: os.kill(machine.pid, signal.SIGKILL), 0.4)
    result = one_result(prepared, kill, real_bed, tmp_path, LONG_CASE)
    assert (result.verdict, result.outcome) == ("infra-error", "missing")
    assert "the machine ended" in result.reason


def test_a_guest_that_panics_is_a_crash(prepared: Prepared, real_bed: Any, tmp_path: Path) -> None:
    def panic(machine: Any) -> None:
        machine.agent.submit("guest.panic")

    result = one_result(prepared, Disturbed(real_bed, panic, 1.0), real_bed, tmp_path, LONG_CASE)
    assert result.verdict == "crash", result.reason


def test_a_guest_that_spins_with_interrupts_off_is_a_hang(prepared: Prepared, real_bed: Any, tmp_path: Path) -> None:
    """Debian's driver walks 2^31 slots in its interrupt handler when the event page's in_prod is half a range ahead."""
    result = one_result(prepared, real_bed, real_bed, tmp_path, "frontend.event-page.producer-beyond.half-range")
    assert result.verdict == "hang", result.reason


def command(*words: str, **more: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen([ROOT / "displif-cts", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_no_machine_behind(prepared: Prepared, real_bed: Any, tmp_path: Path, number: int, status: int) -> None:
    child = command("run", "--case", LONG_CASE, "--repeat", "20", "--jobs", "2", "--out", str(tmp_path / "out"))
    limit = time.monotonic() + 120
    while not any(pid in machines() for pid in children_of(child.pid)):
        assert time.monotonic() < limit and child.poll() is None, child.communicate()
        time.sleep(0.1)
    time.sleep(1)
    mine = children_of(child.pid)
    start = time.monotonic()
    child.send_signal(number)
    out, err = child.communicate(timeout=60)
    assert child.returncode == status and "Traceback" not in err
    assert time.monotonic() - start < 10
    assert not (mine & machines())
    assert "INCOMPLETE" in out


def test_two_runs_at_once(prepared: Prepared, real_bed: Any, tmp_path: Path) -> None:
    both = [command("run", "--case", CASE, "--jobs", "1", "--out", str(tmp_path / name)) for name in ("1", "2")]
    for child in both:
        _, err = child.communicate(timeout=600)
        assert child.returncode == 0, err


def test_a_module_for_another_kernel_is_one_message(prepared: Prepared, real_bed: Any, tmp_path: Path) -> None:
    stock = Path(real_bed.facts()["modules"]["drm_xen_front"]["file"])
    data = stock.read_bytes()
    release = real_bed.kernel_release.encode()
    module = tmp_path / stock.name
    module.write_bytes(data.replace(b"vermagic=" + release, b"vermagic=" + b"9" * len(release)))
    child = command("run", "--case", CASE, "--module", str(module), "--out", str(tmp_path / "out"))
    _, err = child.communicate(timeout=600)
    assert child.returncode in (2, 3) and "Traceback" not in err
    assert "kernel" in err


def test_cases_are_pytest_items_on_the_real_bed(prepared: Prepared, real_bed: Any, tmp_path: Path) -> None:
    done = subprocess.run(["/usr/bin/python3", "-m", "pytest", "--bed", "qemu", "--case", CASE, "--out", str(tmp_path / "out")],
                          cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr


def test_two_processes_of_pytest_on_real_machines_make_one_run(tmp_path: Path) -> None:
    """pytest-xdist: each process has machines of its own; what is merged is the run of one process, verdict by verdict."""
    def run(out: str, *words: str) -> dict[str, str | None]:
        chosen = ("--case", "frontend.bus.stays-initialising", "--case", "frontend.fb-detach.*", "--case", "frontend.set-config.larger-framebuffer")
        done = subprocess.run(["/usr/bin/python3", "-m", "pytest", "-q", "-p", "lab.pytest_plugin", "--bed", "qemu", *chosen, "--out", str(tmp_path / out),
                               *words], cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        whole = read_run(tmp_path / out / "stream.jsonl")
        return {name: case.verdict for (name, _), case in whole.cases.items()}

    one, two = run("one"), run("two", "-n", "2")
    assert two == one and one["frontend.set-config.larger-framebuffer"] == "fail" and len(one) > 4
