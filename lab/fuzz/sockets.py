"""A folder for the sockets of a target that has a machine in its process; it goes also when the target crashes."""
from __future__ import annotations

import tempfile
from contextlib import contextmanager
from typing import Iterator


@contextmanager
def sockets_folder() -> Iterator[dict[str, str]]:
    """What the target's environment says of it. The name is short: a socket's address has 107 characters."""
    with tempfile.TemporaryDirectory(prefix="displif-fuzz-") as name:
        yield {"DISPLIF_FUZZ_FOLDER": name}
