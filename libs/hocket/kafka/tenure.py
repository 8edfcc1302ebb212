"""The partitions that one runtime holds: taking them over from other workers, and handing them over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection

from hocket.core.donemap import Flight
from hocket.core.handover import Fate
from hocket.kafka.handover import Handovers, Place
from hocket.kafka.intake import Intake
from hocket.kafka.job import Ident, Job, remember
from hocket.kafka.ledger import Ledger
from hocket.kafka.log import Consumer, Raw
from hocket.kafka.recall import Outcomes, Recall

log = logging.getLogger(__name__)


class Tenure:
    """What is held; `queue` is what the runtime has fetched, `running` its calls. After a predecessor's death that many
    starts as `cautious` says are noted before they happen.

    A job is away when its partition is not held any more, or not again yet: its offset is then told, not committed.
    """

    def __init__(
        self,
        consumer: Consumer,
        words: Handovers,
        queue: Intake,
        *,
        on_broken: Callable[[BaseException], None],
        clock: Callable[[], int],
        recall: Recall | None = None,
    ) -> None:
        self.words = words
        self.caught_up: Callable[[], Awaitable[None]] = _nothing_to_hear
        self.ledger = Ledger(consumer, flights=self._flights, holder=lambda: words.owner, clock=clock)
        self.dirty = asyncio.Event()
        self._on_broken = on_broken
        self._recall = recall
        self._written: Outcomes = {}  # outcomes that the dead may not have committed
        self.careful = 0  # how many more starts wait until they are noted: a predecessor died, perhaps at once
        self.cautious = 0
        self.running: dict[Ident, Job] = {}  # by ident, whether their partition is still held or not
        self._queue = queue
        self._barrier: asyncio.Task[None] | None = None
        self._inherited: dict[int, dict[int, Flight]] = {}  # by partition and offset, as the done-maps tell
        self._ended_lately: dict[Place, int] = {}  # their timestamps
        self._handing_over = asyncio.Lock()  # a rebalance may come while it leaves
        self.leaving = False  # an assignment means nothing any more

    @property
    def settled(self) -> bool:
        """Whether the done-maps of all that is held are read."""
        return self._barrier is None or self._barrier.done()

    @property
    def recalls(self) -> bool:
        """Whether outcomes of dead workers are known, by which tasks that can be read are told to be done."""
        return bool(self._written)

    def fate(self, job: Job) -> Fate | None:
        """What another worker has said of this task, or, before it died, written for it."""
        return "done" if self._is_written(job) else self.words.claims.fate(*job.place, self._flown(job))

    def _is_written(self, job: Job) -> bool:
        if not self._written or self._recall is None or job.task is None:
            return False
        # An older outcome is of another delivery: the task was sent again since, out of the dead letters.
        return self._written.get(self._recall.id_of(job.task), -1) >= job.raw.timestamp

    def crashes(self, job: Job) -> int:
        """In how many deliveries of it a worker died."""
        return self.words.claims.crashes(self._flown(job))

    def adopted(self, raw: Raw) -> bool:
        """Whether a record that is delivered now needs no start: it went on running through a rebalance, or ended in
        it."""
        offsets = self.ledger.get(raw.partition)
        ident = (raw.partition, raw.offset, raw.timestamp)
        if offsets is None or (ident not in self.running and self._ended_lately.get(ident[:2]) != raw.timestamp):
            return False
        if ident in self.running:
            self.running[ident].offsets = offsets
        else:
            offsets.done(raw.offset)
            self.dirty.set()
        return True

    def done(self, job: Job) -> None:
        """Its outcome is safe: to be committed, or, when the partition is away, to be told to its new owner."""
        self.ended(job.ident)
        if self._is_away(job):
            self.words.done(*job.place)
        else:
            job.offsets.done(job.raw.offset)
            self.dirty.set()

    def ended(self, ident: Ident) -> None:
        """Its outcome is safe: should it be delivered, it is done."""
        remember(self._ended_lately, ident[:2], ident[2])

    def away(self) -> list[Place]:
        """What runs whose partition is not held."""
        return [job.place for job in self.running.values() if self._is_away(job)]

    def assigned(self, partitions: Collection[int]) -> None:
        """A new assignment; nothing of it is delivered before the barrier falls. One that comes to a process on its way
        out must not begin: nobody would be told of its end, and its calls would count as a dead worker's."""
        if self.leaving:
            return
        self.ledger.assigned(partitions)
        self.words.begin()
        if self._barrier is not None:
            self._barrier.cancel()
        self._barrier = asyncio.create_task(self._open())
        self._barrier.add_done_callback(self._opened)

    async def revoked(self, partitions: Collection[int]) -> None:
        """What waits is given up; what runs goes on, and the new owner is told of it before it can be one."""
        self._queue.forget(partitions)
        for job in [job for job in self.running.values() if job.run is None]:
            del self.running[job.ident]
            self._queue.ended(job)
        if self._barrier is not None:
            self._barrier.cancel()
        async with self._handing_over:
            self.words.end()
            if not await self.ledger.give_up(partitions):
                for partition, offset in self._ended_lately:
                    if partition in partitions:
                        self.words.done(partition, offset)
            await self.words.tell(self.away())

    async def _open(self) -> None:
        """The barrier: nothing of a partition runs before its committed offset and done-map are read, and what other
        workers said that still run tasks of it."""
        maps, _ = await asyncio.gather(self.ledger.read(), self.caught_up())
        self._inherited = {p: found.flights if found else {} for p, found in maps.items()}
        orphans = [found for found in maps.values() if found is None or self.words.claims.died(found.holder)]
        if orphans:
            self.careful = self.cautious
            self._written = await self._recalled([found.at for found in orphans if found is not None and found.at])
        self.ledger.opened(maps)
        self.dirty.set()

    async def _recalled(self, times: Collection[int]) -> Outcomes:
        if self._recall is None or not times:  # what nobody has committed is new: its worker lived milliseconds
            return {}
        return await self._recall.written(min(times), max(times))

    def _opened(self, barrier: asyncio.Task[None]) -> None:
        if not barrier.cancelled() and (error := barrier.exception()) is not None:
            self._on_broken(error)

    def _flights(self) -> dict[int, dict[int, Flight]]:
        found = {p: dict(flights) for p, flights in self._inherited.items()}
        owner = self.words.owner
        first = Flight(owner=owner, deliveries=1)  # the usual case, not made anew for a thousand calls every 20 ms
        for job in self.running.values():
            if not self._is_away(job):
                mine = Flight(owner=owner, deliveries=job.crashes + 1) if job.crashes else first
                found.setdefault(job.raw.partition, {})[job.raw.offset] = mine
        return found

    def _flown(self, job: Job) -> Flight | None:
        return self._inherited.get(job.raw.partition, {}).get(job.raw.offset)

    def _is_away(self, job: Job) -> bool:
        return self.ledger.get(job.raw.partition) is not job.offsets


async def _nothing_to_hear() -> None: ...
