"""The files beside this one, checked against their schemas (README.md): for tests and `doctor`; a run checks what it
uses itself and needs no jsonschema."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent


class PeerFileError(Exception):
    """A descriptor or an expectations file is wrong. The text says where and how."""


def descriptors() -> list[Path]:
    return sorted(path for path in HERE.glob("*.yaml") if not path.name.endswith(".expectations.yaml"))


def load_descriptor(path: Path) -> dict[str, Any]:
    """Raises PeerFileError; the expectations that it names must exist and be right too."""
    data = _load(path)
    _check(path, data, "peer.schema.json")
    expectations = data.get("expectations")
    if expectations is not None:
        load_expectations(path.parent / expectations)
    return dict(data)


def load_expectations(path: Path) -> list[dict[str, Any]]:
    """Raises PeerFileError."""
    data = _load(path)
    if isinstance(data, dict) and set(data) == {"expectations"}:
        data = data["expectations"]
    entries = [_dates_as_text(entry) for entry in data] if isinstance(data, list) else [] if data is None else data
    _check(path, entries, "expectations.schema.json")
    return list(entries)


def _load(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PeerFileError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PeerFileError(f"{path}: {' '.join(str(error).split())}") from None


def _check(path: Path, data: Any, schema: str) -> None:
    import jsonschema

    rules = json.loads((HERE / schema).read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(rules)
    for error in sorted(validator.iter_errors(data), key=lambda error: list(map(str, error.absolute_path))):
        where = ".".join(map(str, error.absolute_path)) or "the file"
        raise PeerFileError(f"{path}: {where}: {error.message}")


def _dates_as_text(entry: Any) -> Any:
    """YAML reads an unquoted 2027-01-31 as a date."""
    if not isinstance(entry, dict):
        return entry
    return {key: value.isoformat() if isinstance(value, datetime.date) else value for key, value in entry.items()}
