"""A task between its delivery and its outcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from hocket.core.offsets import Offsets
from hocket.core.schedule import Ticket
from hocket.kafka.desk import Visit
from hocket.kafka.log import Raw

REMEMBERED = 10_000
"""How many ended tasks and cancelled requests a runtime remembers."""
K = TypeVar("K")
V = TypeVar("V")


@dataclass(eq=False)
class Job:
    """A record and the assignment that it counts for; a later assignment that delivers it again adopts it."""

    raw: Raw
    offsets: Offsets
    visit: Visit

    @property
    def ident(self) -> tuple[int, int, int]:
        """The timestamp tells a record from its successor at the same place in a topic that was made anew."""
        return (self.raw.partition, self.raw.offset, self.raw.timestamp)

    @property
    def request_id(self) -> str:
        """Whose task it is; the key says so, too."""
        return self.visit.task.request_id if self.visit.task else (self.raw.key or b"").decode(errors="replace")

    def late(self, now: int) -> bool:
        """Whether its deadline has passed."""
        task = self.visit.task
        return task is not None and task.deadline is not None and task.deadline <= now

    def ticket(self, now: int) -> Ticket:
        """Its place among what waits. What could not be decoded yet is quickly done with."""
        if (task := self.visit.task) is None:
            return Ticket(priority=5, tenant="", received_ms=now)
        return Ticket(
            priority=min(max(task.priority, 0), 9), tenant=task.tenant, received_ms=now, deadline_ms=task.deadline
        )


def remember(known: dict[K, V], key: K, value: V) -> None:
    """Keeps the latest REMEMBERED of them."""
    known.pop(key, None)
    known[key] = value
    if len(known) > REMEMBERED:
        del known[next(iter(known))]
