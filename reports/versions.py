"""Debian's ordering of version strings (deb-version(7)), and ranges such as `>=6.1, <6.12` or `6.1.*`."""
from __future__ import annotations

import fnmatch
import functools
import itertools
import operator
import re

_OPERATORS = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
_PARTS = re.compile(r"([^0-9]*)([0-9]*)")


def _order(char: str) -> int:
    if char == "~":
        return -1
    if char.isalpha():
        return ord(char)
    return ord(char) + 256


def _compare_words(a: str, b: str) -> int:
    for x, y in itertools.zip_longest(a, b):
        weight_x = 0 if x is None else _order(x)
        weight_y = 0 if y is None else _order(y)
        if weight_x != weight_y:
            return -1 if weight_x < weight_y else 1
    return 0


def _compare_part(a: str, b: str) -> int:
    for (word_a, number_a), (word_b, number_b) in itertools.zip_longest(
        _PARTS.findall(a), _PARTS.findall(b), fillvalue=("", "")
    ):
        by_word = _compare_words(word_a, word_b)
        if by_word:
            return by_word
        difference = int(number_a or 0) - int(number_b or 0)
        if difference:
            return -1 if difference < 0 else 1
    return 0


def _split(version: str) -> tuple[int, str, str]:
    epoch, colon, rest = version.partition(":")
    if not colon or not epoch.isdigit():
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-")
    return int(epoch), upstream or revision, revision if upstream else ""


def compare(a: str, b: str) -> int:
    """-1, 0 or 1, as dpkg --compare-versions orders them."""
    (epoch_a, upstream_a, revision_a), (epoch_b, upstream_b, revision_b) = _split(a), _split(b)
    if epoch_a != epoch_b:
        return -1 if epoch_a < epoch_b else 1
    return _compare_part(upstream_a, upstream_b) or _compare_part(revision_a, revision_b)


key = functools.cmp_to_key(compare)


def matches(version: str, wanted: str) -> bool:
    """Is `version` in the range? Terms are separated by commas and must all hold."""
    return all(_term(version, term.strip()) for term in wanted.split(","))


def _term(version: str, term: str) -> bool:
    for sign, compared in _OPERATORS.items():
        if term.startswith(sign):
            return compared(compare(version, term[len(sign):].strip()), 0)
    return fnmatch.fnmatchcase(version, term)
