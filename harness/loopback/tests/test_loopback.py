"""Loopback from outside: processes of several domains, Debian's own programs, and the replacements of Xen's libraries."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lab.qemu.cache import Cache
from lab.qemu.errors import BedError
from lab.qemu.packages import PackageStore

ROOT = Path(__file__).resolve().parent.parent.parent.parent
# A build's harness/loopback.
BUILD = Path(os.environ.get("DISPLIF_CTS_LOOPBACK", ROOT / "build/test/harness/loopback"))
PROGRAM = BUILD / "displif-loopback"
LIBRARIES = BUILD / "xen-libraries"
CONTRACT = BUILD / "contract/displif-xen-contract"
PYTHON = "/usr/bin/python3"

pytestmark = pytest.mark.skipif(
    not (PROGRAM.exists() and CONTRACT.exists()), reason=f"{PROGRAM} is not built (./displif-cts test builds it)"
)


def eventually(holds: Callable[[], bool], what: str, limit: float = 10) -> None:
    end = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < end, f"waited {limit} s in vain for {what}"
        time.sleep(0.02)


class Machine:
    def __init__(self, directory: Path, domains: Sequence[str]) -> None:
        self.directory = directory
        options = [option for domain in domains for option in ("--domain", domain)]
        self.process = subprocess.Popen(
            [PROGRAM, "--dir", directory, "--with-parent", *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout and self.process.stdout.readline() == f"ready {directory}\n"
        self._started: list[subprocess.Popen[bytes]] = []

    def environment(self, domain: int) -> dict[str, str]:
        return {
            **os.environ,
            "LD_LIBRARY_PATH": str(LIBRARIES),
            "DISPLIF_LOOPBACK": str(self.directory),
            "DISPLIF_LOOPBACK_DOMAIN": str(domain),
            "XENSTORED_PATH": str(self.directory / f"store-{domain}.sock"),
        }

    def run(self, domain: int, *command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=self.environment(domain), capture_output=True, text=True,
                              timeout=120, **options)  # fmt: skip

    def start(self, domain: int, *command: str | Path, **options: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, env=self.environment(domain), **options)
        self._started.append(process)
        return process

    def tell(self, command: str) -> list[str]:
        """The lines of the answer without the last one, which must be `ok`."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        lines = []
        for line in self.process.stdout:
            if line == "ok\n":
                return lines
            assert not line.startswith("error"), line
            lines.append(line.rstrip("\n"))
        raise AssertionError("the machine has ended")

    def empty(self) -> bool:
        return all(line.startswith("domain ") and "grants 0 of" in line for line in self.tell("status"))

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait()
        self.process.terminate()
        assert self.process.wait(timeout=10) == 0
        assert list(self.directory.glob("*.sock")) == []


@pytest.fixture
def start_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Machine]]:
    machines: list[Machine] = []

    def start(*domains: str) -> Machine:
        machines.append(Machine(tmp_path_factory.mktemp("m"), domains))
        return machines[-1]

    yield start
    for machine in machines:
        machine.close()


@pytest.fixture
def machine(start_machine: Callable[..., Machine]) -> Machine:
    return start_machine("0", "1")


# --- the libraries


def installed(name: str) -> Path:
    """Where the linker finds Xen's own."""
    listing = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    match = re.search(rf"^\s*{re.escape(name)} .*=> (\S+)$", listing, re.MULTILINE)
    assert match, f"{name} is not installed"
    return Path(match.group(1))


def exports(library: Path) -> set[str]:
    text = subprocess.run(["nm", "-D", "--defined-only", "--with-symbol-versions", library],
                          capture_output=True, text=True, check=True).stdout  # fmt: skip
    return {line.split()[-1] for line in text.splitlines()}


def replacements() -> list[str]:
    return sorted(path.name for path in LIBRARIES.glob("lib*")) if LIBRARIES.exists() else ["none"]


def test_three_libraries_are_replaced() -> None:
    assert [name.split(".")[0] for name in replacements()] == ["libxenctrl", "libxenevtchn", "libxengnttab"]


@pytest.mark.parametrize("name", replacements())
def test_exports_equal_those_of_xens_library(name: str) -> None:
    ours, theirs = exports(LIBRARIES / name), exports(installed(name))
    assert len(theirs) > 10
    assert ours - theirs == set()
    assert theirs - ours == set()


@pytest.mark.parametrize("name", replacements())
def test_soname_is_that_of_xens_library(name: str) -> None:
    text = subprocess.run(["readelf", "-dW", LIBRARIES / name], capture_output=True, text=True, check=True).stdout
    assert f"Library soname: [{name}]" in text
    assert "libxentoollog" in text and "libxentoolcore" in text  # those stay real


CALL_ABSENT = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1], use_errno=True)
function = getattr(library, sys.argv[2])
function.restype = ctypes.c_void_p if sys.argv[3] == "pointer" else ctypes.c_int
ctypes.set_errno(0)
print(function(None), ctypes.get_errno())
"""


@pytest.mark.parametrize(
    ("function", "kind", "value"),
    [("xc_physinfo", "number", "-1"), ("xc_map_foreign_range", "pointer", "None"),
     ("xc__hypercall_buffer_alloc", "pointer", "None"), ("xc_cpumap_alloc", "pointer", "None")],
)  # fmt: skip
def test_functions_that_are_not_there_name_themselves(machine: Machine, function: str, kind: str, value: str) -> None:
    library = next(name for name in replacements() if name.startswith("libxenctrl"))
    result = machine.run(0, PYTHON, "-c", CALL_ABSENT, library, function, kind)
    assert result.stdout.split() == [value, "38"], result  # ENOSYS
    assert f"libxenctrl: {function}()" in result.stderr


OPEN = """
import ctypes, sys
library = ctypes.CDLL("libxenevtchn.so.1", use_errno=True)
library.xenevtchn_open.restype = ctypes.c_void_p
print(library.xenevtchn_open(None, 0), ctypes.get_errno())
"""


@pytest.mark.parametrize(
    ("changes", "number", "text"),
    [
        ({"DISPLIF_LOOPBACK": None}, 2, "DISPLIF_LOOPBACK is not set"),
        ({"DISPLIF_LOOPBACK_DOMAIN": None}, 2, "DISPLIF_LOOPBACK_DOMAIN is not set"),
        ({"DISPLIF_LOOPBACK_DOMAIN": "one"}, 22, "no domain id: one"),
        ({"DISPLIF_LOOPBACK_DOMAIN": "77"}, 3, "No such process"),
        ({"DISPLIF_LOOPBACK_DOMAIN": "77777"}, 22, "Invalid argument"),
        ({"DISPLIF_LOOPBACK": "/nowhere"}, 2, "/nowhere/machine.sock"),
        ({"DISPLIF_LOOPBACK": "/" + "x" * 200}, 36, "too long for a socket"),
    ],
)
def test_without_a_machine_opening_says_what_is_missing(
    machine: Machine, changes: dict[str, str | None], number: int, text: str
) -> None:
    environment: dict[str, str | None] = {**machine.environment(0), **changes}
    result = subprocess.run(
        [PYTHON, "-c", OPEN], env={k: v for k, v in environment.items() if v is not None},
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert result.stdout.split() == ["None", str(number)], result
    assert text in result.stderr


REEXEC = """
import ctypes, os, select, sys
library = ctypes.CDLL("libxenevtchn.so.1", use_errno=True)
library.xenevtchn_open.restype = library.xenevtchn_fdopen.restype = ctypes.c_void_p
pointer = ctypes.c_void_p
if len(sys.argv) == 1:
    handle = pointer(library.xenevtchn_open(None, 1))  # XENEVTCHN_NO_CLOEXEC
    fd = library.xenevtchn_fd(handle)
    port = library.xenevtchn_bind_unbound_port(handle, 0)
    other = pointer(library.xenevtchn_open(None, 1))
    os.execv(sys.executable, [sys.executable, "-c", open("/proc/self/cmdline").read().split("\\0")[2], str(fd), str(port)])
fd, port = int(sys.argv[1]), int(sys.argv[2])
handle = pointer(library.xenevtchn_fdopen(None, fd, 0))
other = pointer(library.xenevtchn_open(None, 0))
bound = library.xenevtchn_bind_interdomain(other, 0, port)
assert library.xenevtchn_notify(other, bound) == 0
assert select.select([fd], [], [], 5)[0]
assert library.xenevtchn_pending(handle) == port
assert library.xenevtchn_notify(handle, port) == 0
assert library.xenevtchn_close(handle) == 0
print("survived")
"""


def test_event_channels_survive_exec_when_asked_to(machine: Machine) -> None:
    result = machine.run(0, PYTHON, "-c", REEXEC)
    assert result.stdout == "survived\n", result
    eventually(machine.empty, "an empty machine")


# --- the contract


def judge(result: subprocess.CompletedProcess[str]) -> None:
    bad = [line for line in result.stdout.splitlines() if not line.startswith(("ok ", "1.."))]
    assert result.returncode == 0 and bad == [], "\n".join([*bad, result.stderr])
    plan = re.search(r"^1\.\.(\d+)$", result.stdout, re.MULTILINE)
    assert plan and int(plan.group(1)) == len(re.findall("^ok ", result.stdout, re.MULTILINE)) > 80


@pytest.mark.parametrize("domain", [0, 1])
def test_contract_holds_inside_one_domain(machine: Machine, domain: int) -> None:
    judge(machine.run(domain, CONTRACT))
    eventually(machine.empty, "an empty machine")


@pytest.mark.parametrize(("near", "far"), [(0, 1), (1, 0), (1, 2)])
def test_contract_holds_between_two_domains(start_machine: Callable[..., Machine], near: int, far: int) -> None:
    machine = start_machine("0", "1", "2")
    control = "/local/domain/1/data/contract"
    if (near, far) == (1, 2):  # two guests: the second one must be let in
        script = (
            "import ctypes; s = ctypes.CDLL('libxenstore.so.4'); s.xs_open.restype = ctypes.c_void_p;"
            "h = ctypes.c_void_p(s.xs_open(0)); p = (ctypes.c_uint * 4)(1, 0, 2, 3);"
            f"assert s.xs_write(h, 0, b'{control}', b'', 0); assert s.xs_set_permissions(h, 0, b'{control}', p, 2)"
        )
        result = machine.run(1, PYTHON, "-c", script)
        assert result.returncode == 0, result
    obeying = machine.start(far, CONTRACT, "--role", "far", "--peer", str(near), "--control", control)
    judge(machine.run(near, CONTRACT, "--role", "near", "--peer", str(far), "--control", control))
    assert obeying.wait(timeout=10) == 0
    eventually(machine.empty, "an empty machine")


def test_contract_program_rejects_what_it_does_not_know(machine: Machine) -> None:
    assert machine.run(0, CONTRACT, "--role", "middle").returncode == 2
    assert machine.run(0, CONTRACT, "--role", "near").returncode == 2  # and no peer
    assert machine.run(0, CONTRACT, "--test", "no_such_test").returncode == 3


# --- processes and domains end


def test_killed_process_leaves_nothing_and_its_domain_lives(machine: Machine) -> None:
    proxy = debian("vchan-socket-proxy")
    machine.run(0, debian("xenstore-write"), "data", "")
    server = machine.start(0, proxy, "-m", "server", "1", "data/v", "-", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    eventually(lambda: any("port" in line for line in machine.tell("status")), "the server's port")
    server.kill()
    server.wait()
    eventually(machine.empty, "the end of all that the process had")
    assert len(machine.tell("status")) == 2


def test_domain_dies_with_its_last_process_when_it_is_to(start_machine: Callable[..., Machine]) -> None:
    machine = start_machine("0", "1,ends-with-processes")
    watch = machine.start(0, debian("xenstore-watch"), "-n", "2", "@releaseDomain", stdout=subprocess.PIPE)
    far = machine.start(1, CONTRACT, "--role", "far", "--peer", "0", start_new_session=True)
    result = machine.run(0, CONTRACT, "--role", "near", "--peer", "1", "--test", "events_go_both_ways")
    assert result.returncode == 0, result
    assert far.wait(timeout=10) == 0
    eventually(lambda: len(machine.tell("status")) == 1, "the domain's end")
    assert watch.wait(timeout=10) == 0  # the first event, and the domain's release


# --- Debian's own programs, unmodified


_unpacked: list[Path] = []


def debian(program: str) -> Path:
    """A program out of Debian's packages, downloaded and unpacked, not installed."""
    if not _unpacked:
        arch = subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()
        store = PackageStore(Cache(), arch, lambda *_: None)
        try:
            wanted, packages = store.standard()
            names = [name for name in wanted.tools if name.startswith("xen-utils-")] + ["xenstore-utils"]
            _unpacked.extend(store.unpack(packages[name] for name in names).values())
        except BedError as error:
            pytest.skip(str(error))
        finally:
            store.close()
    for folder in _unpacked:
        for found in folder.glob(f"usr/**/{program}"):
            if os.access(found, os.X_OK):
                return found
    raise AssertionError(f"Debian's packages have no {program}")


def test_debians_test_xenstore_passes(machine: Machine) -> None:
    result = machine.run(0, debian("test-xenstore"), "-i", "20")
    assert result.returncode == 0, result
    assert len(re.findall(r"^[\w ]+: avg: \d+ ns", result.stdout, re.MULTILINE)) >= 12, result.stdout


def test_debians_xenstore_tools(machine: Machine) -> None:
    def tool(domain: int, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return machine.run(domain, debian(f"xenstore-{name}"), *arguments)

    assert tool(1, "read", "domid").stdout == "1\n"
    assert tool(1, "write", "data/a", "one", "data/b", "two").returncode == 0
    assert tool(1, "list", "data").stdout == "a\nb\n"
    assert tool(0, "read", "/local/domain/1/data/a").stdout == "one\n"
    assert 'b = "two"' in tool(0, "ls", "/local/domain/1").stdout
    assert tool(0, "write", "/secret", "x").returncode == 0
    assert tool(1, "read", "/secret").returncode != 0
    assert tool(0, "chmod", "/secret", "n0", "r1").returncode == 0
    assert tool(1, "read", "/secret").stdout == "x\n"
    assert "(n0,r1)" in tool(0, "ls", "-p", "/secret/..").stdout or "(n0,r1)" in tool(0, "ls", "-p", "/").stdout
    assert tool(1, "write", "/secret", "y").returncode != 0
    assert tool(1, "exists", "data/a").returncode == 0
    assert tool(1, "rm", "data/a").returncode == 0
    assert tool(1, "exists", "data/a").returncode != 0


def test_debians_xenstore_watch(machine: Machine) -> None:
    watch = machine.start(1, debian("xenstore-watch"), "-n", "2", "data", stdout=subprocess.PIPE)
    assert watch.stdout
    assert watch.stdout.readline() == b"data\n"
    machine.run(0, debian("xenstore-write"), "/local/domain/1/data/x", "1")
    assert watch.stdout.readline() == b"data/x\n"
    assert watch.wait(timeout=10) == 0


@pytest.mark.parametrize(("server", "client"), [(0, 1), (1, 0)])
def test_debians_vchan_proxy(machine: Machine, server: int, client: int) -> None:
    proxy = debian("vchan-socket-proxy")
    node = f"/local/domain/{server}/data/channel"
    if server == 0:
        machine.run(0, debian("xenstore-write"), node, "")
        for path in (node.rsplit("/", 1)[0], node):
            assert machine.run(0, debian("xenstore-chmod"), path, "n0", "r1").returncode == 0
    options: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    one = machine.start(server, proxy, "-m", "server", str(client), node, "-", **options)
    two = machine.start(client, proxy, "-m", "client", str(server), node, "-", **options)
    assert one.stdin and one.stdout and two.stdin and two.stdout
    data = os.urandom(200_000)
    for sender, receiver in ((one, two), (two, one)):
        assert sender.stdin and receiver.stdout
        for start in range(0, len(data), 1000):
            sender.stdin.write(data[start : start + 1000])
            sender.stdin.flush()
            assert receiver.stdout.read(len(data[start : start + 1000])) == data[start : start + 1000]
    # The client dies; the server sees it by the unmap notification.
    two.kill()
    two.wait()
    assert one.stdout.read(1) == b""
    one.stdin.close()
    eventually(machine.empty, "the end of the channel")


# --- the program


@pytest.mark.parametrize("domain", ["x", "40000", "1,unknown=3", "1,shared-pages=many", "", "-1"])
def test_bad_domain_is_bad_usage(domain: str, tmp_path: Path) -> None:
    result = subprocess.run([PROGRAM, "--dir", tmp_path, f"--domain={domain}"], capture_output=True, text=True,
                            timeout=30, stdin=subprocess.DEVNULL)  # fmt: skip
    assert result.returncode in (2, 106, 114), result
    assert result.stdout == "" and result.stderr != ""


def test_directory_that_is_missing_or_taken_is_said(machine: Machine, tmp_path: Path) -> None:
    for folder in (tmp_path / "missing", machine.directory):
        result = subprocess.run([PROGRAM, "--dir", folder], capture_output=True, text=True, timeout=30,
                                stdin=subprocess.DEVNULL)  # fmt: skip
        assert result.returncode == 3 and str(folder) in result.stderr, result
    assert machine.empty()  # the one that was there goes on


def test_commands(machine: Machine) -> None:
    machine.tell("add 5,name=fifth")
    assert any(line.startswith("domain 5 fifth") for line in machine.tell("status"))
    assert f"DISPLIF_LOOPBACK={machine.directory}" in machine.tell("environment 5")
    machine.tell("shutdown 5 3")
    assert any("domain 5 fifth shutdown" in line for line in machine.tell("status"))
    machine.tell("kill 5")
    machine.tell("reset")
    assert machine.tell("status") == []
    assert machine.process.stdin and machine.process.stdout
    machine.process.stdin.write("kill 5\n")
    machine.process.stdin.flush()
    assert machine.process.stdout.readline().startswith("error domain 5: No such process")


def test_ends_by_signal_without_leaving_anything(tmp_path: Path) -> None:
    process = subprocess.Popen([PROGRAM, "--dir", tmp_path], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    assert process.stdout and process.stdout.readline().startswith("ready ")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 0
    assert list(tmp_path.iterdir()) == []


