"""Which timers of one partition are due, from its compacted topic, in bounded memory. Pure.

A timer that is due within NEAR_MS is held with its key. One that is due later is not: of those only the ranges of
offsets are held in which the timers of each minute stand, and a range is read again when its minute comes near. Done
markers, by far the most timers, are written in the order in which they will be due, so a minute is one short range.

A timer read again from a range may have been replaced by one beyond NEAR_MS, which nobody remembers: it then fires
although it no longer holds. That is harmless (the row decides by its own data) and costs one wake-up.

Memory: about 300 bytes for each timer due within NEAR_MS (at 300 requests/s some 30 MB), and at most MAX_RANGES ranges
for each minute ahead that has any (eight days: 11,520 minutes, about 2 MB a partition).
"""

from __future__ import annotations

import heapq

NEAR_MS = 300_000
MINUTE_MS = 60_000
MAX_RANGES = 8
GAP = 10_000
"""Offsets that lie closer than this belong to one range: reading some in between is cheaper than another seek."""

Range = tuple[int, int]
"""First and last offset."""


class Timetable:
    """The timers of one partition. `put` what is read, in any order; `due` gives what to fire, once.

    Ranges are kept for every `slot_ms`, which is less than `near_ms`.
    """

    def __init__(self, near_ms: int = NEAR_MS, slot_ms: int = MINUTE_MS) -> None:
        self._near_ms, self._slot_ms = near_ms, slot_ms
        self._near: dict[str, tuple[int, int]] = {}
        self._heap: list[tuple[int, str]] = []
        self._far: dict[int, list[Range]] = {}

    def __len__(self) -> int:
        """Timers that are held with their key."""
        return len(self._near)

    @property
    def minutes(self) -> int:
        """Minutes ahead of which ranges are held."""
        return len(self._far)

    def put(self, key: str, due_at: int | None, offset: int, now: int) -> None:
        """The timer of a key as it stands at an offset; None clears it. What stands at a lower offset is ignored."""
        held = self._near.get(key)
        if held is not None and held[1] > offset:
            return
        self._near.pop(key, None)
        if due_at is None:
            return
        if due_at > now + self._near_ms:
            self._remember(due_at // self._slot_ms, offset)
            return
        self._near[key] = (due_at, offset)
        heapq.heappush(self._heap, (due_at, key))
        if len(self._heap) > 2 * len(self._near) + 1_000:
            self._heap = [(at, k) for k, (at, _) in self._near.items()]
            heapq.heapify(self._heap)

    def _remember(self, minute: int, offset: int) -> None:
        ranges = self._far.setdefault(minute, [])
        if ranges and ranges[-1][0] - GAP <= offset <= ranges[-1][1] + GAP:
            first, last = ranges[-1]
            ranges[-1] = (min(first, offset), max(last, offset))
        else:
            ranges.append((offset, offset))
        if len(ranges) > MAX_RANGES:
            (a, b), (c, d) = ranges[-2:]
            ranges[-2:] = [(min(a, c), max(b, d))]

    def coming(self, now: int) -> list[Range]:
        """Ranges to read again now, because their minute has come near. They are not given twice."""
        minutes = sorted(m for m in self._far if m * self._slot_ms <= now + self._near_ms - self._slot_ms)
        return [r for m in minutes for r in self._far.pop(m)]

    def put_again(self, key: str, due_at: int | None, offset: int, now: int) -> None:
        """A record of a range that `coming` gave: kept if it is near; the others of the range stand elsewhere."""
        if due_at is not None and due_at <= now + self._near_ms:
            self.put(key, due_at, offset, now)

    def due(self, now: int, most: int) -> list[tuple[str, int]]:
        """Keys and moments that have come, the oldest first, at most so many; they are no longer held."""
        found: list[tuple[str, int]] = []
        while self._heap and self._heap[0][0] <= now and len(found) < most:
            at, key = heapq.heappop(self._heap)
            held = self._near.get(key)
            if held is not None and held[0] == at:
                del self._near[key]
                found.append((key, at))
        return found

    def next_due(self) -> int | None:
        """The earliest moment that may have a timer; None when no near one is held."""
        return self._heap[0][0] if self._heap else None
