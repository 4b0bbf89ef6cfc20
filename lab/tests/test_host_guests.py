"""`displif-cts-dom0 --guest-config`: guests that the script starts, starts anew and destroys; Xen, agent and runner are ours."""
from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from lab import package
from lab.build import ROOT
from lab.lava.results import JobResults

SCRIPT = ROOT / "lab" / "host" / package.PROGRAM
STAY = "trap 'kill $!; exit 1' TERM\nsleep 100 &\nwait\n"
XL = r"""#!/bin/sh
echo "xl $*" >>"$NOTES"
case $1 in
  domid) echo $((40 + $(grep -c 'xl create' "$NOTES"))) ;;
  create) exit "${CREATE:-0}" ;;
esac
"""
# Judges one case in each guest; the third ends the run. With $BARREN it never judges one.
RUNNER = r"""#!/bin/sh
[ "$1" = run ] || exit 0
echo "runner $*" >>"$NOTES"
[ -z "$LONG" ] || { trap 'kill $!; exit 1' TERM; sleep 100 & wait; }
[ -n "$BARREN" ] || echo '{"v":1,"t":"verdict"}' >>"$OUT/stream.jsonl"
[ -s "$OUT/stream.jsonl" ] || echo '{"v":1,"t":"plan"}' >>"$OUT/stream.jsonl"
[ "$(grep -c runner "$NOTES")" = 3 ] || exit 3
echo '{"v":1,"t":"end"}' >>"$OUT/stream.jsonl"
exit 1
"""


@pytest.fixture
def dom0(tmp_path: Path) -> Path:
    here = tmp_path / "bin"
    (tmp_path / "share" / "peers").mkdir(parents=True)
    for folder in ("bin", "out", "consoles"):
        (tmp_path / folder).mkdir()
    (tmp_path / "share" / "peers" / "linux-drm-xen-front.json").write_text("{}")
    (tmp_path / "guest.cfg").write_text("")
    agent = '#!/bin/sh\n[ "$1" != call ] || { echo "$*" >>"$NOTES"; exit 0; }\necho "agent $$ $*" >>"$NOTES"\n' + STAY
    script = SCRIPT.read_text().replace("missing=$(lacking 2>&1)", "missing=")
    for name, body in {package.PROGRAM: script, "displif-cts-agent": agent, "displif-cts-runner": RUNNER, "xl": XL}.items():
        (here / name).write_text(body)
        (here / name).chmod(0o755)
    return here / package.PROGRAM


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"PATH": f"{tmp_path / 'bin'}:/bin:/usr/bin", "NOTES": str(tmp_path / "notes"), "OUT": str(tmp_path / "out"),
            "DISPLIF_CTS_RUN": str(tmp_path / "run"), "DISPLIF_CTS_CONSOLES": str(tmp_path / "consoles"), **more}


def start(dom0: Path, tmp_path: Path, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([dom0, "--guest-config", tmp_path / "guest.cfg", *words, "--out", tmp_path / "out"], env=environment(tmp_path, **more),
                          capture_output=True, text=True, timeout=60)


def notes(tmp_path: Path, word: str) -> list[str]:
    return [line for line in (tmp_path / "notes").read_text().splitlines() if line.startswith(word)]


def agents_alive(tmp_path: Path) -> list[int]:
    return [pid for pid in (int(line.split()[1]) for line in notes(tmp_path, "agent")) if os.path.exists(f"/proc/{pid}")]


def test_a_guest_that_a_case_spoilt_is_destroyed_and_another_started(dom0: Path, tmp_path: Path) -> None:
    done = start(dom0, tmp_path, "--load-module", "/m.ko")
    assert done.returncode == 1, done.stderr
    assert len(notes(tmp_path, "xl create")) == len(notes(tmp_path, "xl destroy")) == 3
    assert [line.split("--domain ")[1].split()[0] for line in notes(tmp_path, "runner")] == ["41", "42", "43"]
    assert all("--resume" in line and "--while-clean" in line for line in notes(tmp_path, "runner"))
    assert (tmp_path / "notes").read_text().count("guest.load-module path=/m.ko") == 3
    assert agents_alive(tmp_path) == [] and list((tmp_path / "run").iterdir()) == []


def test_guests_that_never_get_a_case_through_end_the_run(dom0: Path, tmp_path: Path) -> None:
    done = start(dom0, tmp_path, BARREN="yes")
    assert done.returncode == 3 and "no case got a verdict in a fresh guest" in done.stderr
    assert len(notes(tmp_path, "xl create")) == len(notes(tmp_path, "xl destroy")) < 3


def test_a_guest_that_xl_refuses(dom0: Path, tmp_path: Path) -> None:
    done = start(dom0, tmp_path, CREATE="1")
    assert done.returncode == 3 and "xl does not create the guest" in done.stderr and list((tmp_path / "run").iterdir()) == []


def test_a_run_is_never_written_over_another(dom0: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "stream.jsonl").write_text("{}\n")
    done = start(dom0, tmp_path)
    assert done.returncode == 2 and "--resume goes on with it" in done.stderr and not (tmp_path / "notes").exists()


@pytest.mark.parametrize("words", [("--domain", "3", "--guest-config", "guest.cfg"), ("--domain", "x"), ("--guest-config",), (),
                                   ("--role", "sideways", "--domain", "3"), ("--backend", "true", "--domain", "3"), ("--domain", "3", "--backend")])
def test_what_is_to_be_judged_is_said_once(dom0: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    assert subprocess.run([dom0, *words], env=environment(tmp_path), capture_output=True, timeout=60).returncode == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_its_guest_does_not_outlive_it_or_the_next_run(dom0: Path, tmp_path: Path, number: int) -> None:
    child = subprocess.Popen([dom0, "--guest-config", tmp_path / "guest.cfg", "--out", tmp_path / "out"], env=environment(tmp_path, LONG="yes"))
    limit = time.monotonic() + 60
    while not (tmp_path / "notes").exists() or not notes(tmp_path, "runner"):
        assert time.monotonic() < limit and child.poll() is None
        time.sleep(0.02)
    child.send_signal(number)
    child.wait(30)
    if number == signal.SIGKILL:
        assert agents_alive(tmp_path) and not notes(tmp_path, "xl destroy")
        start(dom0, tmp_path, CREATE="1")
    assert notes(tmp_path, f"xl destroy displif-cts-{child.pid}") and agents_alive(tmp_path) == []


@pytest.mark.parametrize("status", [0, 1, 3])
def test_over_a_line_the_stream_comes_whole_behind_the_signals(tmp_path: Path, status: int) -> None:
    """bin/displif-cts-serial, before a displif-cts-dom0 of ours; the host reads what it printed."""
    here = tmp_path / "bin"
    here.mkdir()
    for name, body in {"displif-cts-serial": (SCRIPT.parent / "displif-cts-serial").read_text(), package.PROGRAM: '#!/bin/sh\necho "$*" >"$NOTES"\n'
                       'while [ $# -gt 1 ]; do shift; done\n[ -n "$NOTHING" ] || echo \'{"v":1}\' >"$1/stream.jsonl"\n'
                       'echo "<LAVA_SIGNAL_TESTCASE>"\necho reason >&2\nexit "$STATUS"\n'}.items():
        (here / name).write_text(body)
        (here / name).chmod(0o755)
    made = {**environment(tmp_path), "STATUS": str(status), "TMPDIR": str(tmp_path)}
    for nothing in ("", "yes"):
        done = subprocess.run([here / "displif-cts-serial", "--guest-config", "g"], env={**made, "NOTHING": nothing}, capture_output=True, text=True, timeout=60)
        lines = done.stdout.splitlines()
        assert lines[0] == "displif-cts: starting" and (tmp_path / "notes").read_text().startswith("--guest-config g --format lava --out ")
        expected = 3 if nothing else status
        assert done.returncode == expected and lines[-1] == f"displif-cts: end, status {expected}"
        assert JobResults(console=lines).stream() == (None if nothing else b'{"v":1}\n') and ("displif-cts: cannot run: reason" in lines) == bool(nothing)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("tmp.")] == []
