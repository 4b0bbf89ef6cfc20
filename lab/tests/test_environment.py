"""What the `env` record says of programs, peer and board, by hash."""
from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from lab import environment


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("runner", "fake"):
        shutil.copy("/bin/true", folder / name)
    return folder


def test_the_suites_programs_by_hash(own: Path) -> None:
    wanted = [{"name": name, "sha256": sha(own / name)} for name in ("fake", "runner")]
    assert environment.programs(own, own / "runner") == wanted
    assert environment.programs({"fake": own / "fake"}, own / "runner") == wanted


@pytest.mark.parametrize("argv", [["fake", "--quiet"], "fake --quiet"])
def test_a_peer_of_the_build(own: Path, argv: "list[str] | str") -> None:
    for given in (own, {"fake": own / "fake"}):
        found = environment.peer_files(argv, given)
        assert found[0] == {"name": "fake", "sha256": sha(own / "fake")}
        libc = next(entry for entry in found if entry["name"] == "libc.so.6")
        assert libc["sha256"] == sha(Path("/lib/x86_64-linux-gnu/libc.so.6"))


def test_a_peer_from_elsewhere_changes_its_hash_with_every_octet(own: Path, tmp_path: Path) -> None:
    peer = tmp_path / "backend"
    shutil.copy("/bin/true", peer)
    before = environment.peer_files([str(peer), "-f"], own)
    peer.write_bytes(peer.read_bytes() + b"x")
    after = environment.peer_files([str(peer), "-f"], own)
    assert before[0]["name"] == "backend" and before[0] != after[0] and before[1:] == after[1:]


@pytest.mark.parametrize("argv", [None, [], "", ["no-such-program-anywhere"]])
def test_what_is_not_found_is_not_made_up(own: Path, argv: "list[str] | str | None") -> None:
    assert environment.peer_files(argv, own) == []


def test_the_board_says_its_firmware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "product_name").write_text("Board 7\n")
    (tmp_path / "bios_version").write_text("1.2\n")
    (tmp_path / "model").write_bytes(b"Some Arm board\0")
    monkeypatch.setattr(environment, "DMI", tmp_path)
    monkeypatch.setattr(environment, "DEVICE_TREE", tmp_path / "model")
    found = environment.board()
    assert (found["product"], found["firmware_version"], found["model"]) == ("Board 7", "1.2", "Some Arm board") and found["machine"]
    monkeypatch.setattr(environment, "DMI", tmp_path / "none")
    assert "product" not in environment.board()


def test_qemus_firmware_is_named_by_hash() -> None:
    from lab.qemu.machine import firmware_files

    found = {entry["name"]: entry["sha256"] for entry in firmware_files()}
    assert found["bios-256k.bin"] == sha(Path("/usr/share/seabios/bios-256k.bin"))
