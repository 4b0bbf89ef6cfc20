"""Machines for one mutant each: the driver is loaded into every machine, and no template is made that only one run would use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.qemu import Bed
from lab.qemu.binaries import build_id
from lab.qemu.cache import file_hash
from lab.qemu.instance import Instance
from lab.qemu.template import choose_driver, load_module


class MutantBed:
    """Of a bed that is prepared and stays open; `modules` replace those of the guest's kernel (none: they are its own)."""

    def __init__(self, bed: Bed, modules: Sequence[Path]) -> None:
        self._bed = bed
        self._template, tree = bed.bare()
        self._driver = choose_driver([path.absolute() for path in modules], tree)
        self._release = tree.release

    def make_disk(self, carried_dir: Path) -> Path:
        return self._bed.make_disk(carried_dir)

    @contextmanager
    def instance(self, disk: Path) -> Iterator[Instance]:
        """Raises BedError when the guest's kernel refuses the module."""
        with Instance(self._bed.cache, self._template, disk) as machine:
            for module in self._driver:
                load_module(machine.agent, module, self._release)
            yield machine

    def facts(self) -> dict[str, Any]:
        facts = self._bed.facts()
        mine = {module.name: {"file": str(module.origin), "sha256": file_hash(module.origin), "build_id": build_id(module.origin)}
                for module in self._driver if module.file}
        return facts | {"modules": facts["modules"] | mine}
