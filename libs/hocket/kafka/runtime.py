"""Consume, call, produce: the runtime that the planner and every worker share.

A poll loop that never waits for a handler; calls that end in any order; offsets committed only up to the lowest
unfinished one, with a map of what is done above it, and only after the outcome is safe. At least once: after a crash
what was in flight, or done within the last commit tick, is done again, and the aggregator counts each result once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial

from hocket.contracts.codec import Codec
from hocket.contracts.topics import Topics
from hocket.core.donemap import Flight, crashes, unowned
from hocket.core.pace import Pace
from hocket.kafka.desk import Delivery, Desk, Handler, Hooks, OnCrash, OnEnd, StreamPoisonedError
from hocket.kafka.intake import Intake
from hocket.kafka.job import Job, remember
from hocket.kafka.ledger import Ledger
from hocket.kafka.log import Consumer, Producer, Raw
from hocket.kafka.outbox import Outbox, Outgoing
from hocket.runtime import metrics
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings

__all__ = ["Delivery", "Handler", "OnCrash", "OnEnd", "Outgoing", "Runtime", "Stats", "StreamPoisonedError"]

log = logging.getLogger(__name__)

_POLL_MS = 100
_POLL_RECORDS = 250  # decoded in one go: calls in flight wait so long
_TICK_S = 0.05  # between commits while there is work
_IDLE_S = 1.0  # how often an idle consumer looks whether markers have moved its position
_HOLD_S = 1.0  # full for longer than this: pause, which throws prefetched records away
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
    queued_by_class: tuple[int, ...] = ()
    paused: tuple[int, ...] = ()


class Runtime:
    """Runs `handler` over one task topic, `concurrency` calls at once, as a member of `group`.

    `worker` is the id under which it is seen in results and heartbeats, `<instance>/<specialty>`. At most
    `settings.window` records, and about 64 MB of them, wait in memory. `on_cancel` and `on_late` say what is sent for a
    task whose request is cancelled, or whose deadline passed before it was started; without them, and without a
    deadline of its own, the handler runs. One run per object.
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
        on_cancel: OnEnd | None = None,
        on_late: OnEnd | None = None,
    ) -> None:
        self.topic = topic
        self.service = service
        self.worker = worker
        self.specialty = topics.plain(topic).removeprefix("tasks-")
        self.draining = False
        self._clock = clock
        self._concurrency = concurrency or settings.concurrency
        self._consumer = consumer or _kafka_consumer(settings, topic, group, f"{service}/{worker}")
        who = f"{service}/{worker}"
        self._meters = metrics.Meters(self.specialty)
        on_drop = self._meters.progress_dropped.inc
        self._outbox = Outbox(producer=producer, codec=codec, source=who, clock=clock, on_drop=on_drop)
        self._pace = Pace()
        hooks = Hooks(handler=handler, on_crash=on_crash, on_cancel=on_cancel, on_late=on_late, on_run=self._pace.note)
        self._desk = Desk(self._outbox, hooks, topics.dead_letters, who=who, specialty=self.specialty, clock=clock)
        self._me = f"{worker}@{secrets.token_hex(3)}"  # a restarted process is another owner
        self._ledger = Ledger(self._consumer, flights=self._flights, on_refused=self._refused)
        self._commit_failures = 0
        self._barrier: asyncio.Task[None] | None = None
        self._crashes: dict[int, dict[int, int]] = {}  # by partition and offset, as the done-maps tell
        self._queue = Intake(settings.window or max(5_000, 4 * self._concurrency))
        self._running: dict[tuple[int, int, int], tuple[Job, asyncio.Task[None]]] = {}
        self._ended_lately: dict[tuple[int, int], int] = {}  # their timestamps, by place
        self._cancelled: dict[str, None] = {}
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
        return self._consumer.joined and not self.draining and (self._barrier is None or self._barrier.done())

    @property
    def partitions(self) -> tuple[int, ...]:
        """The partitions it holds now."""
        return self._ledger.partitions

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
            queued_by_class=self._queue.by_class,
            paused=self._ledger.partitions if self._paused else self._ledger.wide,
        )

    def cancel(self, request_id: str) -> None:
        """Ends the request's tasks: those that run are cancelled, those that wait or arrive later never start. Returns
        at once. The last 10,000 ids are remembered."""
        remember(self._cancelled, request_id, None)
        for job in self._queue.discard(lambda job: job.request_id == request_id):
            self._launch(job)
        for job, task in self._running.values():
            if job.request_id == request_id and not job.visit.cancelled:
                job.visit.cancelled = True
                if job.visit.interruptible:
                    task.cancel()

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
            self._queue.discard(lambda _: True)
            await self._drain()
            for task in done:
                task.result()
            if self._failure is not None:
                raise self._failure
        finally:
            self.draining = True
            barrier = [self._barrier] if self._barrier else []
            await self._end([*loops, *ends, *barrier, *(task for _, task in self._running.values())])
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
            await self._ledger.commit_briefly(leaving=True)
        finally:
            await self._consumer.close()

    async def _polls(self) -> None:
        await self._consumer.start(self._on_assigned, self._on_revoked)
        while True:
            if not self._queue.has_room:
                await self._wait_for_room()
                continue
            room = min(_POLL_RECORDS, self._queue.free)
            for raw in await self._consumer.poll(room, _POLL_MS):
                self._take(raw)
            self._start_ready()

    async def _wait_for_room(self) -> None:
        """Backpressure. Goes on polling, paused, so that the group does not take this member for dead."""
        if await self._queue.room_within(_HOLD_S):
            return
        self._paused = True
        self._ledger.pause()
        while not await self._queue.room_within(_HOLD_S):
            for raw in await self._consumer.poll(1, 0):
                self._take(raw)
        self._paused = False
        self._ledger.resume()

    def _take(self, raw: Raw) -> None:
        offsets = self._ledger.get(raw.partition)
        if offsets is None:
            raise RuntimeError(f"a record of {raw.topic}/{raw.partition} came, which is not assigned")
        if not offsets.received(raw.offset):
            self._dirty.set()
            return
        ident = (raw.partition, raw.offset, raw.timestamp)
        if ident in self._running:  # it went on through a rebalance, and the partition has come back
            self._running[ident][0].offsets = offsets
        elif self._ended_lately.get(ident[:2]) == raw.timestamp:  # it ended during the rebalance
            offsets.done(raw.offset)
            self._dirty.set()
        else:
            visit = self._desk.open(raw)
            visit.crashes = self._crashes.get(raw.partition, {}).get(raw.offset, 0)
            self._queue.push(Job(raw, offsets, visit), self._clock())

    def _start_ready(self) -> None:
        while len(self._running) < self._concurrency and not self.draining:
            if (job := self._queue.pop(self._clock())) is None:
                break
            self._launch(job)
        self._show()

    def _launch(self, job: Job) -> None:
        task, now = job.visit.task, self._clock()
        job.visit.late = job.late(now) or (task is not None and not self._pace.can_meet(task.deadline, now))
        job.visit.cancelled = job.request_id in self._cancelled
        run = asyncio.create_task(self._desk.process(job.visit))
        self._running[job.ident] = (job, run)
        run.add_done_callback(partial(self._ended, job))
        self._dirty.set()  # that it runs is committed, too: should it kill this process, its next owner can tell

    def _ended(self, job: Job, task: asyncio.Task[None]) -> None:
        del self._running[job.ident]
        if not task.cancelled():
            if (error := task.exception()) is not None:
                self._fail(error)
            else:
                # If its partition was revoked, these offsets are nobody's any more and are never committed.
                job.offsets.done(job.raw.offset)
                remember(self._ended_lately, (job.raw.partition, job.raw.offset), job.raw.timestamp)
                self._dirty.set()
        self._start_ready()

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._failed.set()

    def _show(self) -> None:
        self._meters.in_flight.set(len(self._running))
        self._meters.queued.set(len(self._queue))

    def _refused(self) -> None:
        self._commit_failures += 1
        metrics.COMMIT_FAILURES.labels(self.specialty).inc()

    def _flights(self) -> dict[int, dict[int, Flight]]:
        found = {p: {o: Flight(owner="", deliveries=n) for o, n in died.items()} for p, died in self._crashes.items()}
        for job, _ in self._running.values():
            died = self._crashes.get(job.raw.partition, {}).get(job.raw.offset, 0)
            mine = Flight(owner=self._me, deliveries=died + 1)
            found.setdefault(job.raw.partition, {})[job.raw.offset] = mine
        return found

    def _on_assigned(self, partitions: Collection[int]) -> None:
        self._ledger.assigned(partitions)
        if self._barrier is not None:
            self._barrier.cancel()
        self._barrier = asyncio.create_task(self._open())
        self._barrier.add_done_callback(self._opened)
        log.info("%s holds partitions %s", self.worker, sorted(partitions))

    async def _open(self) -> None:
        """The barrier: nothing of a partition runs before its committed offset and done-map are read."""
        maps = await self._ledger.read()
        self._crashes = {p: crashes(found, self._me) for p, found in maps.items()}
        self._ledger.opened({p: unowned(found, self._crashes[p]) for p, found in maps.items()})
        for partition, found in maps.items():
            self._adopt(partition, found.open if found else ())

    def _opened(self, barrier: asyncio.Task[None]) -> None:
        if not barrier.cancelled() and (error := barrier.exception()) is not None:
            self._fail(error)

    def _adopt(self, partition: int, unfinished: Iterable[int]) -> None:
        """What this process runs, or has just ended, counts for the new assignment even if it is draining and so will
        not be delivered it again."""
        offsets = self._ledger.get(partition)
        mine = {job.raw.offset: job for job, _ in self._running.values() if job.raw.partition == partition}
        for offset in unfinished:
            if offsets is None:
                return
            if offset in mine:
                mine[offset].offsets = offsets
            elif (partition, offset) in self._ended_lately:
                offsets.done(offset)

    async def _on_revoked(self, partitions: Collection[int]) -> None:
        """What waits is given up, what runs goes on and its outcome is sent; the new owner may repeat it."""
        gone = set(partitions)
        self._queue.discard(lambda job: job.raw.partition in gone)
        if self._barrier is not None:
            self._barrier.cancel()
        try:
            await self._ledger.commit_briefly(leaving=True)
        finally:
            self._ledger.lost(gone)

    async def _commits(self) -> None:
        while True:
            try:
                await asyncio.wait_for(self._dirty.wait(), _IDLE_S)
            except TimeoutError:
                await self._ledger.note_positions()
                self._end_late()
            self._dirty.clear()
            await self._ledger.commit()
            if self._running:
                await asyncio.sleep(_TICK_S)

    def _end_late(self) -> None:
        """What waits and can no longer meet its deadline is failed now, not when its turn comes."""
        now = self._clock()
        for job in self._queue.discard(lambda job: job.late(now)):
            self._launch(job)


def _kafka_consumer(settings: Settings, topic: str, group: str, client_id: str) -> Consumer:
    from hocket.kafka.aio import KafkaConsumer  # takes a moment to import

    return KafkaConsumer(settings, topic=topic, group=group, client_id=client_id)
