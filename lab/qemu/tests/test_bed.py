"""The bed itself: a real machine, booted once (or out of the cache) and restored for every test.

The programs come from DISPLIF_CTS_PROGRAMS, or are built as `./displif-cts run` builds them.
"""

import os
import re
import threading
import time
from pathlib import Path

import pytest

from lab.qemu import AgentTimeout, Bed, BedError, BedOptions, InstanceDied
from lab.qemu.binaries import build_id
from lab.qemu.template import XEN_BUILD_ID_COMMAND, same_build_id

pytestmark = pytest.mark.bed


@pytest.fixture(scope="module")
def programs():
    if path := os.environ.get("DISPLIF_CTS_PROGRAMS"):
        return Path(path)
    from lab.build import build_carried
    from lab.progress import Progress

    return build_carried(Progress()).bin


@pytest.fixture(scope="module")
def bed(programs):
    with Bed(BedOptions(), programs) as bed:
        bed.prepare()
        yield bed


def carried(bed, root, text):
    """A disk with one script, /carried/bin/try, whose first word selects what it does."""
    (root / "bin").mkdir(parents=True)
    script = root / "bin" / "try"
    script.write_text(
        "#!/bin/busybox sh\n"
        "case $1 in\n"
        f"  say) echo '{text}';;\n"
        "  partial) printf 'one\\n\\ntwo';;\n"
        "  many) seq 1 $2;;\n"
        "  status) echo some words >&2; exit $2;;\n"
        "  die) kill -SEGV $$;;\n"
        "  hang) echo begun; sleep 1000;;\n"
        "  env) echo $WORD;;\n"
        "esac\n"
    )
    script.chmod(0o755)
    return bed.make_disk(root)


@pytest.fixture(scope="module")
def disk(bed, tmp_path_factory):
    return carried(bed, tmp_path_factory.mktemp("a") / "carried", "first disk")


@pytest.fixture
def vm(bed, disk):
    with bed.instance(disk) as vm:
        yield vm


def run(vm, *words, timeout=60.0, **options):
    lines = []
    status = vm.run(["/carried/bin/try", *words], lines.append, timeout, **options)
    return status, lines


def test_a_warm_start_builds_nothing(bed, programs):
    phases = []
    with Bed(BedOptions(), programs, lambda phase, _: phases.append(phase)) as again:
        again.prepare()
    assert set(phases) == {"packages"}


def test_restored_machine_answers(bed, disk):
    with bed.instance(disk) as vm:
        hello = vm.agent.require("hello", timeout=10)
        assert hello["guest_connected"] and hello["guest_domid"] == 1
        assert vm.agent.require("guest.hello", timeout=10)["kernel"] == bed.kernel_release
        assert vm.alive()
    assert not vm.alive()


def test_plain_emulation_only(vm):
    arguments = Path(f"/proc/{vm.pid}/cmdline").read_bytes().split(b"\0")
    assert b"tcg,thread=multi" in arguments and not any(b"kvm" in a for a in arguments)


def test_guest_is_at_rest_and_has_no_device(vm):
    assert vm.agent.require("domain")["state"] in ("running", "blocked")
    assert vm.agent.require("sh", command="xenstore-ls /local/domain/0/backend")["output"].find("vdispl") < 0


def test_it_is_real(bed, vm):
    """Build ids as the running machine tells them, against the files out of Debian's packages."""
    facts = bed.facts()
    seen = vm.agent.require("sh", command=XEN_BUILD_ID_COMMAND)["output"]
    assert seen and same_build_id(seen, facts["xen"]["build_id"])
    for name in ("drm_xen_front", "xen_front_pgdir_shbuf"):
        seen = vm.agent.require("guest.module", name=name)
        assert seen["loaded"]
        assert seen["build_id"] == facts["modules"][name]["build_id"]
        assert seen["build_id"] == build_id(Path(facts["modules"][name]["file"]))
    names = [package["name"] for package in facts["packages"]]
    assert any(re.match(r"linux-image-\d", name) for name in names)
    assert all(re.fullmatch("[0-9a-f]{64}", package["sha256"]) for package in facts["packages"])


def test_run_passes_lines_on(vm):
    assert run(vm, "say") == (0, [b"first disk"])
    assert run(vm, "partial") == (0, [b"one", b"", b"two"])
    assert run(vm, "env", env={"WORD": "a b,c=d%"}) == (0, [b"a b,c=d%"])


def test_run_loses_nothing(vm):
    status, lines = run(vm, "many", "20000")
    assert status == 0
    assert lines == [str(n).encode() for n in range(1, 20001)]


def test_run_tells_the_status(vm):
    assert run(vm, "status", "7") == (7, [])
    assert vm.stderr == "some words\n"
    assert run(vm, "die") == (128 + 11, [])
    with pytest.raises(BedError) as error:
        vm.run(["/carried/bin/absent"], lambda _: None, 30)
    assert "/carried/bin/absent" in error.value.message


def test_run_has_a_limit(vm):
    lines = []
    with pytest.raises(AgentTimeout) as error:
        vm.run(["/carried/bin/try", "hang"], lines.append, 3)
    assert "did not end within 3 s" in error.value.message
    assert lines == [b"begun"]
    assert run(vm, "say") == (0, [b"first disk"])


def test_every_instance_is_its_own(bed, disk, tmp_path):
    other = carried(bed, tmp_path / "carried", "second disk")
    with bed.instance(disk) as one, bed.instance(other) as two:
        assert run(one, "say")[1] == [b"first disk"]
        assert run(two, "say")[1] == [b"second disk"]
        one.agent.put("/tmp/mark", b"here")
        assert one.agent.require("sh", command="cat /tmp/mark")["output"] == "here"
        assert two.agent.require("sh", command="cat /tmp/mark")["status"] != 0
    with bed.instance(disk) as later:
        assert later.agent.require("sh", command="cat /tmp/mark")["status"] != 0


def test_several_at_once(bed, disk):
    failures = []

    def use():
        try:
            with bed.instance(disk) as vm:
                for _ in range(3):
                    assert run(vm, "many", "50")[0] == 0
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_qemu_killed_from_outside(bed, disk):
    with bed.instance(disk) as vm:
        threading.Timer(0.5, os.kill, (vm.pid, 9)).start()
        with pytest.raises(InstanceDied):
            run(vm, "hang", timeout=60)
        with pytest.raises(InstanceDied):
            vm.agent.call("hello", timeout=10)
        assert not vm.alive()
    with bed.instance(disk) as vm:
        assert run(vm, "say")[0] == 0


def test_dom0_panic_is_a_lost_instance(bed, disk, tmp_path):
    with bed.instance(disk, log_directory=tmp_path) as vm, pytest.raises(InstanceDied):
        vm.agent.call("sh", timeout=60, command="echo c >/proc/sysrq-trigger")
    assert "sysrq" in (tmp_path / "serial.log").read_text(errors="replace")


def test_guest_panic_is_seen(vm):
    vm.agent.submit("guest.panic", timeout_ms=2000)
    deadline = time.monotonic() + 20
    state = {}
    while time.monotonic() < deadline and state.get("state") != "crashed":
        state = vm.agent.require("domain")
        time.sleep(0.1)
    assert state["state"] == "crashed"
    assert "Kernel panic" in vm.agent.require("guest-log", offset=0)["text"]


def test_nothing_is_left(bed, disk):
    before = set((bed.cache_root / "tmp").iterdir())
    with bed.instance(disk) as vm:
        pid = vm.pid
    assert not Path(f"/proc/{pid}").exists()
    assert set((bed.cache_root / "tmp").iterdir()) <= before


@pytest.fixture
def stock_driver(bed):
    return Path(bed.facts()["modules"]["drm_xen_front"]["file"])


def test_module_for_another_kernel(programs, stock_driver, tmp_path):
    foreign = tmp_path / "drm_xen_front.ko"
    foreign.write_bytes(stock_driver.read_bytes().replace(b" SMP preempt", b" UPX preempt"))
    with Bed(BedOptions(module=[foreign]), programs) as bed, pytest.raises(BedError) as error:
        bed.prepare()
    assert "refuses" in error.value.message and str(foreign) in error.value.message
    assert "--kernel" in error.value.hint


def test_module_handed_in_is_the_one_that_runs(programs, disk, stock_driver, tmp_path):
    """Debian's module with another build id: the last byte of the note is turned, the signature cut off."""
    data = bytearray(stock_driver.read_bytes())
    trailer = b"~Module signature appended~\n"
    assert data.endswith(trailer)
    # struct module_signature: 12 octets, the last four the signature's length (include/linux/module_signature.h).
    signature = int.from_bytes(data[-len(trailer) - 4 : -len(trailer)], "big")
    del data[-len(trailer) - 12 - signature :]
    note = bytes.fromhex(build_id(stock_driver))
    place = data.index(note)
    data[place + len(note) - 1] ^= 0xFF
    mine = tmp_path / "drm_xen_front.ko"
    mine.write_bytes(data)
    with Bed(BedOptions(module=[mine]), programs) as bed:
        bed.prepare()
        with bed.instance(disk) as vm:
            seen = vm.agent.require("guest.module", name="drm_xen_front")["build_id"]
    assert seen == build_id(mine) != build_id(stock_driver)
