"""The store's fidelity: seeded random requests get the same answers from it and from Debian's own xenstored.

Here the daemon runs without Xen, by displif-store-stand-in; in the qemu bed also as what dom0 really has.
"""
from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Iterator

import pytest

from lab.build import build
from lab.qemu.cache import Cache
from lab.qemu.packages import PackageStore

SEEDS = range(1, 6)
MORE_SEEDS = range(6, 151)
SECONDS = 120  # a sequence takes two or three; the daemon is killed with the program
BED_SECONDS = 300  # ten or twenty under emulation
SOCKET = "/run/xenstored/socket"


@pytest.fixture(scope="module")
def programs() -> Path:
    return build("release", ("displif-store-sequences", "displif-store-stand-in")) / "harness/loopback/store"


@pytest.fixture(scope="module")
def unpacked() -> Iterator[list[Path]]:
    """Xen's tools and their libraries, as the qemu bed has them: unpacked, not installed."""
    arch = subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()
    store = PackageStore(Cache(), arch, lambda *_: None)
    try:
        wanted, packages = store.standard()
        yield list(store.unpack([packages[name] for name in wanted.tools]).values())
    finally:
        store.close()


@pytest.fixture(scope="module")
def xenstored(unpacked: list[Path]) -> Path:
    found = [path for folder in unpacked for path in folder.glob("usr/lib/xen-*/bin/xenstored")]
    assert found, "no package has a xenstored"
    return found[0]


@pytest.fixture(scope="module")
def libraries(unpacked: list[Path]) -> dict[str, str]:
    folders = {str(path.parent) for folder in unpacked for path in folder.glob("**/libxen*.so.*")}
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(sorted(folders))}


def play(programs: Path, *arguments: str | Path, environment: dict[str, str] | None = None) -> list[str]:
    done = subprocess.run([programs / "displif-store-sequences", *arguments], env=environment, text=True,
                          capture_output=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, f"{done.stderr}\nafter\n" + "\n".join(done.stdout.splitlines()[-10:])
    return done.stdout.splitlines()


def assert_same(ours: list[str], real: list[str], seed: int) -> None:
    """Names the first difference, with what led to it."""
    for index, (mine, theirs) in enumerate(zip(ours, real)):
        if mine != theirs:
            before = "\n".join(real[max(0, index - 12):index])
            pytest.fail(f"seed {seed}, line {index + 1}, after\n{before}\nxenstored: {theirs}\nours:      {mine}")
    assert len(ours) == len(real)


def against_daemon(programs: Path, daemon: Path, libraries: dict[str, str], seed: int) -> None:
    ours = play(programs, "--seed", str(seed))
    real = play(programs, "--seed", str(seed), "--daemon", daemon, "--stand-in",
                programs / "displif-store-stand-in.so", environment=libraries)
    assert_same(ours, real, seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_answers_as_debians_xenstored(programs: Path, xenstored: Path, libraries: dict[str, str], seed: int) -> None:
    against_daemon(programs, xenstored, libraries, seed)


@pytest.mark.full
@pytest.mark.parametrize("seed", MORE_SEEDS)
def test_answers_as_debians_xenstored_to_more(programs: Path, xenstored: Path, libraries: dict[str, str],
                                              seed: int) -> None:
    against_daemon(programs, xenstored, libraries, seed)


@pytest.mark.parametrize("option", ["--entry-nb 6", "--perm-nb 1", "--transaction 1"])
def test_a_store_with_another_limit_is_told_apart(programs: Path, xenstored: Path, libraries: dict[str, str],
                                                  tmp_path: Path, option: str) -> None:
    """One limit of the daemon's is another: some seed finds it."""
    other = tmp_path / "xenstored"
    other.write_text(f'#!/bin/sh\nexec "{xenstored}" "$@" {option}\n')
    other.chmod(0o755)
    with pytest.raises(pytest.fail.Exception):
        for seed in SEEDS:
            against_daemon(programs, other, libraries, seed)


def test_sequences_ask_for_much(programs: Path) -> None:
    """Every request and every error that a client can bring about occurs."""
    text = "\n".join("\n".join(play(programs, "--seed", str(seed))) for seed in range(1, 61))
    answers = ("CONTROL DIRECTORY READ GET_PERMS WATCH UNWATCH TRANSACTION_START TRANSACTION_END INTRODUCE RELEASE "
               "GET_DOMAIN_PATH WRITE MKDIR RM SET_PERMS IS_DOMAIN_INTRODUCED RESUME SET_TARGET RESET_WATCHES "
               "DIRECTORY_PART").split()
    assert [name for name in answers if f"<- {name} " not in text] == []
    errors = "EINVAL EACCES EEXIST ENOENT ENOMEM ENOSPC EIO ENOSYS EBUSY EAGAIN E2BIG EPERM".split()
    assert [name for name in errors if f'"{name}\\0"' not in text] == []
    assert [what for what in (" event ", " waits", " closed", " hold ", " destroy ") if what not in text] == []


def test_a_daemon_that_does_not_start_is_told(programs: Path) -> None:
    done = subprocess.run([programs / "displif-store-sequences", "--daemon", "/bin/false", "--stand-in",
                           programs / "displif-store-stand-in.so"],
                          capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 3
    assert "/bin/false ended before it opened its socket" in done.stderr


def in_dom0(real_bed: Any, disk: Path, *arguments: str) -> list[str]:
    lines: list[str] = []
    with real_bed.instance(disk) as machine:
        argv = ["/carried/displif-store-sequences", *arguments]
        status = machine.run(argv, lambda line: lines.append(line.decode()), timeout=BED_SECONDS)
        assert status == 0, machine.stderr
    return lines


@pytest.fixture(scope="module")
def disk(programs: Path, xenstored: Path, real_bed: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("carried")
    for path in (programs / "displif-store-sequences", programs / "displif-store-stand-in.so", xenstored):
        shutil.copy2(path, folder)
    return real_bed.make_disk(folder)


@pytest.mark.bed
@pytest.mark.parametrize("seed", SEEDS)
def test_answers_as_dom0s_running_xenstored(programs: Path, real_bed: Any, disk: Path, seed: int) -> None:
    """Clients of domain 0 only: the guest's kernel has its ring."""
    ours = play(programs, "--seed", str(seed), "--plain")
    assert_same(ours, in_dom0(real_bed, disk, "--seed", str(seed), "--socket", SOCKET), seed)


@pytest.mark.bed
@pytest.mark.parametrize("seed", SEEDS)
def test_answers_as_xenstored_in_dom0(programs: Path, real_bed: Any, disk: Path, seed: int) -> None:
    """The same as without a bed, on the bed's kernel, with domains and rings."""
    ours = play(programs, "--seed", str(seed))
    real = in_dom0(real_bed, disk, "--seed", str(seed), "--daemon", "/carried/xenstored", "--stand-in",
                   "/carried/displif-store-stand-in.so")
    assert_same(ours, real, seed)
