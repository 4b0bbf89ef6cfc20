"""What is wrong with a driver's source, in one message."""

from __future__ import annotations

from lab.errors import USAGE, Stop


class DriverBuildError(Stop):
    """The source handed in cannot be read, or does not build. `hint` says what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(USAGE, message, hint)
