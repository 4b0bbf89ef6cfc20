"""Detached signatures by minisign; keys are files of their owner's."""
from __future__ import annotations

import base64
import binascii
import subprocess
from pathlib import Path

from lab.errors import INFRASTRUCTURE, USAGE, Stop


def signature_of(bundle: Path) -> Path:
    return bundle.with_name(bundle.name + ".minisig")


def _minisign(*words: object) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["minisign", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    except FileNotFoundError:
        raise Stop(INFRASTRUCTURE, "minisign is not there", "sudo apt-get install minisign") from None


def sign(bundle: Path, key: Path, comment: str) -> Path:
    """Asks for the key's password on the terminal if it has one. Raises Stop."""
    if not key.is_file():
        raise Stop(USAGE, f"--key {key}: no such file", "`minisign -G -s KEY -p KEY.pub` makes a pair")
    target = signature_of(bundle)
    done = _minisign("-S", "-s", key, "-m", bundle, "-x", target, "-c", "displif-cts", "-t", comment)
    if done.returncode != 0:
        target.unlink(missing_ok=True)
        raise Stop(USAGE, f"--key {key}: {_last(done.stdout)}")
    return target


def check(bundle: Path, public_key: Path) -> str:
    """Empty when the signature is good, else why not. Raises Stop when there is no such key."""
    if not public_key.is_file():
        raise Stop(USAGE, f"--key {public_key}: no such file")
    if not signature_of(bundle).is_file():
        return f"{signature_of(bundle)} is missing: the bundle is not signed"
    done = _minisign("-V", "-p", public_key, "-m", bundle, "-x", signature_of(bundle))
    if done.returncode != 0:
        return _last(done.stdout)
    return "" if _as_written(signature_of(bundle).read_bytes()) else f"{signature_of(bundle)}: not as minisign writes it"


def _as_written(signature: bytes) -> bool:
    """base64 has bits that nobody reads, and minisign takes any: a changed one is a changed file all the same."""
    try:
        return all(base64.b64encode(base64.b64decode(line, validate=True)) == line for line in signature.split(b"\n")[1:4:2])
    except binascii.Error:
        return False


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "minisign failed without a word"
