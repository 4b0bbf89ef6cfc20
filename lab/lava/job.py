"""A job and the dictionary of the device that runs it, from the templates beside this file."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Mapping, Sequence

import jinja2

from lab.qemu.cache import file_hash
from lab.qemu.machine import CPU, DOM0_COMMAND_LINE, MEMORY_MB, QEMU, XEN_COMMAND_LINE

MINUTES = 60
_OPTIONS = ("-machine", "q35", "-cpu", CPU, "-accel", "tcg,thread=multi", "-smp", "2", "-m", str(MEMORY_MB), "-nodefaults", "-no-user-config",
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


def _render(template: str, **values: object) -> str:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
                                     loader=jinja2.FileSystemLoader(Path(__file__).parent))
    return environment.get_template(template).render(**values)


def qemu_job(images: Mapping[str, Path], options: JobOptions) -> str:
    words = [*(f"displif-cts.case={glob}" for glob in options.cases), *(f"displif-cts.exclude={glob}" for glob in options.excludes)]
    urls = {name: f"{options.base_url.rstrip('/')}/{path.name}" if options.base_url else path.resolve().as_uri() for name, path in images.items()}
    return _render("qemu.job.yaml.j2", name=options.name, minutes=options.minutes, tags=list(options.tags), device_type=options.device_type,
                   urls=urls, hashes={name: file_hash(path) for name, path in images.items()},
                   xen_command_line=XEN_COMMAND_LINE, dom0_command_line=" ".join([DOM0_COMMAND_LINE, *words]))


def qemu_device() -> str:
    return _render("qemu.device.yaml.j2", command=QEMU, options=list(_OPTIONS))
