"""The backend role's bed, as far as it needs no machine: the peer's program and its way into dom0."""
from __future__ import annotations

import base64
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab.peer_command import PeerCommand
from lab.qemu import BedOptions
from lab.qemu.apt import machines_architecture
from lab.qemu.architecture import ARCHITECTURES
from lab.qemu.backend import BackendBed, RunnersAgent, split_cases
from lab.qemu.errors import BedError
from lab.qemu.picture import parse_ppm
from lab.qemu.remote_peer import RemotePeer, collect_peer, find_program, libraries_there, peer_argv

HERE = ARCHITECTURES[machines_architecture()]
THERE = next(architecture for architecture in ARCHITECTURES.values() if architecture is not HERE)


def test_a_program_of_the_carried_set_stays_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "theirs").touch()
    command = PeerCommand(["theirs", "-v"])
    assert find_program(command, tmp_path, HERE) is None
    assert peer_argv(command, None, HERE) == ["/carried/bin/theirs", "-v"]


@pytest.mark.parametrize("argv, message", [
    (["/no/such/program"], "cannot be started: /no/such/program: not found"),
    (["no-such-program-here"], "cannot be started: no-such-program-here: not found"),
    (["/etc/passwd"], "/etc/passwd: not found, or not executable"),
    ("echo a shell", "not a shell's text"),
])
def test_a_program_that_cannot_be_carried_over_is_said(argv: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(BedError, match=message):
        find_program(PeerCommand(argv), tmp_path, HERE)


def test_a_program_comes_with_its_libraries_and_their_linker(tmp_path: Path) -> None:
    program = find_program(PeerCommand(["bash"]), tmp_path, HERE)
    assert program is not None
    collect_peer(program, tmp_path / "peer", HERE, [])
    there = {path.name for path in (tmp_path / "peer" / "lib").iterdir()}
    assert {"libc.so.6", Path(HERE.linker).name} <= there
    argv = [word.replace("/carried/peer", str(tmp_path / "peer")) for word in peer_argv(PeerCommand(["bash", "-c", "echo on"]), program, HERE)]
    assert subprocess.run(argv, capture_output=True, text=True).stdout == "on\n"


def test_a_program_that_misses_a_library_is_said(tmp_path: Path) -> None:
    for name, text in {"gone.c": "int gone(void) { return 1; }", "lost.c": "int gone(void); int main(void) { return gone(); }"}.items():
        (tmp_path / name).write_text(text)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", tmp_path / "libgone.so", tmp_path / "gone.c"], check=True)
    subprocess.run(["gcc", "-o", tmp_path / "lost", tmp_path / "lost.c", f"-L{tmp_path}", "-lgone"], check=True)
    with pytest.raises(BedError, match="lost misses libgone.so"):
        collect_peer(tmp_path / "lost", tmp_path / "peer", HERE, [])


def test_a_program_for_another_architecture_is_refused_for_this_machine(tmp_path: Path) -> None:
    with pytest.raises(BedError, match=f"bash is a program for {HERE.name}, and the machine is {THERE.name}") as refused:
        find_program(PeerCommand(["bash"]), tmp_path, THERE)
    assert refused.value.hint == f"--arch {HERE.name}"


def test_libraries_of_a_program_that_does_not_run_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They come out of LD_LIBRARY_PATH's folders, and then the bed's packages; those of this machine do not count."""
    arm = bytearray(b"\x7fELF\2\1\1" + bytes(13))
    arm[18:20] = THERE.elf_machine.to_bytes(2, "little")
    for folder, name in (("own", "libone.so.1"), ("packages", "libone.so.1"), ("packages", "libtwo.so.2")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_bytes(arm)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "libone.so.1").symlink_to(Path("/bin/bash").resolve())
    (tmp_path / "program").write_bytes(arm)
    needs = {"program": ["libone.so.1"], "libone.so.1": ["libtwo.so.2"], "libtwo.so.2": []}
    monkeypatch.setattr("lab.qemu.images.needed_libraries", lambda paths: {path: needs[path.name] for path in paths})
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{tmp_path / 'here'}:{tmp_path / 'own'}")
    program, packages = tmp_path / "program", tmp_path / "packages"
    assert libraries_there(program, [packages]) == [tmp_path / "own" / "libone.so.1", packages / "libtwo.so.2"]
    needs["libtwo.so.2"] = ["libthree.so.3"]
    with pytest.raises(BedError, match="program misses libthree.so.3"):
        libraries_there(program, [packages])


class Dom0:
    """An agent whose program has written `output` and then, perhaps, ended."""

    def __init__(self, output: bytes, end: dict[str, Any] | None = None) -> None:
        self.output, self.end, self.puts = output, end, []

    def call(self, verb: str, *_: object, **arguments: Any) -> dict[str, Any]:
        if verb == "get":
            start = arguments.get("offset", 0)
            piece = self.output[start:start + arguments["max"]]
            return {"ok": True, "data": base64.b64encode(piece).decode(), "size": len(self.output)}
        if verb == "wait":
            return {"ok": True, "exited": self.end is not None, **(self.end or {})}
        return {"ok": True, "guest_domid": 3, "pid": 77}

    require = call

    def put(self, *arguments: object, **flags: object) -> None:
        self.puts.append((arguments, flags))


COMMAND = PeerCommand(["theirs"], "^ready")


def peer_with(agent: Dom0) -> RemotePeer:
    return RemotePeer(agent, COMMAND, ["theirs"])  # type: ignore[arg-type]


def test_a_peer_is_ready_when_it_says_so() -> None:
    peer = peer_with(Dom0(b"loading\nready to serve\n"))
    peer.start()
    assert peer.trouble() is None and peer.said() == "loading\nready to serve\n"


@pytest.mark.parametrize("output, end, message", [
    (b"no device\n", {"status": 1, "signal": 0}, "the peer ended with status 1: no device before it was ready"),
    (b"", {"status": None, "signal": 11}, "the peer ended by SIGSEGV before it was ready"),
])
def test_a_peer_that_ends_first_is_said(output: bytes, end: dict[str, Any], message: str) -> None:
    with pytest.raises(BedError, match=message):
        peer_with(Dom0(output, end)).start()


def test_a_sanitizers_report_is_trouble() -> None:
    report = peer_with(Dom0(b"ready\n==1==ERROR: AddressSanitizer: heap-use-after-free\n")).trouble()
    assert report == "the peer's sanitizer reports ERROR: AddressSanitizer: heap-use-after-free"


def test_a_flood_is_kept_at_its_ends() -> None:
    said = peer_with(Dom0(b"first" + b"." * 1_000_000 + b"last")).said()
    assert said.startswith("first") and said.endswith("last") and "octets left out" in said and len(said) < 200_000


def test_the_runners_files_go_to_the_guest_and_its_peer_is_in_the_backends_domain() -> None:
    dom0 = Dom0(b"")
    agent = RunnersAgent(dom0, 5)  # type: ignore[arg-type]
    agent.put("/run/peer.json", b"{}")
    assert dom0.puts == [(("/run/peer.json", b"{}", 0o644), {"guest": True})]
    assert agent.require("hello")["guest_domid"] == 5


def test_each_case_has_a_runner_of_its_own() -> None:
    assert split_cases(["runner", "--case", "b.a", "--seed", "1", "--case", "b.c"]) == (["b.a", "b.c"], ["runner", "--seed", "1"])


def test_a_display_and_a_driver_domain_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(BedError, match="the display device is dom0's"):
        BackendBed(BedOptions(), tmp_path, command=PeerCommand(["theirs"], display=True), carried=tmp_path, driver_domain=True)


def test_a_screen_dump_becomes_pixels() -> None:
    picture = parse_ppm(b"P6\n2 1\n255\n" + bytes([1, 2, 3, 4, 5, 6]))
    assert (picture.width, picture.height, picture.xrgb) == (2, 1, bytes([3, 2, 1, 0, 6, 5, 4, 0]))
    for broken in (b"", b"P5\n2 1\n255\n......", b"P6\n2 1\n255\n....."):
        with pytest.raises(BedError, match="screen dump"):
            parse_ppm(broken)


def test_a_compositor_is_refused_before_anything_boots(tmp_path: Path) -> None:
    with pytest.raises(BedError, match="runs on loopback"):
        BackendBed(BedOptions(), tmp_path, command=PeerCommand(["theirs"], compositor=True), carried=tmp_path)
