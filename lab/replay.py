"""The passive monitors once more over a recorded stream, and what they say now against what they said then."""
from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any, Iterable

from lab.errors import INFRASTRUCTURE, Stop

Said = tuple[str, str, int, str, bool, str]  # monitor, during, attempt, requirement, ok, seen


def _said(records: Iterable[dict[str, Any]]) -> Counter[Said]:
    return Counter((str(r["case"]), str(r["during"]), int(r.get("attempt", 1)), str(r["requirement"]), bool(r["ok"]), str(r.get("seen", "")))
                   for r in records if r.get("t") == "check" and r.get("during"))


def replayed(runner: Path, stream: Path) -> Counter[Said]:
    """Raises Stop when the runner cannot read the stream."""
    done = subprocess.run([runner, "replay", stream], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Stop(INFRASTRUCTURE, f"the monitors cannot be replayed: {done.stderr.strip()[-300:]}")
    return _said(json.loads(line) for line in done.stdout.splitlines())


def recorded(stream: Path) -> Counter[Said]:
    records = []
    with open(stream, "rb") as file:
        for line in file:
            if b'"during":' in line:
                records.append(json.loads(line))
    return _said(records)


def differences(runner: Path, stream: Path) -> tuple[list[str], int]:
    """Each check that only one of the two has, in words; and how many agree. Monitors that judge more than messages (the
    peer's health, say) say nothing when replayed, and are left out."""
    now, then = replayed(runner, stream), recorded(stream)
    monitors = {said[0] for said in now}
    then = Counter({said: number for said, number in then.items() if said[0] in monitors})
    texts = [f"stream.jsonl: {_text(said)}: the messages do not show it" for said in sorted((then - now).elements())]
    texts += [f"stream.jsonl: {_text(said)}: the messages show it, the stream does not have it" for said in sorted((now - then).elements())]
    return texts, sum((now & then).values())


def _text(said: Said) -> str:
    monitor, during, attempt, requirement, ok, seen = said
    which = during if attempt == 1 else f"{during} (attempt {attempt})"
    return f"{monitor} during {which}: {requirement} {'kept' if ok else 'not kept'} ({seen[:120]})"
