"""Child programs that end with us: in a group of their own, which is killed when we are interrupted."""
from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import IO, Mapping, Sequence


def end_group(child: subprocess.Popen[bytes]) -> None:
    """Kills the child's whole group and reaps the child."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    child.wait()


def run_grouped(argv: Sequence[str | Path], *, cwd: Path | None = None, output: IO[bytes] | int | None = None,
                environment: Mapping[str, str] | None = None) -> int:
    """Runs a program to its end and returns its status (negative: signal). stdout and stderr go to `output`."""
    stderr = subprocess.STDOUT if output is not None else None
    child = subprocess.Popen([str(word) for word in argv], cwd=cwd, stdin=subprocess.DEVNULL, stdout=output,
                             stderr=stderr, env=environment, start_new_session=True)
    try:
        return child.wait()
    except BaseException:
        end_group(child)
        raise


def tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log, for an error message."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
