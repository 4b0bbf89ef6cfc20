"""Classes of attack (cases/attacks.yaml), as they go into a stream's plan."""
from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Any, Iterable

import yaml

from lab.build import ROOT

FILE = ROOT / "cases" / "attacks.yaml"


def attack_classes(role: str, case_ids: Iterable[str], path: Path = FILE) -> dict[str, Any]:
    """Each class with the cases of the suite that try it on this role."""
    table = yaml.safe_load(path.read_text(encoding="utf-8"))
    ids = sorted(case_ids)
    classes = [{"id": entry["id"], "title": entry["title"], "advisories": entry["advisories"], "why": " ".join(entry.get("why", {}).get(role, "").split()),
                "cases": [name for name in ids if any(fnmatch.fnmatchcase(name, glob) for glob in entry["cases"])]}
               for entry in table["classes"]]
    return {"trust": " ".join(table["trust"][role].split()), "classes": classes}
