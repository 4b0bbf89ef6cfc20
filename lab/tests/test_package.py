"""The package: what is in it, the same bytes from the same tree, and its script where there is no Xen."""
from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from lab import package
from lab.build import ROOT

SCRIPT = ROOT / "lab" / "host" / package.PROGRAM
VERSION = package.Version("0123456789abcdef", 1_700_000_000, True)


@pytest.fixture
def carried(tmp_path: Path) -> Path:
    """Programs that are others, as far as a package goes."""
    (tmp_path / "carried" / "bin").mkdir(parents=True)
    for name in ("displif-cts-runner", "displif-cts-agent"):
        (tmp_path / "carried" / "bin" / name).write_bytes(Path("/bin/true").read_bytes())
    return tmp_path / "carried"


def test_the_archive_holds_what_a_dom0_needs_and_its_checksums(carried: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.tar.gz"
    package.write_archive(package.contents(carried, VERSION), VERSION, "amd64", target)
    subprocess.run(["tar", "-xzf", target, "-C", tmp_path], check=True)
    (folder,) = tmp_path.glob("displif-cts-0~git*")
    assert folder.name == "displif-cts-0~git20231114.2213.0123456789ab-amd64"
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    assert os.access(folder / "bin" / package.PROGRAM, os.X_OK) and (folder / "share/requirements.yaml").is_file()
    assert json.loads((folder / "share/peers/linux-drm-xen-front.json").read_text())["role"] == "frontend"
    assert (folder / "share/doc/licences/libc6-dev").stat().st_size > 1000
    assert not [path for path in folder.rglob("*.py")]


def test_the_same_tree_gives_the_same_bytes(carried: Path, tmp_path: Path) -> None:
    sums = set()
    for name in ("one", "two"):
        files = package.contents(carried, VERSION)
        package.write_archive(files, VERSION, "amd64", tmp_path / name)
        package.write_deb(files, VERSION, "amd64", ["libc6"], tmp_path / f"{name}.deb")
        sums.add((hashlib.sha256((tmp_path / name).read_bytes()).hexdigest(), hashlib.sha256((tmp_path / f"{name}.deb").read_bytes()).hexdigest()))
    assert len(sums) == 1


def test_the_debian_package_is_one(carried: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.deb"
    assert "libc6" in package.dependencies(carried)
    package.write_deb(package.contents(carried, VERSION), VERSION, "amd64", package.dependencies(carried), target)
    told = subprocess.run(["dpkg-deb", "--info", target], capture_output=True, text=True, check=True).stdout
    assert "Package: displif-cts" in told and "Depends: libc6" in told
    names = subprocess.run(["dpkg-deb", "--fsys-tarfile", target], capture_output=True, check=True).stdout
    (tmp_path / "data.tar").write_bytes(names)
    with tarfile.open(tmp_path / "data.tar") as archive:
        members = {member.name: member for member in archive}
    assert {"./usr/sbin/displif-cts-dom0", "./usr/lib/displif-cts/bin/displif-cts-runner", "./usr/share/doc/displif-cts/copyright"} <= members.keys()
    assert {member.uname for member in members.values()} == {"root"}


def test_a_licence_that_is_not_there_is_said(carried: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "_INCLUDED", ("no-such-package",))
    with pytest.raises(package.Stop, match="the licence of no-such-package"):
        package.contents(carried, VERSION)


def script(*words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["/bin/busybox" if Path("/bin/busybox").exists() else "/bin/dash", *(["sh"] if Path("/bin/busybox").exists() else []), SCRIPT, *words],
                          capture_output=True, text=True, env={"PATH": "/bin:/usr/bin", **more}, timeout=60)


def test_what_a_machine_without_xen_lacks() -> None:
    done = script("--doctor")
    assert done.returncode == 3 and "Traceback" not in done.stderr
    assert "this is no dom0 of Xen" in done.stderr and "/dev/xen/gntdev is missing: modprobe xen-gntdev" in done.stderr


def test_its_usage() -> None:
    assert script("--help").returncode == 0 and script("--domain").returncode == 2


# Until it is told to end; its name stays the script's.
STAY = "trap 'kill $!; exit 1' TERM\nsleep 100 &\nwait\n"


@pytest.fixture
def dom0(tmp_path: Path) -> Path:
    """The script with an agent and a runner of ours, as if Xen were there."""
    text = SCRIPT.read_text().replace("missing=$(lacking 2>&1)", "missing=")
    here = tmp_path / "bin"
    here.mkdir()
    (tmp_path / "share" / "peers").mkdir(parents=True)
    (tmp_path / "share" / "peers" / "linux-drm-xen-front.json").write_text("{}")
    for name, body in {
        package.PROGRAM: text,
        "displif-cts-agent": '#!/bin/sh\n[ "$1" != call ] || { echo "$*" >>"$NOTES"; exit "${ANSWER:-0}"; }\necho "agent $$" >>"$NOTES"\n' + STAY,
        "displif-cts-runner": '#!/bin/sh\necho "runner $*" >>"$NOTES"\n[ -n "$LONG" ] || exit 1\n' + STAY,
    }.items():
        (here / name).write_text(body)
        (here / name).chmod(0o755)
    return here / package.PROGRAM


def alive(notes: Path) -> list[int]:
    """Agents that still run."""
    pids = [int(line.split()[1]) for line in notes.read_text().splitlines() if line.startswith("agent")]
    return [pid for pid in pids if Path(f"/proc/{pid}/comm").exists() and Path(f"/proc/{pid}/comm").read_text().startswith("displif-cts")]


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"PATH": "/bin:/usr/bin", "NOTES": str(tmp_path / "notes"), "DISPLIF_CTS_RUN": str(tmp_path / "run"), **more}


def test_it_starts_runs_and_cleans_up(dom0: Path, tmp_path: Path) -> None:
    done = subprocess.run([dom0, "--domain", "3", "--load-module", "/m.ko", "--format", "ktap"], env=environment(tmp_path), capture_output=True, text=True, timeout=60)
    notes = (tmp_path / "notes").read_text()
    assert done.returncode == 1, done.stderr  # the runner's
    assert "guest.hello" in notes and "guest.load-module path=/m.ko" in notes and "runner run --format ktap --domain 3 --peer" in notes
    assert alive(tmp_path / "notes") == [] and list((tmp_path / "run").iterdir()) == []


def test_a_guest_that_does_not_answer(dom0: Path, tmp_path: Path) -> None:
    done = subprocess.run([dom0, "--domain", "3", "--wait", "1"], env=environment(tmp_path, ANSWER="1"), capture_output=True, text=True, timeout=60)
    assert done.returncode == 3 and "in domain 3 does not answer" in done.stderr and alive(tmp_path / "notes") == []


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_all_of_it(dom0: Path, tmp_path: Path, number: int, status: int) -> None:
    child = started(dom0, tmp_path)
    child.send_signal(number)
    assert child.wait(30) == status and alive(tmp_path / "notes") == [] and list((tmp_path / "run").iterdir()) == []


def started(dom0: Path, tmp_path: Path) -> "subprocess.Popen[bytes]":
    child = subprocess.Popen([dom0, "--domain", "3"], env=environment(tmp_path, LONG="yes"), restore_signals=True)
    limit = time.monotonic() + 60
    while not (tmp_path / "notes").exists() or "runner" not in (tmp_path / "notes").read_text():
        assert time.monotonic() < limit and child.poll() is None
        time.sleep(0.02)
    return child


def test_what_a_killed_run_left_the_next_one_ends(dom0: Path, tmp_path: Path) -> None:
    child = started(dom0, tmp_path)
    child.kill()
    child.wait()
    (left,) = alive(tmp_path / "notes")
    (pids,) = (tmp_path / "run").glob("*.pids")
    assert str(left) in pids.read_text().split()
    subprocess.run([dom0, "--domain", "3"], env=environment(tmp_path), timeout=60)
    assert alive(tmp_path / "notes") == [] and list((tmp_path / "run").iterdir()) == []
