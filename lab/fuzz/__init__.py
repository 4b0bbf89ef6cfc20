"""`fuzz`: run a fuzz target, tell what it finds, keep its corpus; triage a finding."""
from __future__ import annotations

import argparse


def command(arguments: argparse.Namespace) -> int:
    """`./displif-cts fuzz`."""
    from .command import main

    return main(arguments)
