"""When the join's transaction ends: as soon as nothing more is there to be read, but not so often that commits eat the
machine. Pure.

A fixed interval is wrong twice: a lone request waits for it at each of its hops, and a flood pays for a hundred
transactions a second where twenty would do. So a commit comes when the input is drained (or the oldest record has
waited MAX_WAIT_S), and each one costs a rest of REST times what it took. Up to BURST_S of it may be owed: the few
commits of a lone request follow each other at once, and only when more come does each wait until the debt is low.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_WAIT_S = 0.05
"""A record that has been processed waits at most so long for its transaction to end, beside the rest."""
REST = 2.0
"""Share of the time that commits may take: one part in REST + 1."""
BURST_S = 0.1
"""So much rest may be owed."""
MAX_REST_S = 0.25
"""One slow commit does not hold up those after it for longer."""
_IDLE_S = 1.0
"""An empty transaction is ended and begun anew so often; doing it at every poll costs an idle process a tenth of a
core."""


@dataclass(kw_only=True)
class Rhythm:
    """Decides when to commit. Pure: seconds of one monotonic clock are given to it."""

    ended: float = 0.0
    free: float = 0.0
    """When the next commit may begin, by those before it."""
    since: float | None = None
    """When the first record of the open transaction was processed; None while it is empty."""
    drained: bool = False

    def processed(self, now: float) -> None:
        """A record was processed."""
        if self.since is None:
            self.since = now

    def committed(self, began: float, ended: float) -> None:
        """A transaction was ended, in this time; the next one is empty."""
        if self.since is not None:
            owed = max(0.0, self.free + BURST_S - began) + (REST + 1) * (ended - began)
            self.free = min(began + owed - BURST_S, ended + MAX_REST_S)
        self.ended, self.since = ended, None

    def wait(self, now: float, longest: float) -> float:
        """How long the next poll may wait for a record."""
        if self.since is None:
            return longest
        return min(longest, max(0.0, self.free - now))

    def due(self, now: float) -> bool:
        """Whether to commit now."""
        if self.since is None:
            return now - self.ended >= _IDLE_S
        return now >= self.free and (self.drained or now - self.since >= MAX_WAIT_S)
