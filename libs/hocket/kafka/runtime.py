"""Consume, call, produce: the runtime that the planner and every worker share.

A poll loop that never waits for a handler; calls that end in any order; offsets committed only up to the lowest
unfinished one, and only after the outcome is safe. At least once: after a crash or a rebalance what was not committed
is done again, and the aggregator counts each result once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial

from hocket.contracts.codec import Codec
from hocket.contracts.topics import Topics
from hocket.core.offsets import Offsets
from hocket.kafka.desk import Delivery, Desk, Handler, OnCrash, StreamPoisonedError
from hocket.kafka.log import CommitRefused, Consumer, Producer, Raw
from hocket.kafka.outbox import Outbox, Outgoing
from hocket.runtime import metrics
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings

__all__ = ["Delivery", "Handler", "OnCrash", "Outgoing", "Runtime", "Stats", "StreamPoisonedError"]

log = logging.getLogger(__name__)

_POLL_MS = 100
_TICK_S = 0.05  # between commits while there is work
_IDLE_S = 1.0  # how often an idle consumer looks whether markers have moved its position
_HOLD_S = 1.0  # full for longer than this: pause, which throws prefetched records away
_COMMIT_S = 3.0  # a commit in a rebalance or at the end may take this long
_FLUSH_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Stats:
    """A runtime's account of itself since its start."""

    in_flight: int
    queued: int
    completed: int
    failed: int
    dead_letters: int
    progress_dropped: int
    commit_failures: int
    mean_millis: float | None


@dataclass(eq=False)
class _Job:
    """A record and the assignment that it counts for; a later assignment that delivers it again adopts it."""

    raw: Raw
    offsets: Offsets

    @property
    def ident(self) -> tuple[int, int, int]:
        """The timestamp tells a record from its successor at the same place in a topic that was made anew."""
        return (self.raw.partition, self.raw.offset, self.raw.timestamp)


class Runtime:
    """Runs `handler` over one task topic, `concurrency` calls at once, as a member of `group`.

    `worker` is the id under which it is seen in results and heartbeats, `<instance>/<specialty>`. At most
    2 * concurrency records are held in memory. One run per object.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        topics: Topics,
        codec: Codec,
        topic: str,
        group: str,
        service: str,
        worker: str,
        handler: Handler,
        on_crash: OnCrash,
        producer: Producer,
        concurrency: int | None = None,
        consumer: Consumer | None = None,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self.topic = topic
        self.service = service
        self.worker = worker
        self.specialty = topics.plain(topic).removeprefix("tasks-")
        self.draining = False
        self._concurrency = concurrency or settings.concurrency
        self._consumer = consumer or _kafka_consumer(settings, topic, group, f"{service}/{worker}")
        who = f"{service}/{worker}"
        dropped = metrics.PROGRESS_DROPPED.labels(self.specialty)
        self._outbox = Outbox(producer=producer, codec=codec, source=who, clock=clock, on_drop=dropped.inc)
        self._desk = Desk(
            outbox=self._outbox,
            handler=handler,
            on_crash=on_crash,
            dead_letters=topics.dead_letters,
            who=who,
            specialty=self.specialty,
            clock=clock,
        )
        self._held: dict[int, Offsets] = {}
        self._committed: dict[int, int] = {}
        self._commit_failures = 0
        self._queue: deque[_Job] = deque()
        self._running: dict[tuple[int, int, int], tuple[_Job, asyncio.Task[None]]] = {}
        self._room = asyncio.Event()
        self._paused = False
        self._dirty = asyncio.Event()
        self._failed = asyncio.Event()
        self._failure: BaseException | None = None
        self._grace = settings.grace_seconds
        self._stopping = asyncio.Event()
        self._stopped = asyncio.Event()

    @property
    def joined(self) -> bool:
        """Whether it is in the group with its partitions settled: ready for work."""
        return self._consumer.joined and not self.draining

    @property
    def partitions(self) -> tuple[int, ...]:
        """The partitions it holds now."""
        return tuple(sorted(self._held))

    @property
    def stats(self) -> Stats:
        """Counters for heartbeats and tests."""
        counts = self._desk.counts
        return Stats(
            in_flight=len(self._running),
            queued=len(self._queue),
            completed=counts.completed,
            failed=counts.failed,
            dead_letters=counts.dead_letters,
            progress_dropped=self._outbox.dropped,
            commit_failures=self._commit_failures,
            mean_millis=counts.mean_millis,
        )

    async def run(self) -> None:
        """Works until `stop`, or until it is cancelled, which ends the calls in flight.

        Raises StreamPoisonedError when most of the topic is unreadable, KafkaUnreachable, KafkaRefused, or whatever
        broke the client for good; nothing is lost then, a new process goes on.
        """
        loops = [asyncio.create_task(x) for x in (self._polls(), self._commits(), self._outbox.write_progress())]
        ends = [asyncio.create_task(x) for x in (self._stopping.wait(), self._failed.wait())]
        try:
            done, _ = await asyncio.wait([*loops, *ends], return_when=asyncio.FIRST_COMPLETED)
            self.draining = True
            loops[0].cancel()  # take nothing more
            self._queue.clear()
            await self._drain()
            for task in done:
                task.result()
            if self._failure is not None:
                raise self._failure
        finally:
            self.draining = True
            await self._end([*loops, *ends, *(task for _, task in self._running.values())])
            self._stopped.set()

    async def stop(self, grace: float | None = None) -> None:
        """Takes nothing more, lets calls in flight end within `grace` seconds, commits, leaves the group."""
        if grace is not None:
            self._grace = grace
        self._stopping.set()
        await self._stopped.wait()

    async def _drain(self) -> None:
        jobs = [task for _, task in self._running.values()]
        if jobs:
            await asyncio.wait(jobs, timeout=self._grace)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._outbox.progress_written(), _FLUSH_S)

    async def _end(self, tasks: Collection[asyncio.Task[object]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await self._commit_briefly()
        finally:
            await self._consumer.close()

    async def _polls(self) -> None:
        await self._consumer.start(self._on_assigned, self._on_revoked)
        while True:
            room = self._concurrency - len(self._queue)
            if room <= 0:
                await self._wait_for_room()
                continue
            for raw in await self._consumer.poll(room, _POLL_MS):
                self._take(raw)
            self._start_ready()

    async def _wait_for_room(self) -> None:
        """Backpressure. Goes on polling, paused, so that the group does not take this member for dead."""
        if await self._room_within(_HOLD_S):
            return
        self._paused = True
        self._consumer.pause(self._held)
        while not await self._room_within(_HOLD_S):
            for raw in await self._consumer.poll(1, 0):
                self._take(raw)
        self._paused = False
        self._consumer.resume(self._held)

    async def _room_within(self, seconds: float) -> bool:
        self._room.clear()
        if len(self._queue) < self._concurrency:
            return True
        try:
            await asyncio.wait_for(self._room.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _take(self, raw: Raw) -> None:
        if raw.partition not in self._held:
            raise RuntimeError(f"a record of {raw.topic}/{raw.partition} came, which is not assigned")
        offsets = self._held[raw.partition]
        offsets.received(raw.offset)
        job = _Job(raw, offsets)
        if job.ident in self._running:  # it went on through a rebalance, and the partition has come back
            self._running[job.ident][0].offsets = offsets
        else:
            self._queue.append(job)

    def _start_ready(self) -> None:
        while self._queue and len(self._running) < self._concurrency and not self.draining:
            job = self._queue.popleft()
            if job.ident in self._running:
                self._running[job.ident][0].offsets = job.offsets
                continue
            task = asyncio.create_task(self._desk.process(job.raw))
            self._running[job.ident] = (job, task)
            task.add_done_callback(partial(self._ended, job))
        if len(self._queue) <= self._concurrency // 2:
            self._room.set()
        self._show()

    def _ended(self, job: _Job, task: asyncio.Task[None]) -> None:
        del self._running[job.ident]
        if not task.cancelled():
            if (error := task.exception()) is not None:
                self._failure = self._failure or error
                self._failed.set()
            else:
                # If its partition was revoked, these offsets are nobody's any more and are never committed.
                job.offsets.done(job.raw.offset)
                self._dirty.set()
        self._start_ready()

    def _show(self) -> None:
        metrics.IN_FLIGHT.labels(self.specialty).set(len(self._running))
        metrics.QUEUED.labels(self.specialty).set(len(self._queue))

    def _on_assigned(self, partitions: Collection[int]) -> None:
        self._held = {p: Offsets() for p in partitions}
        self._committed = {}
        if self._paused:
            self._consumer.pause(partitions)
        log.info("%s holds partitions %s", self.worker, sorted(partitions))

    async def _on_revoked(self, partitions: Collection[int]) -> None:
        """What waits is given up, what runs goes on and its outcome is sent; the new owner may repeat it."""
        gone = set(partitions)
        self._queue = deque(job for job in self._queue if job.raw.partition not in gone)
        self._room.set()
        try:
            await self._commit_briefly()
        finally:
            for partition in gone:
                self._held.pop(partition, None)

    async def _commits(self) -> None:
        while True:
            try:
                await asyncio.wait_for(self._dirty.wait(), _IDLE_S)
            except TimeoutError:
                await self._note_positions()
            self._dirty.clear()
            await self._commit()
            if self._running:
                await asyncio.sleep(_TICK_S)

    async def _note_positions(self) -> None:
        """Steps idle partitions over transaction markers, so that an idle group's lag reads 0."""
        for partition, offsets in list(self._held.items()):
            if offsets.outstanding:
                continue
            position = await self._consumer.position(partition)
            if position is not None:
                offsets.advanced(position)

    async def _commit(self) -> None:
        due = {
            partition: offset
            for partition, offsets in self._held.items()
            if (offset := offsets.committable()) is not None and offset != self._committed.get(partition)
        }
        if not due:
            return
        try:
            await self._consumer.commit(due)
        except CommitRefused as e:
            self._commit_failures += 1
            metrics.COMMIT_FAILURES.labels(self.specialty).inc()
            log.info("%s: offsets not committed, the new owner repeats: %s", self.worker, e)
        else:
            self._committed.update(due)

    async def _commit_briefly(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._commit(), _COMMIT_S)


def _kafka_consumer(settings: Settings, topic: str, group: str, client_id: str) -> Consumer:
    from hocket.kafka.aio import KafkaConsumer  # takes a moment to import

    return KafkaConsumer(settings, topic=topic, group=group, client_id=client_id)
