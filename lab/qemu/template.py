"""RAM templates: a machine booted once, saved as RAM file + device state, and copied for every instance.

Stage 1: Xen, dom0 with its tool stack and the agent, and the guest with the exerciser connected to the agent.
Stage 2: a copy of stage 1 with the driver under test loaded into the guest. A new driver costs a second, not a boot.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import timer
from .agent import AgentChannel
from .binaries import ELF, ModuleTree, build_id, module_info, module_name, read
from .cache import disk_full, file_hash
from .errors import AgentTimeout, BedError, InstanceDied
from .images import DRIVER_MODULES, Ingredients, blank_disk, build_images, stock_path
from .machine import Machine, Shape

# A RAM file occupies some 350 MB, and a template is two of them.
FREE_BYTES_NEEDED = 1 << 30
# About 14 s on two quiet cores; the limit is for loaded and slow ones.
BOOT_TIMEOUT_S = 240.0

Progress = Callable[[str, float | None], None]


@contextmanager
def phase(name: str, progress: Progress, timings: dict[str, float]) -> Iterator[None]:
    progress(name, None)
    start = time.monotonic()
    yield
    timings[name] = time.monotonic() - start
    progress(name, timings[name])


@contextmanager
def running(machine: Machine, root: Path) -> Iterator[AgentChannel]:
    """The machine's agent. The machine ends with the block; if it did so before, the message shows its last words."""
    channel = AgentChannel(machine.agent_socket)
    try:
        yield channel
    except (InstanceDied, AgentTimeout) as error:
        # QEMU writes RAM through a mapping: a full disk is a SIGBUS for it, not an error code.
        if shutil.disk_usage(root).free < 16 << 20:
            raise BedError(*disk_full(root)) from error
        raise type(error)(f"{error.message}\n{machine.last_words()}", error.hint) from error
    finally:
        machine.close()
        channel.close()


def build_booted(parts: Ingredients, target: Path, progress: Progress, timings: dict[str, float]) -> None:
    """Stage 1, into the directory `target`; its parent is used as scratch space."""
    work = target.parent
    if shutil.disk_usage(work).free < FREE_BYTES_NEEDED:
        raise BedError(*disk_full(work.parent.parent))
    target.mkdir()
    with phase("build dom0 and guest images", progress, timings):
        build_images(parts, work)
    with phase("boot Xen, dom0 and the guest", progress, timings):
        machine = Machine(work, "new/ram", work / "disk", target, shared=True, boot=True, shape=parts.shape)
        with running(machine, work) as agent:
            hello = wait_connected(agent, machine)
            facts = {
                "hello": hello,
                "guest": agent.require("guest.hello"),
                "xen_build_id": build_id(work / "xen"),
            }
            quiet(agent)
            machine.save_state(target / "state")
    (target / "facts.json").write_text(json.dumps(facts, indent=1))


def wait_connected(agent: AgentChannel, machine: Machine) -> dict[str, Any]:
    deadline = time.monotonic() + BOOT_TIMEOUT_S
    first = agent.submit("hello")
    while not first.done():
        check_boot(machine, deadline)
        time.sleep(0.1)
    while True:
        hello = agent.require("hello", timeout=30)
        if hello.get("guest_connected"):
            return hello
        check_boot(machine, deadline)
        time.sleep(0.1)


def check_boot(machine: Machine, deadline: float) -> None:
    """Fails at once on what the consoles say, rather than after the whole time limit."""
    log = machine.serial_log.read_text(errors="replace") if machine.serial_log.exists() else ""
    for sign, meaning in {
        "Kernel panic": "dom0's kernel panicked",
        "Panic on CPU": "Xen panicked",
        "bed: the guest could not be created": "xl could not create the guest",
    }.items():
        if sign in log:
            text = f"the machine does not boot: {meaning}\n{machine.last_words()}"
            raise BedError(text, "with --kernel or --xen: try without them")
    if not machine.alive():
        raise InstanceDied(f"QEMU ended while booting, status {machine.process.returncode}")
    if time.monotonic() > deadline:
        text = f"the machine did not come up within {BOOT_TIMEOUT_S:g} s\n{machine.last_words()}"
        raise BedError(text, "is the host overloaded?")


def quiet(agent: AgentChannel) -> None:
    """Lets what booting started come to rest, so that every instance begins with an idle machine."""
    agent.require("sh", command="sync; echo 3 >/proc/sys/vm/drop_caches; sleep 0.5")


@dataclass(frozen=True)
class DriverModule:
    """One module that stage 2 loads: handed in (`file`), or the guest's own from its initramfs (`file` is None)."""

    name: str
    depends: tuple[str, ...]
    vermagic: str
    file: Path | None
    origin: Path  # where its bytes are on this host, either way

    @property
    def guest_path(self) -> str:
        return f"/tmp/{self.name}.ko" if self.file else stock_path(self.name)


def choose_driver(handed_in: list[Path], tree: ModuleTree) -> list[DriverModule]:
    """The modules to load, dependencies first.

    A module handed in replaces the guest's own of that name. Whoever hands in a driver of another name does not get
    drm_xen_front beside it; xen-front-pgdir-shbuf comes along when something needs it.
    """
    chosen: dict[str, DriverModule] = {}
    for path in handed_in:
        info = module_info(read(path), str(path))
        chosen[info.name] = DriverModule(info.name, info.depends, info.vermagic, path, path)
    driver = [module_name(name) for name in DRIVER_MODULES]
    wanted = list(chosen) if set(chosen) - set(driver) else list(dict.fromkeys([*chosen, driver[-1]]))
    order: list[DriverModule] = []

    def add(name: str) -> None:
        if name not in chosen and name in driver and tree.has(name):
            info = tree.info(name)
            chosen[name] = DriverModule(name, info.depends, info.vermagic, None, tree.path(name))
        if name not in chosen or chosen[name] in order:
            return  # loaded by the guest's init, or built in, or reported by the kernel as missing
        for need in chosen[name].depends:
            add(module_name(need))
        order.append(chosen[name])

    for name in wanted:
        add(name)
    if not order and not tree.builtin(driver[-1]):
        raise BedError(
            f"the guest's kernel {tree.release} has no {driver[-1]}",
            "hand the driver in by --module FILE.ko or --driver-source DIR",
        )
    return order


def build_with_driver(base: Path, driver: list[DriverModule], release: str, shape: Shape, target: Path) -> None:
    """Stage 2: `base` with the driver loaded into its guest, whose kernel is `release`."""
    with changed(base, shape, target) as (agent, facts):
        check_xen(agent, facts)
        facts["modules"] = {module.name: load_module(agent, module, release) for module in driver}


@contextmanager
def changed(base: Path, shape: Shape, target: Path, make_disk: Callable[[Path], None] = blank_disk) -> Iterator[tuple[AgentChannel, dict[str, Any]]]:
    """A copy of `base` that runs, to be changed; with the block's end it becomes the template `target`, with the facts as they
    are then. `target`'s parent is used as scratch space."""
    work = target.parent
    if shutil.disk_usage(work).free < FREE_BYTES_NEEDED:
        raise BedError(*disk_full(work.parent.parent))
    target.mkdir()
    copy_sparse(base / "ram", target / "ram")
    make_disk(work / "disk")
    facts = json.loads((base / "facts.json").read_text())
    machine = Machine(work, "new/ram", work / "disk", target, shared=True, state=base / "state", shape=shape)
    with running(machine, work) as agent:
        timer.set_again(agent, shape.hardware)
        yield agent, facts
        quiet(agent)
        machine.save_state(target / "state")
    (target / "facts.json").write_text(json.dumps(facts, indent=1))


def copy_sparse(source: Path, target: Path) -> None:
    command = ["cp", "--sparse=always", "--reflink=auto", str(source), str(target)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        if "No space left" in result.stderr:
            raise BedError(*disk_full(target.parent))
        raise BedError(f"the RAM template cannot be copied: {result.stderr.strip()}")


# Linux passes the octets on as a string (drivers/xen/sys-hypervisor.c, buildid_show), to dom0 only.
XEN_BUILD_ID_COMMAND = "hexdump -ve '1/1 \"%02x\"' /sys/hypervisor/properties/buildid"


def check_xen(agent: AgentChannel, facts: dict[str, Any]) -> None:
    """The hypervisor that runs is the one that was handed in, by its own word."""
    seen = agent.require("sh", command=XEN_BUILD_ID_COMMAND).get("output", "")
    facts["xen_running_build_id"] = seen
    if not same_build_id(seen, facts["xen_build_id"]):
        raise BedError(f"the running Xen has build id {seen}, the file {facts['xen_build_id']}")


def same_build_id(seen: str, expected: str) -> bool:
    """Equal, or cut where the expected one has a zero octet: what Linux shows is a string."""
    octets = bytes.fromhex(expected)
    return bytes.fromhex(seen) == octets.partition(b"\0")[0]


def load_module(agent: AgentChannel, module: DriverModule, release: str) -> dict[str, str]:
    """Loads one module and returns who it is; the kernel's own words when it will not have it."""
    data = read(module.origin)
    if module.file:
        agent.put(module.guest_path, data, guest=True)
    before = agent.require("guest.klog").get("next", 0)
    answer = agent.call("guest.load-module", path=module.guest_path)
    if not answer.get("ok"):
        raise BedError(
            f"the guest's kernel {release} refuses {module.origin}: {answer.get('errno')}"
            + kernel_words(agent, before, module.name),
            f"the module was built for {module.vermagic.split()[0]}; build it against {release}'s headers"
            " (--driver-source DIR does), or boot its own kernel by --kernel IMAGE --modules DIR",
        )
    state = agent.require("guest.module", name=module.name)
    expected = build_id(module.origin) if data[:4] == ELF else ""
    seen = state.get("build_id", "")
    if expected and seen != expected:
        raise BedError(f"the guest runs {module.name} with build id {seen}, the file has {expected}")
    return {"file": str(module.origin), "sha256": file_hash(module.origin), "build_id": seen or expected}


def kernel_words(agent: AgentChannel, since: int, name: str) -> str:
    lines = agent.call("guest.klog", offset=since).get("lines", [])
    texts = [line.get("text", "") for line in lines]
    return "".join(f"\n  | {text}" for text in texts if name in text or "module" in text.lower())
