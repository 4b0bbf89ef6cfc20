"""`test`: the suite's own tests. C++ through CTest, everything else through pytest; one sum at the end."""
from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab.build import ROOT, build, build_carried
from lab.errors import Stop
from lab.process import run_grouped
from lab.progress import Progress

PRESETS = ("test",)
FULL_PRESETS = ("test", "asan", "tsan")


@dataclass
class Sum:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def add(self, other: "Sum") -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def text(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def count_junit(path: Path) -> Sum:
    """The sum of a JUnit file; one failure when there is none to read."""
    try:
        root = ET.parse(path).getroot()
    except (OSError, ET.ParseError):
        return Sum(failed=1)
    result = Sum()
    for case in root.iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            result.failed += 1
        elif case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
            result.skipped += 1
        else:
            result.passed += 1
    return result


def settle(result: Sum, status: int, what: str) -> Sum:
    """A step that ended badly counts as a failure even when its file says nothing of one."""
    if status != 0 and result.failed == 0:
        print(f"displif-cts: {what} ended with status {status}", file=sys.stderr)
        result.failed += 1
    if result.passed + result.failed == 0:
        print(f"displif-cts: {what} ran no test", file=sys.stderr)
        result.failed += 1
    return result


def run_ctest(preset: str, progress: Progress, folder: Path) -> Sum:
    try:
        with progress.phase("build", f"preset {preset}"):
            tree = build(preset)
    except Stop as stop:
        print(stop.text(), file=sys.stderr)
        return Sum(failed=1)
    report = folder / f"ctest-{preset}.xml"
    with progress.phase("unit", f"C++ unit tests, preset {preset}"):
        sys.stdout.flush()
        status = run_grouped(["ctest", "--test-dir", tree, "--parallel", str(os.cpu_count() or 1),
                              "--output-on-failure", "--no-tests=error", "--output-junit", report])
    return settle(count_junit(report), status, f"ctest with preset {preset}")


def run_tidy(progress: Progress) -> Sum:
    """clang-tidy over every C++ file by itself: a pass, or a failure with its findings, for each."""
    try:
        with progress.phase("build", "preset tidy"):
            tree = build("tidy", ["requirements_gen", "regressions_gen"])
        files = sources(tree)
        with progress.phase("tidy", f"clang-tidy, {len(files)} files"), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            clean = list(pool.map(lambda file: tidy(tree, file), files))
    except Stop as stop:
        print(stop.text(), file=sys.stderr)
        return Sum(failed=1)
    return settle(Sum(passed=clean.count(True), failed=clean.count(False)), 0, "clang-tidy")


def sources(tree: Path) -> list[str]:
    """What is compiled there and not generated."""
    commands = json.loads((tree / "compile_commands.json").read_text())
    return sorted({command["file"] for command in commands if not Path(command["file"]).is_relative_to(tree)})


def tidy(tree: Path, file: str) -> bool:
    done = subprocess.run(["clang-tidy", "--quiet", "-p", tree, file], capture_output=True, text=True)
    if done.returncode != 0:
        print(done.stdout or done.stderr, end="", file=sys.stderr, flush=True)
    return done.returncode == 0


def run_pytest(full: bool, progress: Progress, folder: Path) -> Sum:
    try:
        build_carried(progress)
    except Stop as stop:
        print(stop.text(), file=sys.stderr)
        return Sum(failed=1)
    report = folder / "pytest.xml"
    marks = [] if full else ["-m", "not full"]
    with progress.phase("python", "lab, reports, generators, beds"):
        sys.stdout.flush()
        status = run_grouped([sys.executable, "-m", "pytest", f"--junit-xml={report}", "-ra", *marks], cwd=ROOT)
    return settle(count_junit(report), status, "pytest")


def test(full: bool, only: str | None) -> int:
    progress = Progress()
    total = Sum()
    with tempfile.TemporaryDirectory(prefix="displif-cts-") as name:
        folder = Path(name)
        if only != "python":
            for preset in FULL_PRESETS if full else PRESETS:
                total.add(run_ctest(preset, progress, folder))
            if full:
                total.add(run_tidy(progress))
        if only != "unit":
            total.add(run_pytest(full, progress, folder))
    print(total.text(), flush=True)
    return 1 if total.failed else 0
