"""Which offset of a partition may be committed while its records finish in any order. Pure.

Laws: everything below the committable offset is done; nothing that was received and is not done is ever below it; only
offsets that were received count, so transaction markers and compaction gaps, which nobody receives, hold nothing up;
what the predecessor's done-map calls done stays done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from hocket.core.donemap import DoneMap, Flight

_SLACK = 1_000


class Offsets:
    """One partition during one assignment. Memory grows with what is unfinished, not with what is done above it."""

    def __init__(self, inherited: DoneMap | None = None) -> None:
        self._order: deque[int] = deque()  # received and perhaps unfinished, rising; its head is unfinished
        self._unfinished: set[int] = set()
        self._next: int | None = None  # just above the highest offset known to be passed or received
        self._inherited = inherited
        self._ahead: dict[int, None] = {}  # open by the map and not received yet, rising
        if inherited is not None:
            self._next = inherited.base
            self._ahead = dict.fromkeys(sorted(inherited.open))

    @property
    def outstanding(self) -> int:
        """How many offsets are received and not done."""
        return len(self._unfinished)

    def received(self, offset: int) -> bool:
        """A record was delivered; whether there is work left on it. Offsets come in rising order; ValueError otherwise,
        and nothing changes."""
        if self._next is not None and offset < self._next:
            raise ValueError(f"offset {offset} was delivered after {self._next - 1}")
        self._next = offset + 1
        while self._ahead and (first := next(iter(self._ahead))) <= offset:
            del self._ahead[first]
        if self._inherited is not None and self._inherited.done(offset):
            return False
        self._order.append(offset)
        self._unfinished.add(offset)
        return True

    def done(self, offset: int) -> None:
        """A received record's outcome is safe; saying so twice is harmless. ValueError for offsets still to come."""
        if self._next is None or offset >= self._next:
            raise ValueError(f"offset {offset} was never delivered")
        self._unfinished.discard(offset)
        while self._order and self._order[0] not in self._unfinished:
            self._order.popleft()
        if len(self._order) > 2 * len(self._unfinished) + _SLACK:
            self._order = deque(o for o in self._order if o in self._unfinished)

    def advanced(self, position: int) -> None:
        """The consumer stands at `position`: what lies below was delivered, or nobody receives it."""
        self._next = max(position, self._next or 0)
        while self._ahead and (first := next(iter(self._ahead))) < position:
            del self._ahead[first]

    def committable(self) -> int | None:
        """The next offset that a new owner would have to process; None before anything is known."""
        if self._order:
            return self._order[0]
        if self._inherited is None or self._next is None or self._next >= self._inherited.top:
            return self._next
        return next(iter(self._ahead), self._inherited.top)

    def waits(self, offset: int) -> bool:
        """Whether it was received and is not done."""
        return offset in self._unfinished

    def standing(self, flights: Mapping[int, Flight], holder: str = "") -> DoneMap | None:
        """What stands above the committable offset, to be committed with it; None before anything is known."""
        base = self.committable()
        if base is None or self._next is None:
            return None
        top = self._next if self._inherited is None else max(self._next, self._inherited.top)
        still = {o: flights.get(o) for o in self._order if o in self._unfinished}
        ahead = {o: flights.get(o) for o in self._ahead}
        return DoneMap(base=base, top=top, open=still | ahead, holder=holder)
