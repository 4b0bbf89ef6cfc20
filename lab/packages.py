"""Which Debian packages a command needs (packages.txt), and which of them this machine lacks."""
from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable

LIST = Path(__file__).with_name("packages.txt")


@dataclass(frozen=True)
class PackageList:
    needs: dict[str, tuple[str, ...]]  # command -> groups
    groups: dict[str, tuple[str, ...]]  # group -> packages

    def packages(self, command: str) -> list[str]:
        names = [name for group in self.needs[command] for name in self.groups[group]]
        return sorted(set(names))


def parse(text: str) -> PackageList:
    needs: dict[str, tuple[str, ...]] = {}
    groups: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if words and words[0] == "needs":
            needs[words[1]] = tuple(words[2:])
        elif words and words[0] == "install":
            groups[words[1]] = tuple(words[2:])
        elif words:
            raise ValueError(f"packages.txt: {line}")
    return PackageList(needs, groups)


def package_list() -> PackageList:
    return parse(LIST.read_text(encoding="utf-8"))


def missing(packages: Iterable[str]) -> list[str]:
    """Those that are not installed. Raises OSError where there is no dpkg."""
    wanted = list(packages)
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *wanted],
                          capture_output=True, text=True, check=False)
    installed = {line.split()[0] for line in done.stdout.splitlines() if line.endswith(" installed")}
    return [name for name in wanted if name not in installed]
