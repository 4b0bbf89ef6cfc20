"""Every requirement is judged somewhere, or says why it cannot be."""

from __future__ import annotations

import re
import sys
from pathlib import Path

CASES = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CASES))

import generate_requirements as generator  # noqa: E402


def test_every_requirement_has_a_case_or_a_reason() -> None:
    sources = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("frontend", "backend", "monitor", "support")
        for path in sorted((CASES / folder).glob("*.[ch]*"))
        if not path.name.endswith("_test.cc")
    )
    named = set(re.findall(r"\breq::(\w+)", sources))
    entries = generator.load(CASES / "requirements.yaml")
    without = [e["id"] for e in entries if generator.identifier(e["id"]) not in named and "no_case" not in e]
    assert without == [], "no case names them, and no `no_case` says why"
    both = [e["id"] for e in entries if generator.identifier(e["id"]) in named and "no_case" in e]
    assert both == [], "a case names them, so that their `no_case` is wrong"
