"""Deviations seeded into the driver's source by semantic patches (mutants.yaml): does the suite notice each?"""

from __future__ import annotations

import argparse

from .patches import KINDS, Mutant, MutantError, apply, list_mutants, unbreakable

__all__ = ["KINDS", "Mutant", "MutantError", "apply", "command", "list_mutants", "unbreakable"]


def command(arguments: argparse.Namespace) -> int:
    """`./displif-cts mutants`."""
    from .command import main

    return main(arguments)
