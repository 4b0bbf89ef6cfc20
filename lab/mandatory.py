"""The cases that a certification must have run: a list per role, pinned by its hash (cases/mandatory)."""
from __future__ import annotations

from pathlib import Path

import yaml

from lab.build import ROOT
from lab.errors import INFRASTRUCTURE, Stop
from lab.suite import LONG, Suite
from reports.statement import list_hash

FOLDER = ROOT / "cases" / "mandatory"
BINDING = frozenset(("must", "robust"))


def binding_cases(suite: Suite) -> list[str]:
    """The cases, monitors included and long ones left out, that judge a `must` or a `robust` requirement."""
    levels = {str(requirement["id"]): requirement.get("level") for requirement in suite.requirements}
    return [case.id for case in suite.cases if case.group != LONG and BINDING & {levels.get(name) for name in case.requirements}]


def pinned_hashes(folder: Path = FOLDER) -> dict[str, str]:
    """Hash -> role: of the lists of this suite and of its earlier versions."""
    entries = yaml.safe_load((folder / "lists.yaml").read_text(encoding="utf-8"))["lists"] or []
    return {str(entry["sha256"]): str(entry["role"]) for entry in entries}


def mandatory_list(role: str, folder: Path = FOLDER) -> list[str]:
    """Raises Stop when the list is not the pinned one."""
    path = folder / f"{role}.list"
    try:
        cases = path.read_text(encoding="utf-8").split()
        pinned = pinned_hashes(folder)
    except OSError as error:
        raise Stop(INFRASTRUCTURE, f"{error.filename}: {error.strerror}") from None
    if pinned.get(list_hash(cases)) != role:
        raise Stop(INFRASTRUCTURE, f"{path}: its hash {list_hash(cases)} is not pinned in lists.yaml",
                   "`./displif-cts certify --make-list` writes both anew")
    return cases


def staleness(suite: Suite, role: str, folder: Path = FOLDER) -> str:
    """How the list differs from the suite's binding cases, and the command that ends it; empty if it does not."""
    listed, binding = set(mandatory_list(role, folder)), set(binding_cases(suite))
    if listed == binding:
        return ""
    words = [f"{len(names)} {what} ({', '.join(sorted(names)[:3])}{', ...' if len(names) > 3 else ''})"
             for what, names in (("cases are not on it", binding - listed), ("on it are no binding cases", listed - binding)) if names]
    return f"cases/mandatory/{role}.list is stale: {'; '.join(words)}\n./displif-cts certify --make-list --role {role}"


def write_list(suite: Suite, role: str, date: str, folder: Path = FOLDER) -> str:
    """The suite's binding cases become the list; earlier hashes stay, so that earlier bundles still verify."""
    cases = binding_cases(suite)
    (folder / f"{role}.list").write_text("".join(f"{case}\n" for case in cases), encoding="utf-8")
    digest = list_hash(cases)
    if digest not in (pinned_hashes(folder) if (folder / "lists.yaml").exists() else {}):
        with open(folder / "lists.yaml", "a", encoding="utf-8") as file:
            file.write(f"  - {{role: {role}, cases: {len(cases)}, since: {date}, sha256: {digest}}}\n")
    return digest
