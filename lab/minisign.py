"""Detached signatures by minisign; keys are files of their owner's."""
from __future__ import annotations

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
    return "" if done.returncode == 0 else _last(done.stdout)


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "minisign failed without a word"
