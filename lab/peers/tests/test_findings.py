"""Every known deviation of a shipped peer refers to a page that says who is right and how to see it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab import peers
from lab.kernel.kernels import RECIPES

ROOT = Path(__file__).resolve().parents[3]
FINDINGS = ROOT / "docs" / "findings"
PAGES = sorted(path for path in FINDINGS.glob("*.md") if path.name != "README.md")


def references() -> list[tuple[str, str]]:
    """(who refers, where to), for expectations, known complaints and edits of a kernel's source."""
    found: list[tuple[str, str]] = []
    for path in sorted(peers.HERE.glob("*.expectations.yaml")):
        found += [(f"{path.name}: {entry['case']}", entry["reference"]) for entry in peers.load_expectations(path)]
    for path in peers.descriptors():
        found += [(f"{path.name}: {entry['text']}", entry["reference"])
                  for entry in peers.load_descriptor(path).get("known_complaints", ())]
    found += [(f"{name}: {edit.file}", edit.reference) for name, recipe in RECIPES.items() for edit in recipe.edits]
    return found


@pytest.mark.parametrize(("who", "where"), references(), ids=lambda text: text)
def test_every_reference_is_a_page(who: str, where: str) -> None:
    assert re.fullmatch(r"docs/findings/[a-z0-9-]+\.md", where), f"{who}: refers to no page"
    assert (ROOT / where).is_file(), f"{who}: {where} does not exist"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_every_page_says_what_a_maintainer_needs(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# ")
    if "`disclosure: maintainers first`" in text:  # the case and its effect, and nothing of how
        assert all(part in text for part in ("**Requirement:**", "**Effect:**", "**Smallest reproducer:**"))
        assert not re.search(r"\w\.(c|cpp|hpp)\b|\w\(\)", text), "a place in the backend is named"
        return
    for part in ("**The header** says:", "**The driver** (", "**Who is right:**", "**Effect:**", "**Smallest reproducer:**"):
        assert part in text, part
    assert re.search(r"`(xen[a-z_-]+\.c|drivers/xen/[a-z-]+\.c|[A-Za-z/]+\.[ch]pp)`", text), "no file of the driver is named"
    assert re.search(r"`[A-Za-z_]+\(\)`", text), "no function of the driver is named"


def test_every_page_is_in_the_table_and_referred_to() -> None:
    table = (FINDINGS / "README.md").read_text(encoding="utf-8")
    used = {where for _, where in references()}
    for page in PAGES:
        assert f"({page.name})" in table, f"{page.name} is not in the table"
        assert f"docs/findings/{page.name}" in used, f"no expectation refers to {page.name}"


def test_every_reproducer_is_a_case_of_the_sources() -> None:
    """Its id, or what the ids of a list of cases begin with, stands in the case's source; or a text of regressions is it."""
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "cases").glob("*/*.cc"))
    literals = set(re.findall(r'"((?:frontend|backend)\.[a-z0-9.-]*)', sources))
    literals |= {f"frontend.regression.{path.stem}" for path in (ROOT / "cases" / "frontend" / "regressions").glob("*.txt")}
    named = {case for page in PAGES for case in re.findall(r"--case ([a-z0-9.-]+)", page.read_text(encoding="utf-8"))}
    assert [case for case in sorted(named)
            if not any(case == text or (text.endswith((".", "-")) and case.startswith(text)) for text in literals)] == []
