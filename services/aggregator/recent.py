"""Rows as values, kept beside the table that holds their bytes: most rows are read again within a second. Pure."""

from __future__ import annotations

from typing import Generic, TypeVar

V = TypeVar("V")


class Recent(Generic[V]):
    """The values of the bytes that were stored last, so that they need not be read from them again.

    A value is only given for the very bytes it was stored as, so a table that was rolled back, moved away or restored
    makes it forget. Holds `most` bytes at most, the latest used.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._held: dict[bytes, tuple[bytes, V]] = {}

    def get(self, key: bytes, stored: bytes) -> V | None:
        """The value of these bytes, if it is remembered."""
        found = self._held.get(key)
        return found[1] if found is not None and found[0] == stored else None

    def put(self, key: bytes, stored: bytes | None, value: V | None) -> None:
        """What stands under the key from now on; nothing, if either is None."""
        before = self._held.pop(key, None)
        self._size -= len(before[0]) if before is not None else 0
        if stored is None or value is None:
            return
        self._held[key] = (stored, value)
        self._size += len(stored)
        while self._size > self._most:
            oldest = next(iter(self._held))
            self._size -= len(self._held.pop(oldest)[0])
