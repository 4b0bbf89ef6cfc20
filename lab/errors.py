"""How a command ends early: one clear message, and the exit status that fits."""
from __future__ import annotations

USAGE = 2
INFRASTRUCTURE = 3


class Stop(Exception):
    """Ends the command. `hint` says what to do about it."""

    def __init__(self, status: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.hint = hint

    def text(self) -> str:
        return f"displif-cts: {self.message}" + (f"\n  {self.hint}" if self.hint else "")


class Terminated(BaseException):
    """SIGTERM arrived; like KeyboardInterrupt, not to be caught on the way."""
