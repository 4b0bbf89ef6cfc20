"""What can go wrong in a bed, as the caller sees it."""

from __future__ import annotations


class BedError(Exception):
    """The bed could not be brought up or kept up. `hint` says in one line what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class InstanceDied(BedError):
    """The virtual machine ended (killed from outside, dom0 or Xen crashed) while it was in use."""


class AgentTimeout(BedError):
    """The agent in dom0 did not answer, or a program started there did not end, in time."""
