"""Choices made of bytes: whoever finds the bytes, a fuzzer or hypothesis, finds the input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """Some bytes, used up choice by choice; when they are over, every choice is the first.

    >>> choices = Choices(bytes([1, 2, 7, 8]))
    >>> choices.one_of("abc"), choices.number(1), choices.rest()
    ('b', 0, b'\\x07\\x08')
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, most: int) -> int:
        """Return a number from 0 to ``most``."""
        size = 1 if most < 256 else 2
        return int.from_bytes(self.some(size), "big") % (most + 1)

    def one_of(self, options: Sequence[T]) -> T:
        """Return one of these."""
        return options[self.number(len(options) - 1)]

    def some(self, size: int) -> bytes:
        """Return the next bytes, fewer at the end."""
        taken = self._data[self._at : self._at + size]
        self._at += len(taken)
        return taken

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.some(len(self._data))

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to choose by."""
        return self._at >= len(self._data)
