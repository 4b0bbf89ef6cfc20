"""A whole LAVA server of our own: what is unpacked for it, what its database says, and, when asked for, the job on it."""
from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Iterator

import pytest

from lab.build import ROOT
from lab.cli import main
from lab.lava import job, server
from lab.lava.results import JobResults, server_differences
from lab.qemu.packages import parse_depends

ASKED = bool(os.environ.get("DISPLIF_LAVA_SERVER"))
CASES = ("--case", "frontend.bus.stays-initialising", "--case", "frontend.set-config.larger-framebuffer")
GRAPH = """lava-server
  Depends: python3-django
  Depends: lava-common
  Depends: libjs-jquery
  Depends: postgresql-client
python3-django
  Depends: python3-sqlparse
  Depends: <python3:any>
postgresql
  Depends: postgresql-15
postgresql-15
  Depends: libllvm14
  Depends: libpq5
  Depends: postgresql-client-15
"""


def test_what_is_unpacked_is_libraries_and_the_database() -> None:
    assert sorted(server.wanted_packages(parse_depends(GRAPH))) == [
        "lava-common", "lava-server", "libpq5", "postgresql-15", "postgresql-client-15", "python3-django", "python3-sqlparse"]


@pytest.mark.parametrize("database, wanted", [
    ({"frontend_a_b": "pass", "frontend_c": "fail"}, []),
    ({"frontend_a_b": "pass"}, ["frontend_c: the job's log says fail, the server's database nothing"]),
    ({"frontend_a_b": "fail", "frontend_c": "fail"}, ["frontend_a_b: the job's log says pass, the server's database fail"]),
    ({"frontend_a_b": "pass", "frontend_c": "fail", "d": "pass"}, ["d: the job's log says nothing, the server's database pass"]),
])
def test_a_result_that_the_server_lost_or_changed_is_seen(database: dict[str, str], wanted: list[str]) -> None:
    assert server_differences(JobResults(cases={"frontend.a-b": "pass", "frontend.c": "fail"}), database) == wanted


@pytest.mark.parametrize("words", [("--boot", "running"), ("--boot", "network"), ("--device-type", "rcar")])
def test_it_has_one_device(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "server", *words]) == 2 and "one device" in capsys.readouterr().err


def test_the_worker_wants_root(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["lab", "server"]) == 3 and "it wants root" in capsys.readouterr().err


def test_the_device_gives_its_type_command_and_options() -> None:
    text = job.qemu_server_device(server.DEVICE_TYPE)
    assert text.startswith(f"{{% extends '{server.DEVICE_TYPE}.jinja2' %}}") and '"qemu-system-x86_64"' in text and '"-no-reboot"' in text


def of_folder(folder: str) -> Iterator[str]:
    """Command lines of the processes that work there."""
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if str(link.readlink()).startswith(folder):
                yield (link.parent / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue


@pytest.mark.bed
@pytest.mark.skipif(not ASKED, reason="DISPLIF_LAVA_SERVER is not set: no LAVA server is brought up")
def test_a_job_on_a_whole_server(tmp_path: Path) -> None:
    done = subprocess.run([ROOT / "displif-cts", "lab", "server", *CASES, "--tag", "xen", "--out", tmp_path / "job"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "\nTHE SAME: 2 results in LAVA, 2 verdicts in the stream" in done.stdout, done.stdout + done.stderr
    assert (tmp_path / "job" / "lava-results.txt").read_text() == f"pass     {CASES[1]}\nfail     {CASES[3]}\n"


@pytest.mark.bed
@pytest.mark.skipif(not ASKED, reason="DISPLIF_LAVA_SERVER is not set: no LAVA server is brought up")
@pytest.mark.parametrize("before", ["server: users", "LAVA job"])
def test_ctrl_c_leaves_nothing(tmp_path: Path, before: str) -> None:
    """While the server comes up, and while its job runs."""
    child = subprocess.Popen([ROOT / "displif-cts", "lab", "server", *CASES, "--out", tmp_path / "job"], cwd=ROOT, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, env={**os.environ, "TMPDIR": str(tmp_path)}, start_new_session=True)
    assert child.stdout
    said = ""
    while before not in said:
        line = child.stdout.readline()
        assert line, said
        said += line
    assert list(of_folder(str(tmp_path)))
    os.killpg(child.pid, signal.SIGINT)
    assert child.wait(120) == 130, said + child.stdout.read()
    assert list(of_folder(str(tmp_path))) == [] and list(tmp_path.glob("displif-cts-lava-*")) == []
