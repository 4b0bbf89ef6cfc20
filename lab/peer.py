"""Peer descriptors (lab/peers/NAME.yaml) and the expectations that go with them."""
from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.build import ROOT
from lab.errors import USAGE, Stop
from reports.expectations import Expectation, ExpectationError, parse

PEERS = ROOT / "lab" / "peers"
KINDS = ("module", "command", "attach")
ROLES = ("frontend", "backend")


@dataclass(frozen=True)
class Peer:
    file: Path
    descriptor: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.descriptor["name"])

    @property
    def role(self) -> str:
        return str(self.descriptor["role"])

    def version(self, facts: dict[str, Any]) -> str:
        """As found on the bed, else as the descriptor says. A module is of its kernel's version: the package's where
        the kernel is Debian's, which says more than the release."""
        if self.descriptor["kind"] == "module" and "kernels" in facts:
            release = facts["kernels"]["guest"]["release"]
            packaged = [p["version"] for p in facts.get("packages", []) if p["name"].endswith(release)]
            return str(packaged[0] if packaged else release)
        return str(self.descriptor.get("version") or "unknown")


def shown_path(path: Path) -> str:
    """Relative to the tree when it lies in it: what a stream says must not name a machine's folders."""
    try:
        return str(path.resolve().relative_to(ROOT))
    except ValueError:
        return path.name


def read_text(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise Stop(USAGE, f"{what} {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Stop(USAGE, f"{what} {path}: not a text file") from None


def find_peer(name_or_file: str) -> Path:
    if "/" in name_or_file or name_or_file.endswith((".yaml", ".yml")):
        return Path(name_or_file)
    path = PEERS / f"{name_or_file}.yaml"
    if not path.is_file():
        names = sorted(p.stem for p in PEERS.glob("*.yaml") if not p.stem.endswith(".expectations"))
        near = difflib.get_close_matches(name_or_file, names, n=1) or names
        raise Stop(USAGE, f"--peer {name_or_file}: no such descriptor in lab/peers",
                   f"there is: {', '.join(near)}" if near else "give a FILE.yaml")
    return path


def load_peer(name_or_file: str, role: str) -> Peer:
    """Reads and checks a descriptor. Raises Stop (2) that names the key at fault."""
    path = find_peer(name_or_file)
    try:
        data = yaml.safe_load(read_text(path, "peer descriptor"))
    except yaml.YAMLError as error:
        raise Stop(USAGE, f"peer descriptor {path}: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise Stop(USAGE, f"peer descriptor {path}: not a mapping")
    _check(path, data)
    if data["role"] != role:
        raise Stop(USAGE, f"peer {data['name']} is a {data['role']}, and --role is {role}")
    return Peer(path, data)


def _check(path: Path, data: dict[str, Any]) -> None:
    def bad(text: str) -> Stop:
        return Stop(USAGE, f"peer descriptor {path}: {text}")

    if not re.fullmatch(r"[A-Za-z0-9._-]{1,60}", str(data.get("name", ""))):
        raise bad("name is missing, or not of [A-Za-z0-9._-]")
    if data.get("role") not in ROLES:
        raise bad(f"role is not one of {', '.join(ROLES)}")
    if data.get("kind") not in KINDS:
        raise bad(f"kind is not one of {', '.join(KINDS)}")
    for key, wanted in (("capabilities", list), ("known_findings", list), ("limits", dict), ("times_ms", dict), ("env", dict)):
        if key in data and not isinstance(data[key], wanted):
            raise bad(f"{key} is not a {wanted.__name__}")


def load_expectations(peer: Peer, option: Path | None) -> tuple[list[Expectation], str | None]:
    """The entries and the file they stand in: --expectations, else the descriptor's own."""
    own = peer.descriptor.get("expectations")
    try:
        if option is not None:
            return parse(read_text(option, "expectations"), shown_path(option)), shown_path(option)
        if isinstance(own, str):
            path = peer.file.parent / own
            return parse(read_text(path, "expectations"), shown_path(path)), shown_path(path)
        if own:
            return parse(peer.file.read_text(encoding="utf-8"), shown_path(peer.file)), shown_path(peer.file)
    except ExpectationError as error:
        raise Stop(USAGE, str(error)) from None
    return [], None
