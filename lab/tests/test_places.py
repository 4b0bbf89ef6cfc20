"""Lines of requirements, in the tree and in the header."""
from __future__ import annotations

from pathlib import Path

from lab.places import HEADERS, requirement_lines, section_line, with_places

HEADER = """\
/*
 *                  State diagrams
 *------------------ Request  transport -------------------
 * req-ring-ref
 *      Values:         <uint32_t>
 * id - uint16_t
 */""".splitlines()


def test_a_section_and_its_field() -> None:
    assert section_line(HEADER, "Request transport", "") == 3
    assert section_line(HEADER, "Request transport", "req-ring-ref") == 4
    assert section_line(HEADER, "State diagrams: normal flow", "") == 2
    assert section_line(HEADER, "Request transport", "nothing-of-the-kind") == 3
    assert section_line(HEADER, "No such section", "id") is None


def test_lines_of_ids() -> None:
    assert requirement_lines(["version: 1", "  - id: a.b", "    text: - id: c.d"]) == {"a.b": 2}


def test_requirements_get_their_places(tmp_path: Path) -> None:
    (tmp_path / "displif.h").write_text("\n".join(HEADER))
    (tmp_path / "r.yaml").write_text("- id: a.b\n")
    given = [{"id": "a.b", "source": {"file": "displif.h", "section": "Request transport", "field": "id"}},
             {"id": "c.d", "source": {"file": "docs/x.md"}}, {"id": "e.f", "source": {"file": "../displif.h", "section": "State diagrams"}}]
    assert with_places(given, tmp_path / "r.yaml", tmp_path) == (
        {"id": "a.b", "source": {"file": "displif.h", "section": "Request transport", "field": "id", "line": 6}, "line": 1}, given[1], given[2])


def test_most_requirements_are_found_in_the_installed_header() -> None:
    import yaml

    from lab.places import REQUIREMENTS

    entries = yaml.safe_load(REQUIREMENTS.read_text())["requirements"]
    of_header = [entry for entry in with_places(entries) if (HEADERS / entry["source"]["file"]).is_file() and "/" not in entry["source"]["file"]]
    lost = [entry["id"] for entry in of_header if "line" not in entry["source"]]
    assert len(lost) * 20 < len(of_header), lost  # a title in other words than the header's is no fault, many are
