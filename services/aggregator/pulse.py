"""Whether the join's thread still moves, for the liveness probe. Pure: it is given seconds of one monotonic clock."""

from __future__ import annotations

from dataclasses import dataclass

HUNG_AFTER_S = 120.0
"""A round of the join takes a second at most when it has nothing to do, and less than a minute when a broker or a blob
store does not answer: whoever has said nothing for twice as long hangs."""


@dataclass(kw_only=True)
class Pulse:
    """When the join last said that it moves. Before the first time nothing is expected of it: it waits for topics."""

    at: float | None = None

    def beat(self, now: float) -> None:
        """The join has done a round."""
        self.at = now

    def moving(self, now: float, *, recovering: bool) -> bool:
        """Whether it moves. Rebuilding tables is one long round, however large they are: nobody is hung meanwhile."""
        if self.at is None:
            return True
        if recovering:
            self.at = now
        return now - self.at <= HUNG_AFTER_S
