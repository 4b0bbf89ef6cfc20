"""The generator of requirement constants: what it makes of the tree's own file, and what it refuses."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).resolve().parent.parent
ROOT = CASES.parent
GENERATOR = CASES / "generate_requirements.py"
OWN = CASES / "requirements.yaml"

GOOD = """\
version: 1
requirements:
  - id: ring.first
    role: frontend
    level: must
    source: {file: ring.h, section: Rings, field: req_prod}
    text: >
      A text
      over "two" lines.
  - id: ring.second-one
    role: both
    level: robust
    source: {file: ring.h, section: Rings}
    text: Another.
    reading: Why so.
"""


def generate(tmp_path: Path, text: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    source = tmp_path / "requirements.yaml"
    source.write_text(text, encoding="utf-8")
    target = tmp_path / "requirements.gen.h"
    run = subprocess.run(
        [sys.executable, str(GENERATOR), str(source), str(target)], capture_output=True, text=True, check=False
    )
    return run, target


def test_good_input_becomes_constants(tmp_path: Path) -> None:
    run, target = generate(tmp_path, GOOD)
    assert run.returncode == 0, run.stderr
    text = target.read_text(encoding="utf-8")
    assert "inline constexpr Requirement ring_first{" in text
    assert "inline constexpr Requirement ring_second_one{" in text
    assert '"A text over \\"two\\" lines."' in text
    assert '"Rings, req_prod"' in text
    assert "std::array<const Requirement*, 2> all{" in text
    assert str(tmp_path) not in text


def test_output_is_deterministic_and_left_alone(tmp_path: Path) -> None:
    _, target = generate(tmp_path, GOOD)
    before = target.stat().st_mtime_ns
    first = target.read_bytes()
    generate(tmp_path, GOOD)
    assert target.read_bytes() == first
    assert target.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("id: ring.first", "id: ring_first", "not of the form group.statement"),
        ("id: ring.first", "id: Ring.first", "not of the form group.statement"),
        ("id: ring.first", "id: ring." + "x" * 100, "longer than 100"),
        ("id: ring.first", "id: ring.second-one", "stands already in line 3"),
        ("id: ring.first", "id: ring.second.one", "have the same C++ name"),
        ("- id: ring.first\n    role", "- role", "'id' is missing"),
        ("level: must", "level: shall", "level 'shall' is none of must, should, may, robust"),
        ("role: frontend", "role: guest", "role 'guest' is none of frontend, backend, both"),
        ("    source: {file: ring.h, section: Rings, field: req_prod}\n", "", "'source' is missing"),
        ("section: Rings, field: req_prod", "field: req_prod", "source: 'section' is missing"),
        ("field: req_prod", "line: 3", "source has the unknown key 'line'"),
        ("text: Another.", "text: ''", "'text' is missing or empty"),
        ("reading: Why so.", "reading:", "'reading' is missing or empty"),
        ("reading: Why so.", "readings: Why so.", "unknown key 'readings'"),
        ("version: 1", "version: 2", "'version: 1' is missing"),
        ("role: both", "role: [both", "is not YAML"),
    ],
)
def test_bad_input_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    run, target = generate(tmp_path, GOOD.replace(old, new, 1))
    assert run.returncode == 1
    assert message in run.stderr
    assert "requirements.yaml" in run.stderr
    assert "Traceback" not in run.stderr
    assert not target.exists()


def test_every_fault_is_listed_with_its_line(tmp_path: Path) -> None:
    run, _ = generate(tmp_path, GOOD.replace("level: must", "level: shall").replace("role: both", "role: none"))
    lines = run.stderr.splitlines()
    assert len(lines) == 2
    assert ":3: " in lines[0]
    assert ":10: " in lines[1]


def test_no_requirements_is_an_error(tmp_path: Path) -> None:
    run, target = generate(tmp_path, "version: 1\nrequirements: []\n")
    assert run.returncode == 1
    assert "'requirements' is missing or empty" in run.stderr
    assert not target.exists()


def test_missing_file_and_usage(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, str(GENERATOR), str(tmp_path / "none.yaml"), str(tmp_path / "out.h")],
        capture_output=True, text=True, check=False,
    )
    assert run.returncode == 1
    assert "cannot be read" in run.stderr
    assert subprocess.run([sys.executable, str(GENERATOR)], capture_output=True, check=False).returncode == 2


def test_own_requirements_compile(tmp_path: Path) -> None:
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler on this machine")
    run, target = generate(tmp_path, OWN.read_text(encoding="utf-8"))
    assert run.returncode == 0, run.stderr
    source = tmp_path / "all.cc"
    source.write_text(
        '#include "requirements.gen.h"\n'
        "static_assert(!displif_cts::req::all.empty());\n"
        "static_assert(displif_cts::req::dbuf_create_width.level == displif_cts::Level::must);\n"
    )
    subprocess.run(
        [compiler, "-std=c++20", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{ROOT}", f"-I{tmp_path}", str(source)],
        check=True,
    )
