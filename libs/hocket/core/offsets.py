"""Which offset of a partition may be committed while its records finish in any order. Pure.

Laws: everything below the committable offset is done; nothing that was received and is not done is ever below it; only
offsets that were received count, so transaction markers and compaction gaps, which nobody receives, hold nothing up.
"""

from __future__ import annotations

from collections import deque


class Offsets:
    """One partition during one assignment. Memory grows with what was received above the lowest unfinished offset."""

    def __init__(self) -> None:
        self._order: deque[int] = deque()  # received and not yet passed, rising; its head is unfinished
        self._unfinished: set[int] = set()
        self._next: int | None = None  # just above the highest offset known to be passed or received

    @property
    def outstanding(self) -> int:
        """How many offsets are received and not done."""
        return len(self._unfinished)

    def received(self, offset: int) -> None:
        """A record was delivered. Offsets come in rising order; ValueError otherwise, and nothing changes."""
        if self._next is not None and offset < self._next:
            raise ValueError(f"offset {offset} was delivered after {self._next - 1}")
        self._order.append(offset)
        self._unfinished.add(offset)
        self._next = offset + 1

    def done(self, offset: int) -> None:
        """A received record's outcome is safe; saying so twice is harmless. ValueError for offsets still to come."""
        if self._next is None or offset >= self._next:
            raise ValueError(f"offset {offset} was never delivered")
        self._unfinished.discard(offset)
        while self._order and self._order[0] not in self._unfinished:
            self._order.popleft()

    def advanced(self, position: int) -> None:
        """The consumer stands at `position`: what lies below was delivered, or nobody receives it."""
        self._next = max(position, self._next or 0)

    def committable(self) -> int | None:
        """The next offset that a new owner would have to process; None before anything is known."""
        return self._order[0] if self._order else self._next
