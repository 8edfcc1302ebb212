"""A task between its delivery and its outcome."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from hocket.contracts.records import Task
from hocket.core.offsets import Offsets
from hocket.core.schedule import Ticket
from hocket.kafka.log import Raw

SUSPECT = 2
"""Deaths of its workers after which a task runs beside no other such task."""
REMEMBERED = 10_000
"""How many ended tasks and cancelled requests a runtime remembers."""
_ANSWER_TOKENS = 2_000
"""An answer of 400 tokens: providers take about five times as much for them."""
_TOKEN_BYTES = 4  # of prose
_MOST_TOKENS = 50_000  # what is larger is a scan or a picture, or is cut before a model gets it
Ident = tuple[int, int, int]
"""Partition, offset and timestamp of a record: the last tells it from its successor at the same place in a topic that
was made anew."""
K = TypeVar("K")
V = TypeVar("V")


@dataclass(eq=False, slots=True)
class Job:
    """A record and the assignment that it counts for; a later assignment that delivers it again adopts it. `task` is
    None when it could not be decoded, or was not yet."""

    raw: Raw
    offsets: Offsets
    task: Task | None = None
    unreadable: bool = False
    """Whether it could not be decoded with its schema at hand."""
    crashes: int = 0
    """In how many deliveries its worker died."""
    cancelled: bool = False
    late: bool = False
    interruptible: bool = False
    """Whether its handler runs now, so that cancelling its asyncio task ends only that."""
    run: asyncio.Task[None] | None = None
    """None until it begins."""

    @property
    def unread(self) -> bool:
        """Whether its schema may have to be fetched before its task can be had."""
        return self.task is None and not self.unreadable

    @property
    def place(self) -> tuple[int, int]:
        """Partition and offset."""
        return (self.raw.partition, self.raw.offset)

    @property
    def ident(self) -> Ident:
        """What it is known by in whatever outlives an assignment."""
        return (self.raw.partition, self.raw.offset, self.raw.timestamp)

    @property
    def suspect(self) -> bool:
        """Whether so many of its workers died while it ran that it may be the cause."""
        return self.crashes >= SUSPECT

    @property
    def request_id(self) -> str:
        """Whose task it is; the key says so, too."""
        return self.task.request_id if self.task else (self.raw.key or b"").decode(errors="replace")

    def overdue(self, now: int) -> bool:
        """Whether its deadline has passed."""
        return self.task is not None and self.task.deadline is not None and self.task.deadline <= now

    @property
    def ticket(self) -> Ticket:
        """Its place among what waits, by its age in the topic, so that what is delivered again does not wait anew. What
        could not be decoded yet is quickly done with."""
        written = max(0, self.raw.timestamp)
        if (task := self.task) is None:
            return Ticket(priority=5, tenant="", received_ms=written)
        return Ticket(
            priority=min(max(task.priority, 0), 9),
            tenant=task.tenant,
            received_ms=written,
            deadline_ms=task.deadline,
            cost=estimated_tokens(task, len(self.raw.value or b"")),
        )


def estimated_tokens(task: Task, size: int) -> float:
    """What a task is charged in the fairness between tenants, in tokens of a prompt: its record, which has `size`
    bytes, what it refers to, and a usual answer. Within one specialty, prices are the same for all tenants."""
    far = 0
    if task.attachments or task.inputs:
        far = sum(a.size for a in task.attachments if a.uri) + sum(i.output.size for i in task.inputs if i.output.uri)
    return _ANSWER_TOKENS + min((size + far) / _TOKEN_BYTES, _MOST_TOKENS)


def remember(known: dict[K, V], key: K, value: V, most: int = REMEMBERED) -> None:
    """Keeps the latest `most` of them, and at times twice as many: single ones are dear to take from a dict's front."""
    known.pop(key, None)
    known[key] = value
    if len(known) > 2 * most:
        for old in list(islice(known, most)):
            del known[old]
