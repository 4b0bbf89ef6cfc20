"""A job and the dictionary of the device that runs it, from the templates beside this file."""
from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping, Sequence

import jinja2

from lab.qemu.architecture import AMD64
from lab.qemu.cache import file_hash
from lab.qemu.machine import Shape

MINUTES = 60
_HARDWARE = AMD64.hardware
_OPTIONS = ("-machine", "q35", "-cpu", _HARDWARE.cpu, "-accel", "tcg,thread=multi", *Shape().arguments(), "-m", str(_HARDWARE.memory_mb), "-nodefaults", "-no-user-config",
            "-display", "none", "-serial", "stdio", "-no-reboot")


@dataclass(frozen=True)
class JobOptions:
    cases: Sequence[str] = ()
    excludes: Sequence[str] = ()
    name: str = "displif-cts"
    device_type: str = "qemu"
    tags: Sequence[str] = ()
    minutes: int = MINUTES
    base_url: str | None = None  # where the images can be had; none: where they lie here
    start: str | None = None  # typed at the prompt of a board that runs already; none: its dom0 starts the suite by itself
    prompts: Sequence[str] = ("# $",)


def _render(template: str, **values: object) -> str:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
                                     loader=jinja2.FileSystemLoader(Path(__file__).parent))
    return environment.get_template(template).render(**values)


def _values(options: JobOptions) -> dict[str, object]:
    return {"name": options.name, "minutes": options.minutes, "tags": list(options.tags), "device_type": options.device_type}


def _boot_values(images: Mapping[str, Path], options: JobOptions) -> dict[str, object]:
    words = [*(f"displif-cts.case={glob}" for glob in options.cases), *(f"displif-cts.exclude={glob}" for glob in options.excludes)]
    urls = {name: f"{options.base_url.rstrip('/')}/{path.name}" if options.base_url else path.resolve().as_uri() for name, path in images.items()}
    return {"urls": urls, "xen_command_line": _HARDWARE.xen_command_line, "dom0_command_line": " ".join([_HARDWARE.dom0_command_line, *words])}


def qemu_job(images: Mapping[str, Path], options: JobOptions) -> str:
    return _render("qemu.job.yaml.j2", hashes={name: file_hash(path) for name, path in images.items()}, **_boot_values(images, options), **_values(options))


def network_job(images: Mapping[str, Path], options: JobOptions) -> str:
    """For a board that iPXE boots. Its dom0 starts the suite by itself."""
    return _render("board.job.yaml.j2", network=True, start=None, **_boot_values(images, options), **_values(options))


def running_job(options: JobOptions) -> str:
    """For a board that runs already; `start` is typed there, and what it prints is what `displif-cts-dom0 --format lava` does."""
    return _render("board.job.yaml.j2", network=False, reset=False, start=options.start, prompts=list(options.prompts), **_values(options))


def qemu_device() -> str:
    return _render("qemu.device.yaml.j2", command=_HARDWARE.qemu, options=list(_OPTIONS))


def qemu_server_device(device_type: str) -> str:
    """The same for a server, whose device type (qemu.device-type.jinja2) gives the rest."""
    return (f"{{% extends '{device_type}.jinja2' %}}\n{{% set qemu_command = {json.dumps(_HARDWARE.qemu)} %}}\n"
            f"{{% set qemu_options = {json.dumps(list(_OPTIONS))} %}}\n")


def board_device(connect: str, hard_reset: str | None = None) -> str:
    return _render("board.device.yaml.j2", connect=connect, hard_reset=hard_reset)


def imitated_board(images: Mapping[str, Path], options: JobOptions) -> str:
    """A script that is a board's serial line: it starts the machine that the qemu job starts, and is its console."""
    boot = _boot_values(images, options)
    place = {name: str(path.resolve()) for name, path in images.items()}
    argv = [_HARDWARE.qemu, *_OPTIONS, "-kernel", place["xen"], "-append", str(boot["xen_command_line"]),
            "-initrd", f"{place['dom0-kernel']} {boot['dom0_command_line']},{place['dom0-initramfs']}",
            "-drive", f"file={place['disk']},if=none,id=carried,format=raw,read-only=on", "-device", "virtio-blk-pci,drive=carried,addr=4"]
    return f"#!/bin/sh\nexec {shlex.join(argv)}\n"
