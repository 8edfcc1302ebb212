"""One runtime's side of the handover of partitions: what it says of its own calls, and what it has heard of others'."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable

from hocket.contracts import headers
from hocket.contracts.records import Away, Handover
from hocket.core.handover import Claims, owner_of
from hocket.kafka.job import remember
from hocket.kafka.log import KafkaRefused
from hocket.kafka.outbox import Outbox, Outgoing

log = logging.getLogger(__name__)

_TELL_S = 5.0  # no longer is a word waited for; with the commit before it, it must fit into the time for a rebalance
_DONE_KEPT = 2_000
Place = tuple[int, int]
"""Partition and offset."""


class Handovers:
    """`mark` names this run of the worker. Words go to `topic`, and are about `tasks`."""

    def __init__(self, mark: str, *, topic: str, tasks: str, outbox: Outbox, clock: Callable[[], int]) -> None:
        self.claims = Claims(mark)
        self.news = asyncio.Event()
        self._mark = mark
        self._topic = topic
        self._tasks = tasks
        self._outbox = outbox
        self._clock = clock
        self._assignment = 0
        self._ended = 0
        self._done: dict[Place, None] = {}

    @property
    def owner(self) -> str:
        """How this assignment's commits are signed."""
        return owner_of(self._mark, self._assignment)

    def begin(self) -> None:
        """A new assignment."""
        self._assignment += 1
        self.claims.renew(self._clock())

    def end(self) -> None:
        """The assignment ends in good order; `tell` makes it known."""
        self._ended = self._assignment

    def done(self, partition: int, offset: int) -> None:
        """The outcome is safe of a task whose partition is not held any more; to be told."""
        remember(self._done, (partition, offset), None, _DONE_KEPT)
        self.news.set()

    async def tell(self, running: Iterable[Place]) -> None:
        """Says what runs on and what has been done. Returns when that is safe, or after seconds: the tasks may be
        repeated then."""
        self.news.clear()
        away: dict[int, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
        for which, places in enumerate((running, self._done)):
            for partition, offset in places:
                away[partition][which].append(offset)
        said = tuple(Away(partition=p, running=tuple(r), done=tuple(d)) for p, (r, d) in sorted(away.items()))
        now = self._clock()
        word = Handover(worker=self._mark, topic=self._tasks, ended=self._ended, away=said, at=now)
        outgoing = Outgoing(topic=self._topic, key=self._mark, record=word, event_id=f"{self._mark}/{now}")
        try:
            async with asyncio.timeout(_TELL_S):
                message = await self._outbox.encode(outgoing, headers.traceparent(None, self._mark))
                await self._outbox.send([message])
        except TimeoutError:
            log.warning("%s: nobody could be told which calls run on: their tasks may be repeated", self._mark)
        except KafkaRefused as e:
            log.warning("nobody is told which calls run on: %s", e)
