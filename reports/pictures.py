"""Pictures of a run for its page: checked against the stream's hashes, each once, while they fit."""
from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

MAX_PICTURE = 4 * 1024 * 1024
MAX_ALL = 48 * 1024 * 1024


class Pictures:
    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.left = MAX_ALL
        self.data: dict[str, str] = {}  # sha256 -> base64

    def show(self, artifact: dict[str, Any]) -> dict[str, str]:
        """What the page says of an artifact; `picture` names an entry of `data` when it can be shown."""
        shown = {"name": artifact["name"], "path": artifact["path"], "picture": "", "note": ""}
        path = (self.folder / artifact["path"]).resolve()
        if not path.is_relative_to(self.folder):
            return shown | {"path": "", "note": "its path leaves the run's folder"}
        if artifact["sha256"] in self.data:
            return shown | {"picture": artifact["sha256"]}
        try:
            data = path.read_bytes()
        except OSError as error:
            return shown | {"note": error.strerror or "cannot be read"}
        if hashlib.sha256(data).hexdigest() != artifact["sha256"]:
            return shown | {"note": "changed after the run: its hash does not match"}
        if artifact.get("media") != "image/png":
            return shown
        if len(data) > min(MAX_PICTURE, self.left):
            return shown | {"note": f"{len(data)} bytes, not shown here"}
        self.left -= len(data)
        self.data[artifact["sha256"]] = base64.b64encode(data).decode()
        return shown | {"picture": artifact["sha256"]}
