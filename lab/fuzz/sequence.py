"""The inputs that one program of somebody's has had, in order (fuzzers/backend/history.h), and the fewest of them that still end in a
finding: inputs of backend-command share a connection, so that the last one alone may bring nothing about."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, TypeVar

from cases.generate_regressions import HEAD
from lab.errors import USAGE, Stop

HISTORY = "DISPLIF_FUZZ_HISTORY"
SEQUENCE = "sequence.txt"  # beside a finding's input
_PASSED_OVER = "# passed over: "
T = TypeVar("T")


@dataclass(frozen=True)
class InputSequence:
    inputs: list[list[str]]  # the actions of each
    passed_over: str  # as it was when they were played


def read_sequence(path: Path) -> InputSequence:
    """Raises Stop when it is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Stop(USAGE, f"{path}: {error}") from None
    passed_over, inputs = "", []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(_PASSED_OVER):
            passed_over = line.removeprefix(_PASSED_OVER)
        elif line == HEAD:
            inputs.append([])
        elif line and inputs:
            inputs[-1].append(line)
        elif line:
            raise Stop(USAGE, f"{path}: line {number}: '{line}' before the first '{HEAD}'")
    return InputSequence(inputs, passed_over)


def text_of(actions: list[str]) -> str:
    return "\n".join([HEAD, *actions, ""])


def actions_of(text: str) -> list[str]:
    return [line for line in text.splitlines()[1:] if line]


def fewest(items: list[T], still: Callable[[list[T]], bool]) -> list[T]:
    """Of what shows it, in order: without halves, then quarters, ... of what is left."""
    step = max(1, len(items) // 2)
    while True:
        at, shorter = 0, False
        while at < len(items):
            fewer = items[:at] + items[at + step:]
            if still(fewer):
                items, shorter = fewer, True
            else:
                at += step
        if step == 1 and not shorter:
            return items
        step = max(1, step // 2)


def reduced(inputs: list[list[str]], still: Callable[[list[list[str]]], bool]) -> list[list[str]]:
    """Of inputs that show it together: the last 2, 4, 8, ... that do, of these the fewest, of each the fewest actions, and one input of all
    where that shows it, too."""
    count = 2
    while count < len(inputs) and not still(inputs[-count:]):
        count *= 2
    inputs = fewest(inputs[-count:], still)
    for number in range(len(inputs)):
        inputs[number] = fewest(inputs[number], lambda lines: still(inputs[:number] + [lines] + inputs[number + 1:]))
    together = [line for lines in inputs for line in lines]
    if len(inputs) > 1 and still([together]):
        return [fewest(together, lambda lines: still([lines]))]
    return inputs
