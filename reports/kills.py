"""A kill matrix for the page: which fault of the suite's own peers is caught by which case (`./displif-cts selftest`)."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class KillMatrixError(Exception):
    """The file is no kill matrix. The text says why."""


def read_kills(path: Path) -> dict[str, Any]:
    """`rows` of id, kind, requirement, title, killed_by (cases) and why not; `caught` of `total`, `alarms`. Raises KillMatrixError."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        rows = [{"id": str(fault["id"]), "kind": str(fault["kind"]), "requirement": str(fault["requirement"]), "title": str(fault["title"]),
                 "killed_by": [str(case) for case in fault["killed_by"]], "why": str(fault.get("why", ""))} for fault in data["faults"]]
        alarms = [str(alarm) for alarm in data.get("false_alarms", [])]
    except OSError as error:
        raise KillMatrixError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise KillMatrixError(f"{path}: no kill matrix: `./displif-cts selftest` writes one") from None
    return {"rows": rows, "caught": sum(bool(row["killed_by"]) for row in rows), "total": len(rows), "alarms": alarms}
