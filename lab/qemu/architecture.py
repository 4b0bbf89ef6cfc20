"""What differs between the machines of one architecture and those of another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from . import binaries


class BootArguments(Protocol):
    """QEMU's arguments that boot `xen` and `dom0-kernel` with `dom0-initramfs`, files of its working directory."""

    def __call__(self, xen_command_line: str, dom0_command_line: str) -> list[str]: ...


@dataclass(frozen=True)
class Hardware:
    """The emulated machine. A saved device state fits exactly this."""

    qemu: str
    package: str  # that QEMU is in
    machine: str
    cpu: str
    devices: tuple[str, ...]  # channels and disk
    display: tuple[str, ...]  # the display device, for backends that want one; none: the bed has none
    firmware: tuple[str, ...]
    xen_command_line: str
    dom0_command_line: str
    boot: BootArguments
    loses_hypervisor_timer: bool = False  # QEMU does not save it (timer.py)
    memory_mb: int = 1536

    def arguments(self) -> list[str]:
        # TCG always, also where /dev/kvm exists: nested PV under KVM is not what the templates are made for.
        return [
            "-machine", f"{self.machine},memory-backend=ram", "-cpu", self.cpu, "-accel", "tcg,thread=multi",
            "-name", "displif-cts,debug-threads=on", "-m", str(self.memory_mb), "-nodefaults", "-no-user-config", "-display", "none",
            "-no-reboot",
        ]  # fmt: skip


@dataclass(frozen=True)
class Architecture:
    name: str  # as Debian has it
    triplet: str
    linker: str  # the dynamic linker's path
    elf_machine: int  # elf.h, e_machine
    hardware: Hardware
    hypervisor: str  # where Debian's package has Xen
    guest_type: str  # as xl has it
    guest_config: str  # what only this architecture's guests are configured with
    guest_command_line: str
    # What Xen is told where a driver domain is: by default Xen for Arm lets guests talk to dom0 only (SILO, xen/common/Kconfig).
    xen_with_driver_domain: str
    dom0_modules: tuple[str, ...]  # drivers of the hardware's channels and disk
    unpack_kernel: Callable[[Path], bytes]  # an image as QEMU and xl start it
    unpack_xen: Callable[[Path], bytes]
    ships_driver: bool  # Debian's kernel has the driver; else it is built from its source

    def library_target(self, name: str) -> str:
        """Where a domain has a library: the ABI fixes the dynamic linker's path, all others are in its default folder."""
        return self.linker if name == Path(self.linker).name else f"lib/{self.triplet}/{name}"


DOM0_MEMORY_MB = 640
# Scrubbing costs seconds under emulation and protects nobody here; 64 frames as in the guest's config.
XEN_COMMAND_LINE = (
    f"loglvl=all guest_loglvl=all dom0_mem={DOM0_MEMORY_MB}M,max:{DOM0_MEMORY_MB}M dom0_max_vcpus=1 gnttab_max_frames=64 bootscrub=0"
)
# For dom0 only, as it is not what is tested: no zeroing of every page, no security modules, no self-tests of ciphers.
# norandmaps: the emulator translates a program again wherever else it is mapped.
DOM0_COMMAND_LINE = (
    "console=hvc0 rdinit=/init init_on_alloc=0 lsm= audit=0 psi=0 mitigations=off noautogroup cryptomgr.notests=1 swiotlb=4096 norandmaps"
)


def _boot_x86(xen_command_line: str, dom0_command_line: str) -> list[str]:
    return ["-kernel", "xen", "-append", xen_command_line, "-initrd", f"dom0-kernel {dom0_command_line},dom0-initramfs"]


# Linux numbers vportNpM by virtio device, in the order of the bus: the ports must come first there.
def _ports(device: str) -> tuple[str, ...]:
    return (
        "-device", f"{device},id=ports",
        "-device", "virtserialport,bus=ports.0,nr=1,chardev=agent,name=displif-cts.agent",
        "-device", "virtserialport,bus=ports.0,nr=2,chardev=stream,name=displif-cts.stream",
    )  # fmt: skip


AMD64 = Architecture(
    name="amd64",
    triplet="x86_64-linux-gnu",
    linker="lib64/ld-linux-x86-64.so.2",
    elf_machine=62,
    hardware=Hardware(
        qemu="qemu-system-x86_64",
        package="qemu-system-x86",
        machine="q35",
        # smap=off: QEMU 7.2's emulated iretq faults in a PV kernel otherwise, and dom0 dies at once.
        # fsgsbase=off: with it Linux asks Xen for a base at every context switch (arch/x86/kernel/process_64.c, save_fsgs), a
        # fifth of dom0's time. erms, fsrm: the emulator moves octet by octet what Linux then leaves to one instruction.
        # xsave, avx: where domains share a processor, programs in dom0 were seen to find their heap damaged, and machines to
        # wedge, under QEMU 7.2's emulation of the extended state; never without it.
        cpu="max,smap=off,fsgsbase=off,erms=off,fsrm=off,xsave=off,avx=off,avx2=off",
        devices=(*_ports("virtio-serial-pci,addr=3"), "-device", "virtio-blk-pci,drive=carried,addr=4"),
        # QEMU's standard VGA, which the module bochs drives (plain virtio-vga showed black in a PV dom0). Its preferred
        # mode is that of the first connector that a case makes.
        display=("-device", "VGA,addr=5,vgamem_mb=64,xres=1024,yres=768"),
        firmware=("bios-256k.bin", "multiboot_dma.bin", "multiboot.bin"),
        xen_command_line=f"console=com1 com1=115200,8n1 {XEN_COMMAND_LINE} spec-ctrl=no xpti=no pv-l1tf=no cpufreq=none",
        # The TSC is the host's, so programs read the clock without a system call.
        dom0_command_line=f"{DOM0_COMMAND_LINE} tsc=reliable clocksource=tsc",
        boot=_boot_x86,
    ),
    hypervisor="boot/xen-*.gz",
    guest_type="pv",
    # Xen would take each reading of the TSC as a trap: it does not trust an emulated processor's.
    guest_config='tsc_mode = "native"\n',
    guest_command_line="tsc=unstable",
    xen_with_driver_domain="",
    dom0_modules=("virtio_pci", "virtio_console", "virtio_blk"),
    unpack_kernel=binaries.unpack_vmlinux,
    unpack_xen=binaries.unpack_xen,
    ships_driver=True,
)


def _boot_arm(xen_command_line: str, dom0_command_line: str) -> list[str]:
    """QEMU describes dom0's kernel and initramfs to Xen in the device tree (docs/system/guest-loader.rst)."""
    bootargs = dom0_command_line.replace(",", ",,")
    return [
        "-kernel", "xen", "-append", xen_command_line,
        "-device", f"guest-loader,addr=0x50000000,kernel=dom0-kernel,bootargs={bootargs}",
        "-device", "guest-loader,addr=0x58000000,initrd=dom0-initramfs",
    ]  # fmt: skip


ARM64 = Architecture(
    name="arm64",
    triplet="aarch64-linux-gnu",
    linker="lib/ld-linux-aarch64.so.1",
    elf_machine=183,
    hardware=Hardware(
        qemu="qemu-system-aarch64",
        package="qemu-system-arm",
        machine="virt,virtualization=on,gic-version=3",
        cpu="cortex-a57",
        # The board's device tree names its virtio slots from the last one down.
        devices=("-device", "virtio-blk-device,drive=carried", *_ports("virtio-serial-device")),
        display=(),
        firmware=(),
        xen_command_line=f"console=dtuart dtuart=/pl011@9000000 {XEN_COMMAND_LINE}",
        dom0_command_line=DOM0_COMMAND_LINE,
        boot=_boot_arm,
        loses_hypervisor_timer=True,
    ),
    hypervisor="boot/xen-*-arm64",
    guest_type="pvh",
    guest_config="",
    guest_command_line="",
    xen_with_driver_domain=" xsm=dummy",
    dom0_modules=("virtio_mmio", "virtio_console", "virtio_blk"),
    unpack_kernel=partial(binaries.unpack_image, what="Linux kernel"),
    unpack_xen=partial(binaries.unpack_image, what="Xen"),
    ships_driver=False,
)

ARCHITECTURES = {architecture.name: architecture for architecture in (AMD64, ARM64)}
