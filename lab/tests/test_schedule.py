"""The scheduler: machines for cases, a verdict for each, and what it says when a machine fails."""
from __future__ import annotations

import base64
import errno
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from lab.errors import Stop
from lab.qemu.processor import Share
from lab.recording import Recording
from lab.schedule import Scheduler, Settings, batches_for
from lab.tests import fakes
from reports.judge import judge
from reports.model import read_run

A, B, C = "frontend.ring.a", "frontend.ring.b", "frontend.ring.c"
SETTINGS = Settings("frontend", "qemu", {"name": "x"}, 1, grace=1.0)


def recorded(folder: Path, bed: fakes.FakeBed, plan: Any, workers: int = 2, repeat: int = 1, size: int = 1) -> Any:
    recording = Recording(folder, [case.id for case in plan.monitors])
    recording.write("run", {"suite": "displif-cts", "bed": "qemu", "peer": {"name": "x"}, "seed": 1,
                            "started": "2026-01-01T00:00:00+00:00", "repeat": repeat})
    recording.write("plan", plan.to_record())
    Scheduler(bed, folder, recording, SETTINGS).run(batches_for(plan.runnable, repeat, size), workers)
    recording.judge_monitors()
    recording.seal()
    recording.close()
    return judge(read_run(recording.stream))


def test_every_case_gets_a_verdict_in_a_machine_of_its_own(tmp_path: Path) -> None:
    bed = fakes.FakeBed()
    judged = recorded(tmp_path, bed, fakes.whole_plan(fakes.suite(A, B, C)))
    assert sorted(bed.started) == [A, B, C]
    assert len(bed.machines) == 3 and all(machine.killed.is_set() for machine in bed.machines)
    assert judged.exit_status == 0 and judged.complete
    assert [r.verdict for r in judged.results] == ["pass"] * 3


def machines_of(folder: Path) -> list[tuple[str, list[str]]]:
    records = [json.loads(line) for line in (folder / "stream.jsonl").read_text().splitlines()]
    return [(record["case"], record["after"]) for record in records if record["t"] == "instance"]


def test_cases_share_a_machine_as_long_as_they_leave_it_clean(tmp_path: Path) -> None:
    bed = fakes.FakeBed(lambda case: fakes.bad(case) if case == B else fakes.good(case))
    judged = recorded(tmp_path, bed, fakes.whole_plan(fakes.suite(A, B, C)), workers=1, size=3)
    assert bed.started == [A, B, C] and len(bed.machines) == 2
    assert machines_of(tmp_path) == [(A, []), (B, [A]), (C, [])]
    assert [r.verdict for r in judged.results] == ["pass", "fail", "pass"]


def shares(count: int, repeat: int, size: int, ending: Any = ()) -> list[list[int]]:
    """Numbers of the cases that share a machine, in the order in which the machines are started."""
    cases = fakes.suite(*(f"frontend.ring.n{i:03}" for i in range(count))).cases
    known = {f"frontend.ring.n{i:03}" for i in ending}
    return [[int(job.case.id[-3:]) for job in batch] for batch in batches_for(cases, repeat, size, known)]


def test_which_cases_share_a_machine_depends_on_the_selection_alone() -> None:
    assert shares(10, 2, 4) == 2 * [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert [len(share) for share in shares(100, 1, 16)] == [16, 16, 16, 13, 9] + 3 * [8] + [6]
    assert sorted(case for share in shares(100, 1, 16) for case in share) == list(range(100))
    assert shares(3, 1, 1) == [[0], [1], [2]]


def test_cases_that_end_their_machine_come_last_in_it() -> None:
    assert shares(8, 1, 4, [0, 5]) == [[1, 2, 0], [3, 4, 5], [6, 7]]
    assert shares(3, 1, 4, [0, 1, 2]) == [[0], [1], [2]]
    assert sorted(shares(3, 1, 1, [0])) == [[0], [1], [2]]


@pytest.mark.parametrize("trouble", [fakes.die, fakes.time_out, fakes.leave_with(120)])
def test_a_machine_that_ends_under_a_case_takes_no_other_along(tmp_path: Path, trouble: Any) -> None:
    def script(case: str) -> list[Any]:
        return [fakes.begin(case), trouble] if case == B else fakes.good(case)

    bed = fakes.FakeBed(script)
    judged = recorded(tmp_path, bed, fakes.whole_plan(fakes.suite(A, B, C)), workers=1, size=3)
    assert [r.verdict for r in judged.results] == ["pass", "infra-error", "pass"]
    assert bed.started == [A, B, C] and len(bed.machines) == 2


def test_a_machine_that_ends_between_cases_is_nobodys_fault(tmp_path: Path) -> None:
    ended: list[str] = []

    def script(case: str) -> list[Any]:
        if case == B and not ended:
            ended.append(case)
            return [fakes.die]
        return fakes.good(case)

    judged = recorded(tmp_path, fakes.FakeBed(script), fakes.whole_plan(fakes.suite(A, B, C)), workers=1, size=3)
    assert ended and [r.verdict for r in judged.results] == ["pass"] * 3


def test_jobs_limits_how_many_run_at_once(tmp_path: Path) -> None:
    def slow(case: str) -> list[Any]:
        return [lambda *_: time.sleep(0.05), *fakes.good(case)]

    bed = fakes.FakeBed(slow)
    recorded(tmp_path, bed, fakes.whole_plan(fakes.suite(*(f"frontend.ring.n{i}" for i in range(8)))), workers=3)
    assert 2 <= bed.most_running <= 3


@pytest.mark.parametrize("step, reason", [
    (fakes.die, "signal 9"),
    (fakes.time_out, "no verdict within"),
    (fakes.leave_with(120), "status 120 before its verdict"),
    (b"Segmentation fault", "no record"),
    (b'{"v":1,"t":"check"}', "no record"),
    (fakes.check("frontend.ring.other", True), "a record of frontend.ring.other"),
    (b'[1,2', "no record"),
])
def test_trouble_with_the_machine_is_an_infra_error_of_that_case_only(tmp_path: Path, step: Any, reason: str) -> None:
    def script(case: str) -> list[Any]:
        return [fakes.begin(case), step] if case == B else fakes.good(case)

    judged = recorded(tmp_path, fakes.FakeBed(script), fakes.whole_plan(fakes.suite(A, B, C)))
    by_id = {result.id: result for result in judged.results}
    assert (by_id[A].verdict, by_id[C].verdict) == ("pass", "pass")
    assert by_id[B].verdict == "infra-error" and by_id[B].outcome == "missing"
    assert reason in by_id[B].reason
    assert judged.exit_status == 3


def test_what_was_seen_before_the_machine_died_still_counts(tmp_path: Path) -> None:
    def script(case: str) -> list[Any]:
        return [fakes.begin(case), fakes.check(case, False), fakes.die]

    judged = recorded(tmp_path, fakes.FakeBed(script), fakes.whole_plan(fakes.suite(A)))
    assert judged.results[0].verdict == "fail"


def test_a_run_whose_first_cases_end_by_one_trouble_ends(tmp_path: Path) -> None:
    """A peer that never gets ready would cost its minute for each of hundreds of cases."""
    def refused(case: str) -> list[Any]:
        return [fakes.begin(case), fakes.record("error", case, text="the peer was not ready")]

    names = [f"frontend.ring.{letter}" for letter in "abcdefgh"]
    bed = fakes.FakeBed(refused)
    with pytest.raises(Stop, match="the first 4 cases ended by the same trouble, .* the peer was not ready") as stopped:
        recorded(tmp_path, bed, fakes.whole_plan(fakes.suite(*names)), workers=1)
    assert stopped.value.status == 3
    assert bed.started == names[:4]
    assert [record["case"] for record in map(json.loads, (tmp_path / "stream.jsonl").open()) if record["t"] == "verdict"] == names[:4]


@pytest.mark.parametrize("other", ["pass", "another trouble"])
def test_a_run_in_which_something_else_happened_goes_on(other: str, tmp_path: Path) -> None:
    names = [f"frontend.ring.{letter}" for letter in "abcdefgh"]

    def script(case: str) -> list[Any]:
        if case == names[1] and other == "pass":
            return fakes.good(case)
        return [fakes.begin(case), fakes.record("error", case, text=other if case == names[1] else "the peer was not ready")]

    bed = fakes.FakeBed(script)
    recorded(tmp_path, bed, fakes.whole_plan(fakes.suite(*names)), workers=1)
    assert bed.started == names


def test_a_machine_that_cannot_be_restored_is_reported(tmp_path: Path) -> None:
    class Broken(fakes.FakeBed):
        def instance(self, disk: Path) -> Any:
            fakes.die(None, 0)  # type: ignore[arg-type]

    judged = recorded(tmp_path, Broken(), fakes.whole_plan(fakes.suite(A, B)))
    assert [r.verdict for r in judged.results] == ["infra-error"] * 2


def test_a_monitor_judges_the_checks_of_all_cases(tmp_path: Path) -> None:
    monitor, idle = "frontend.monitor.reserved-zero", "frontend.monitor.order"

    def script(case: str) -> list[Any]:
        checks = [fakes.check(monitor, case != B, "wire.reserved-zero", during=case)]
        return fakes.good(case)[:-1] + checks + [fakes.verdict(case)]

    judged = recorded(tmp_path, fakes.FakeBed(script), fakes.whole_plan(fakes.suite(A, B, monitors=(monitor, idle))))
    by_id = {result.id: result for result in judged.results}
    assert by_id[monitor].verdict == "fail" and by_id[A].verdict == by_id[B].verdict == "pass"
    assert by_id[idle].verdict == "skip" and by_id[idle].outcome == "expected"


def test_repeat_gives_each_attempt_a_verdict(tmp_path: Path) -> None:
    judged = recorded(tmp_path, fakes.FakeBed(), fakes.whole_plan(fakes.suite(A, B)), repeat=3)
    assert sorted((r.id, r.attempt) for r in judged.results) == [(i, n) for i in (A, B) for n in (1, 2, 3)]
    assert judged.exit_status == 0, judged.trouble


def test_artifacts_become_files_with_their_hash(tmp_path: Path) -> None:
    picture = fakes.record("artifact", A, name="screen.png", media="image/png", data=base64.b64encode(b"PNG").decode())
    judged = recorded(tmp_path, fakes.FakeBed(lambda c: [*fakes.good(c)[:-1], picture, fakes.verdict(c)]),
                      fakes.whole_plan(fakes.suite(A)))
    artifact = judged.results[0].case.artifacts[0]
    assert (tmp_path / artifact["path"]).read_bytes() == b"PNG"
    assert "data" not in artifact and len(artifact["sha256"]) == 64


@pytest.mark.parametrize("waited_s, timed, verdict", [
    (0, True, "fail"), (3, True, "fail"), (30, True, "infra-error"), (30, False, "fail"),
])
def test_what_a_busy_host_makes_late_is_nobodys_failure(tmp_path: Path, waited_s: int, timed: bool, verdict: str) -> None:
    """The machine's only processor runs for a second while the case does."""
    class Machine(fakes.FakeMachine):
        shares = iter([Share(0, 0), Share(10**9, waited_s * 10**9), Share(10**9, waited_s * 10**9)])

        def processors(self) -> dict[str, Share]:
            return {"1": next(self.shares)}

    def script(case: str) -> list[Any]:
        failed = fakes.check(case, False, **({"timed": True} if timed else {}))
        return [fakes.begin(case), failed, fakes.verdict(case, "fail", "ring.id-echoed: expected 7; saw 8")]

    judged = recorded(tmp_path, fakes.FakeBed(script, machine=Machine), fakes.whole_plan(fakes.suite(A)))
    result = judged.results[0]
    assert result.verdict == verdict
    assert ("our own side stood still for 30000 ms" in result.reason) == (verdict == "infra-error")
    assert not judged.trouble or verdict == "infra-error"


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "", ".hidden", "a/b", 7])
def test_an_artifact_never_leaves_the_folder(tmp_path: Path, name: Any) -> None:
    evil = fakes.record("artifact", A, name=name, media="image/png", data="AAAA")
    judged = recorded(tmp_path, fakes.FakeBed(lambda c: [fakes.begin(c), fakes.check(c, True), evil]),
                      fakes.whole_plan(fakes.suite(A)))
    assert judged.results[0].verdict == "infra-error"
    assert not (tmp_path / "artifacts").exists()


def test_stop_ends_machines_at_once_and_leaves_cases_without_verdict(tmp_path: Path) -> None:
    bed = fakes.FakeBed(lambda case: [fakes.begin(case), fakes.hang_until_killed])
    plan = fakes.whole_plan(fakes.suite(A, B, C))
    recording = Recording(tmp_path, [])
    recording.write("plan", plan.to_record())
    scheduler = Scheduler(bed, tmp_path, recording, SETTINGS)
    runner = threading.Thread(target=scheduler.run, args=(batches_for(plan.runnable, 1, 1), 2))
    runner.start()
    while len(bed.started) < 2:
        time.sleep(0.01)
    start = time.monotonic()
    scheduler.stop()
    runner.join(5)
    recording.close()
    assert time.monotonic() - start < 2 and bed.running == 0
    judged = judge(read_run(recording.stream))
    assert [r.outcome for r in judged.results] == ["missing"] * 3
    assert not judged.complete and judged.exit_status == 3


def test_full_disk_ends_the_run_with_one_message(tmp_path: Path) -> None:
    recording = Recording(tmp_path, [])
    recording.write("plan", fakes.whole_plan(fakes.suite(A, B)).to_record())

    class Full:
        def write(self, _data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        flush = close = lambda self: None

    recording._file.close()
    recording._file = Full()  # type: ignore[assignment]
    bed = fakes.FakeBed()
    with pytest.raises(Stop, match="No space left on device") as caught:
        Scheduler(bed, tmp_path, recording, SETTINGS).run(batches_for(fakes.suite(A, B).cases, 1, 1), 2)
    assert caught.value.status == 3 and bed.running == 0


def test_a_stream_on_a_full_disk_is_still_readable(tmp_path: Path) -> None:
    """/dev/full behaves as a full disk does."""
    (tmp_path / "run").mkdir()
    recording = Recording(tmp_path / "run", [])
    recording.write("plan", fakes.whole_plan(fakes.suite(A)).to_record())
    kept = recording._file
    recording._file = open("/dev/full", "wb", buffering=0)
    with pytest.raises(Stop, match="No space left"):
        recording.take(fakes.verdict(A))
    kept.close()
    recording.close()
    assert not judge(read_run(recording.stream)).complete


def test_no_run_is_written_over_another(tmp_path: Path) -> None:
    Recording(tmp_path, []).close()
    with pytest.raises(Stop) as caught:
        Recording(tmp_path, [])
    assert caught.value.status == 2


def test_records_keep_the_order_and_numbers_of_their_writing(tmp_path: Path) -> None:
    recorded(tmp_path, fakes.FakeBed(), fakes.whole_plan(fakes.suite(*(f"frontend.ring.n{i}" for i in range(20)))), workers=8)
    lines = [json.loads(line) for line in (tmp_path / "stream.jsonl").read_text().splitlines()]
    assert [line["seq"] for line in lines] == list(range(len(lines)))
    assert lines[-1]["t"] == "end" and lines[-1]["counts"] == {"pass": 20}


@pytest.mark.parametrize("module, xen, verdict", [("aa", "b" * 40, "pass"), ("ff", "b" * 40, "infra-error"), ("aa", "f" * 40, "infra-error"),
                                                  ("aa", "hexdump: no such file", "infra-error")])
def test_what_runs_in_the_machine_must_be_what_the_bed_was_made_from(tmp_path: Path, module: str, xen: str, verdict: str) -> None:
    class Agent(fakes.FakeAgent):
        def require(self, verb: str, timeout: float = 60.0, payload: bytes | None = None, **more: object) -> dict[str, Any]:
            return {"ok": True, "guest_domid": 1, "build_id": module, "output": xen}

    class Machine(fakes.FakeMachine):
        def __init__(self, bed: fakes.FakeBed) -> None:
            super().__init__(bed)
            self.agent = Agent()

    recording = Recording(tmp_path, [])
    recording.write("plan", fakes.whole_plan(fakes.suite(A)).to_record())
    facts = {"modules": {"drm_xen_front": {"build_id": "aa"}}, "xen": {"build_id": "b" * 40}}
    settings = Settings("frontend", "qemu", {"name": "x"}, 1, facts=facts)
    Scheduler(fakes.FakeBed(machine=Machine), tmp_path, recording, settings).run(batches_for(fakes.suite(A).cases, 1, 1), 1)
    recording.close()
    assert judge(read_run(recording.stream)).results[0].verdict == verdict
