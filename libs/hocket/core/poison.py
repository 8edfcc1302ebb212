"""When does a stream of bad records mean that the stream, or this version of the program, is wrong? Pure."""

from __future__ import annotations

from collections import deque


class DeadRatio:
    """Share of unreadable records among the last `window`; `too_many` needs at least `least` of them seen."""

    def __init__(self, *, window: int = 100, least: int = 20, limit: float = 0.5) -> None:
        self._seen: deque[bool] = deque(maxlen=window)
        self._least = least
        self._limit = limit

    def add(self, *, dead: bool) -> None:
        """Counts one record."""
        self._seen.append(dead)

    @property
    def dead(self) -> int:
        """Unreadable ones in the window."""
        return sum(self._seen)

    @property
    def seen(self) -> int:
        """Records in the window."""
        return len(self._seen)

    @property
    def too_many(self) -> bool:
        """Whether to stop instead of emptying the topic into dead letters."""
        return self.seen >= self._least and self.dead > self._limit * self.seen
