"""LAVA jobs: what LAVA's own code takes, what the linter adds, what comes back; and a whole job by lava-run."""
from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.build import ROOT
from lab.cli import main
from lab.cli_lab import report
from lab.lava import images, job, lint, results, tools
from lab.lava.job import JobOptions
from lab.qemu.cache import Cache
from reports.tests import streams as s

NAMES = dict(zip(images.IMAGES, ("xen", "dom0-kernel", "dom0-initramfs", "disk")))


@pytest.fixture
def made(tmp_path: Path) -> dict[str, Path]:
    for name in NAMES.values():
        (tmp_path / name).write_text(name)
    return {name: tmp_path / file for name, file in NAMES.items()}


@pytest.fixture(scope="session")
def lava() -> tools.LavaTools:
    return tools.obtain(Cache(None), lambda *_: None)


def text_of(made: dict[str, Path], **options: Any) -> str:
    return job.qemu_job(made, JobOptions(cases=("frontend.ring.*",), **options))


def test_a_job_names_its_images_by_hash(made: dict[str, Path]) -> None:
    (deploy, _, test, _) = yaml.safe_load(text_of(made, base_url="http://lab/images/", tags=("xen",), device_type="board"))["actions"]
    xen = deploy["deploy"]["images"]["xen"]
    assert xen["url"] == "http://lab/images/xen" and xen["sha256sum"] == hashlib.sha256(b"xen").hexdigest()
    assert "displif-cts.case=frontend.ring.*" in deploy["deploy"]["images"]["initrd"]["image_arg"]
    assert lint.lint_job(text_of(made)) == [] and lint.lint_device(job.qemu_device()) == []


def test_lavas_schema_takes_it(made: dict[str, Path], lava: tools.LavaTools, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(text_of(made, tags=("xen",)))
    assert lava.schema_complaints(file) == ""
    file.write_text(text_of(made).replace("media: tmpfs", "medium: tmpfs"))
    assert "medium" in lava.schema_complaints(file)


@pytest.mark.parametrize("old, new, wanted", [
    ("context: {arch: amd64}", "context: {}", "arch is missing"), ("(?P<result>", "(?P<word>", "no group result"),
    (r">\r'", ">'", r"does not end with \r"), ("[a-z0-9.-]+)", "[a-z0-9.-+)", "not a regular expression"), ("{kernel} ", "{kern} ", "{kern} is no image"),
    ("sha256sum", "sha256", "whatever lies at the URL"), ("visibility: public", "metadata: {a: {b: [1.5]}}", "metadata.a.b[0]: 1.5"),
    (r" MEASUREMENT=(?P<measurement>[0-9.]+) UNITS=(?P<units>seconds)>\r",
     r"( MEASUREMENT=(?P<measurement>[0-9.]+) UNITS=(?P<units>seconds))?>\r", "group units may match nothing"),
])
def test_what_the_schema_does_not_see(made: dict[str, Path], old: str, new: str, wanted: str) -> None:
    text = text_of(made)
    assert old in text
    assert any(wanted in complaint for complaint in lint.lint_job(text.replace(old, new))), lint.lint_job(text.replace(old, new))


def test_a_device_without_its_constants() -> None:
    device = yaml.safe_load(job.qemu_device())
    del device["constants"]["boot_retry"], device["parameters"], device["available_architectures"]
    assert len(lint.lint_device(yaml.dump(device))) == 3
    assert lint.lint_job("a: [") and lint.lint_job("7") == ["not a mapping"]


def test_lint_is_a_command(made: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(text_of(made))
    assert main(["lab", "lint", str(file)]) == 0 and capsys.readouterr().out == f"{file}: good\n"
    file.write_text(text_of(made).replace("context: {arch: amd64}", "context: {}"))
    assert main(["lab", "lint", str(file)]) == 1
    assert main(["lab", "lint", str(tmp_path / "none")]) == 2 and main(["lab", "lint"]) == 2


def signal(name: str, result: str, seconds: str = "1.500") -> str:
    return f"<LAVA_SIGNAL_TESTCASE TEST_CASE_ID={name} RESULT={result} MEASUREMENT={seconds} UNITS=seconds>"


def log(folder: Path, changes: "dict[str, str | None] | None" = None, console: "list[str] | None" = None, verdict: str = "pass",
        seconds: str = "1.500") -> Path:
    """As lava-run writes it: the console's lines, a result for each signal that it understood, and the job's own."""
    stream = s.write(folder, [*s.head((s.GOOD, s.BAD)), *s.good(), *s.bad()]).read_bytes()
    (folder / "stream.jsonl").unlink()
    words = {s.GOOD: "pass", s.BAD: "fail"} | (changes or {})
    packed = base64.b64encode(gzip.compress(stream)).decode()
    lines = ["<LAVA_SIGNAL_TESTSET START displif-cts>", "displif-cts: 2 planned", *(signal(n, w or "") for n, w in words.items()), "displif-cts: 2 told",
             f"displif-cts: stream {hashlib.sha256(stream).hexdigest()}", *(f"displif-cts> {packed[i:i + 76]}" for i in range(0, len(packed), 76)),
             "displif-cts: end, status 1"] if console is None else console
    records = [{"dt": "now", "lvl": "target", "msg": line} for line in lines]
    records += [{"dt": "now", "lvl": "results", "msg": {"case": re.sub(r"\\W+", "_", n), "definition": "displif-cts", "result": w, "extra": {"test_case_id": n},
                                                  "measurement": seconds, "units": "seconds"}}
                for n, w in words.items() if w is not None]
    records.append({"dt": "now", "lvl": "results", "msg": {"case": "job", "definition": "lava", "result": verdict, "error_type": "Infrastructure"}})
    (folder / "lava.log").write_text("".join(f"{json.dumps(record)}\n" for record in records) + "not a record\n- [\n")
    return folder


def test_lava_and_the_stream_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(log(tmp_path), 0) == 0
    assert capsys.readouterr().out.endswith("THE SAME: 2 results in LAVA, 2 verdicts in the stream\n")
    assert (tmp_path / "lava-results.txt").read_text() == f"fail     {s.BAD}\npass     {s.GOOD}\n"


@pytest.mark.parametrize("changes, wanted", [
    ({s.GOOD: None}, "planned 2, LAVA has 1"), ({s.BAD: "pass"}, f"{s.BAD}: the stream says fail (fail), LAVA pass"),
    ({"frontend.made.up": "pass"}, "frontend.made.up: the stream says nothing, LAVA pass"),
])
def test_a_verdict_that_was_lost_or_changed_on_the_way_is_seen(tmp_path: Path, changes: dict[str, Any], wanted: str,
                                                               capsys: pytest.CaptureFixture[str]) -> None:
    assert report(log(tmp_path, changes), 0) == 3
    said = capsys.readouterr().out
    assert wanted in said and "\nNOT THE SAME" in said


def test_a_measurement_that_was_changed_on_the_way_is_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(log(tmp_path, seconds="15.00"), 0) == 3
    assert f"{s.GOOD}: the stream says 1.500 seconds, LAVA 15.0" in capsys.readouterr().out


def test_a_guest_that_dies_and_a_stream_that_is_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(log(tmp_path, verdict="fail"), 1) == 3
    assert "the job: fail (Infrastructure)" in capsys.readouterr().out
    assert report(log(tmp_path, console=["displif-cts: 2 planned", "displif-cts: stream 00", "displif-cts> AAAA"]), 0) == 3
    assert "the stream did not come whole" in capsys.readouterr().out


@pytest.mark.bed
@pytest.mark.full
@pytest.mark.parametrize("boot", ["qemu", "running"])
def test_a_job_by_lavas_own_code(boot: str, tmp_path: Path) -> None:
    """Xen, a bare dom0 that unpacks the suite's package, and Debian's driver; every verdict comes through LAVA as the stream has it.
    LAVA starts QEMU, or a command that leads to a board's serial line does, as LAVA sees it."""
    done = subprocess.run([ROOT / "displif-cts", "lab", "run", "--boot", boot, "--case", "frontend.bus.*", "--case", "frontend.set-config.larger-framebuffer",
                           "--case", "frontend.monitor.reserved-zero", "--out", tmp_path / "job"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "THE SAME" in done.stdout and "fail     frontend.set-config.larger-framebuffer" in done.stdout
