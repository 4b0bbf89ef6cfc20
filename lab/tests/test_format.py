"""C++ as clang-format has it (.clang-format), so that nobody argues about it in a review."""
from __future__ import annotations

import subprocess

from lab.build import ROOT

FOLDERS = ("cases", "fake_backend", "fake_frontend", "fuzzers", "harness", "lab", "reports")


def test_every_file_is_as_clang_format_has_it() -> None:
    files = [path for folder in FOLDERS for suffix in ("*.cc", "*.h", "*.c") for path in sorted((ROOT / folder).rglob(suffix))]
    assert len(files) > 200
    done = subprocess.run(["clang-format", "--dry-run", "-Werror", *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:2000] + "\nclang-format -i mends it"
