"""Is this aggregator itself the bottleneck? By its own backlog: how long what waits for it will take it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

ON_S = 0.5
"""A backlog of so many seconds, twice in a row, is pressure ..."""
OFF_S = 0.1
CALM_LOOKS = 5
"""... until so many looks in a row have found less than OFF_S."""
_FEW = 50
"""Records that may wait without a measure of how fast they go."""


@dataclass(kw_only=True)
class Pressure:
    """On or off. `look` is told regularly what waits and what was done; workers that are slow do not show in it."""

    on: bool = False
    _looks: int = 0

    def look(self, waiting: int, done: int, seconds: float) -> bool:
        """Whether it has changed. `waiting` records are to be joined, `done` were in the last `seconds`."""
        behind = waiting * seconds / done if done else (float("inf") if waiting > _FEW else 0.0)
        against = behind < OFF_S if self.on else behind > ON_S
        self._looks = self._looks + 1 if against else 0
        changed = self._looks >= (CALM_LOOKS if self.on else 2)
        if changed:
            self.on, self._looks = not self.on, 0
        return changed
