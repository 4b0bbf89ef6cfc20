"""The second arrangement of the backend role: the backend in an unprivileged driver domain of its own.

dom0's privilege hides permission faults, and driver domains are what the protocol was made for. The domain is of the
guest's type, with a relay in it (harness/agent/relay.h), over which dom0 starts the backend.
"""

from __future__ import annotations

from pathlib import Path

from .agent import AgentChannel
from .architecture import Architecture
from .cache import file_hash
from .cpio import CpioWriter
from .errors import BedError
from .images import GNTALLOC, GRANT_FRAMES, HERE, Ingredients, add_common, add_modules, make_ext2

NAME = "driver"
MODULES = ["xen-evtchn", "xen-gntdev", "xen-gntalloc", "xenfs"]
MEMORY_MB = 256
CONFIG = """\
name = "{name}"
type = "{type}"
kernel = "/carried/kernel"
ramdisk = "/carried/initramfs"
cmdline = "console=hvc0 rdinit=/init panic=0 mitigations=off lsm= audit=0 psi=0 noautogroup cryptomgr.notests=1 {cmdline}"
memory = {memory}
vcpus = 1
max_grant_frames = {frames}
{more}driver_domain = 1
on_crash = "preserve"
on_poweroff = "preserve"
on_reboot = "preserve"
"""
BOOT_SECONDS = 240.0


INIT = HERE / "init" / "driver"


def config(architecture: Architecture) -> str:
    return CONFIG.format(name=NAME, type=architecture.guest_type, cmdline=architecture.guest_command_line, memory=MEMORY_MB,
                         frames=GRANT_FRAMES, more=architecture.guest_config)


def description(architecture: Architecture) -> list[str]:
    """What a domain depends on beside what it holds, for the template's key."""
    return [config(architecture), file_hash(INIT), *MODULES]


def make_disk(parts: Ingredients, content: dict[str, Path], work: Path, target: Path) -> None:
    """A disk with the domain's kernel and its initramfs, which holds `content`: path there -> file here."""
    boot = work / "driver"
    boot.mkdir()
    (boot / "kernel").write_bytes(parts.architecture.unpack_kernel(parts.dom0_kernel))
    with (boot / "initramfs").open("wb") as out:
        archive = CpioWriter(out)
        add_common(archive, parts, INIT)
        add_modules(archive, parts.dom0_modules, parts.dom0_modules.load_order(MODULES), GNTALLOC)
        for name, path in content.items():
            archive.copy(name, path, 0o755)
        archive.close()
    (boot / "config").write_text(config(parts.architecture))
    make_ext2(boot, target, "driver")


def create(agent: AgentChannel, relay: str) -> int:
    """Creates the domain from the disk that make_disk() made and waits until it runs programs; returns its id."""
    # No console daemon's log is read: what happens in it shows in what the peer says.
    script = ("mount -t ext4 -o ro /dev/vda /carried && xl create /carried/config >/tmp/xl.log 2>&1; status=$?; "
              f"umount /carried; [ $status = 0 ] || {{ cat /tmp/xl.log; exit 1; }}; xl domid {NAME}")
    answer = agent.require("sh", timeout=BOOT_SECONDS, command=script, timeout_ms=int(1000 * BOOT_SECONDS))
    if answer.get("status") != 0:
        raise BedError(f"xl could not create the driver domain: {str(answer.get('output', '')).strip()[-500:]}")
    domain = int(str(answer["output"]).split()[-1])
    probe = f"{relay} serve --domain {domain} -- /bin/busybox true"
    answer = agent.require("sh", timeout=BOOT_SECONDS, command=probe, timeout_ms=int(1000 * BOOT_SECONDS))
    if answer.get("status") != 0:
        raise BedError(f"the driver domain runs no programs: {str(answer.get('output', '')).strip()[-500:]}")
    return domain
