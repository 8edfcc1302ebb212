"""Consume, call, produce: the runtime that the planner and every worker share.

A poll loop that never waits for a handler; calls that end in any order; offsets committed only up to the lowest
unfinished one, with a map of what is done above it, and only after the outcome is safe. Calls in flight outlive their
assignment: hocket.core.handover says who starts what then. At least once: after a crash what was in flight is done
again, and the aggregator counts each result once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any

from hocket.contracts.codec import Codec
from hocket.contracts.records import Handover
from hocket.contracts.topics import Topics
from hocket.core.pace import Pace, allowance
from hocket.kafka.desk import Delivery, Desk, Handler, Hooks, OnCrash, OnEnd, Stats, StreamPoisonedError
from hocket.kafka.handover import Handovers
from hocket.kafka.intake import Intake
from hocket.kafka.job import Job, remember
from hocket.kafka.journal import Journal
from hocket.kafka.log import Consumer, Producer, Raw
from hocket.kafka.outbox import Outbox, Outgoing
from hocket.kafka.recall import Recall
from hocket.kafka.tenure import Tenure
from hocket.runtime import metrics
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings

__all__ = ["Delivery", "Handler", "OnCrash", "OnEnd", "Outgoing", "Runtime", "Stats", "StreamPoisonedError"]

log = logging.getLogger(__name__)

_POLL_MS = 100
_POLL_RECORDS = 250  # decoded in one go: calls in flight wait so long
_TICK_S = 0.02  # between commits while there is work
_REVIEW_S = 1.0  # how often it looks for what time alone has changed
_HOLD_S = 1.0  # full for longer than this: pause, which throws prefetched records away
_LINGER_S = 0.5  # calls that end so soon after SIGTERM are committed rather than handed over
_FLUSH_S = 1.0
_TROUBLED = 5  # fewer failures in a row say nothing


class Runtime:
    """Runs `handler` over one task topic, `concurrency` calls at once, as a member of `group`.

    `worker` is the id under which it is seen in results and heartbeats, `<instance>/<specialty>`. At most
    `settings.window` records, and about 64 MB of them, wait in memory. `on_cancel` and `on_late` say what is sent for a
    task whose request is cancelled, or whose deadline passed before it was started; without them, and without a
    deadline of its own, the handler runs. Without `recall` and `journal`, what ended in the moment before a worker's
    death is done again, too; the journal is closed at the end. One run per object.
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
        recall: Recall | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.topic, self.service, self.worker = topic, service, worker
        self.specialty = topics.plain(topic).removeprefix("tasks-")
        self.draining = False
        self._clock = clock
        self._concurrency = concurrency or settings.concurrency
        who, kind = f"{service}/{worker}", self.specialty
        self._consumer = consumer or _kafka_consumer(settings, topic, group, who)
        self._meters = metrics.Meters(kind)
        on_drop = self._meters.progress_dropped.inc
        self._outbox = Outbox(producer=producer, codec=codec, source=who, clock=clock, on_drop=on_drop, journal=journal)
        self._pace = Pace()
        hooks = Hooks(handler=handler, on_crash=on_crash, on_cancel=on_cancel, on_late=on_late, on_run=self._pace.note)
        self._desk = Desk(self._outbox, hooks, topics.dead_letters, who=who, specialty=kind, group=group, clock=clock)
        mark = f"{worker}@{secrets.token_hex(3)}"  # a restarted process is another owner
        words = Handovers(mark, topic=topics.handovers, tasks=topic, outbox=self._outbox, clock=clock)
        self._queue = Intake(settings.window or max(5_000, 4 * self._concurrency), settings.tenant_weights)
        self._tenure = Tenure(self._consumer, words, self._queue, on_broken=self._fail, clock=clock, recall=recall)
        self._running = self._tenure.running
        self._tenure.cautious = 2 * self._concurrency
        self._limit: int | None = None  # of starts in a second, while most of what it does fails
        self._allowed: int | None = None  # how many more tasks may be started in this second; None is no limit
        self._lease_s = settings.session_timeout_ms / 1000
        self._cancelled: dict[str, None] = {}
        self._unread = asyncio.Event()
        self._failed = asyncio.Event()
        self._failure: BaseException | None = None
        self._grace, self._recall = settings.grace_seconds, recall
        self._stopping, self._stopped, self._left = asyncio.Event(), asyncio.Event(), False

    @property
    def joined(self) -> bool:
        """Whether it is in the group with its partitions settled: ready for work."""
        return self._consumer.joined and not self.draining and self._tenure.settled

    @property
    def partitions(self) -> tuple[int, ...]:
        """The partitions it holds now."""
        return self._tenure.ledger.partitions

    @property
    def concurrency(self) -> int:
        """How many tasks it runs at once at most."""
        return self._concurrency

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
            commit_failures=self._tenure.ledger.refused,
            mean_millis=counts.mean_millis,
            queued_by_class=self._queue.by_class,
            paused=self._tenure.ledger.partitions if self._limit else self._tenure.ledger.paused,
        )

    def cancel(self, request_id: str) -> None:
        """Ends the request's tasks: those that run are cancelled, those that wait or arrive later never start. Returns
        at once. The last 10,000 ids are remembered."""
        remember(self._cancelled, request_id, None)
        for job in self._queue.discard(lambda job: job.request_id == request_id):
            self._launch(job, self._clock())
        for job in self._running.values():
            if job.request_id == request_id and not job.cancelled:
                job.cancelled = True
                if job.interruptible and job.run is not None:
                    job.run.cancel()

    def wait_for_words(self, caught_up: Callable[[], Awaitable[None]]) -> None:
        """Awaited at each assignment from now on: returns when all words of other workers were given to `hear`."""
        self._tenure.caught_up = caught_up

    def hear(self, word: Handover) -> None:
        """What another worker says of calls that it took with it. Returns at once; never raises."""
        claims = self._tenure.words.claims
        claims.hear(word, self._clock())
        places = {(a.partition, o) for a in word.away for o in (*a.running, *a.done)} - self._queue.held.keys()
        if any((mine := self._tenure.ledger.get(p)) is not None and mine.waits(o) for p, o in places):
            for job in self._queue.discard(lambda job: job.place in places):
                self._admit(job)
        self._review_held()

    async def run(self) -> None:
        """Works until `stop`, or until it is cancelled, which ends the calls in flight.

        Raises StreamPoisonedError when most of the topic is unreadable, KafkaUnreachable, KafkaRefused, or whatever
        broke the client for good; nothing is lost then, a new process goes on.
        """
        work = (self._polls(), self._commits(), self._reviews(), self._reads(), self._tells())
        loops = [asyncio.create_task(x) for x in (*work, self._outbox.write_progress())]
        ends = [asyncio.create_task(x) for x in (self._stopping.wait(), self._failed.wait())]
        try:
            done, _ = await asyncio.wait([*loops, *ends], return_when=asyncio.FIRST_COMPLETED)
            await self._leave(loops[0])
            await self._drain(self._grace)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FLUSH_S):
                    await self._outbox.progress_written()
            for task in done:
                task.result()
            if self._failure is not None:
                raise self._failure
        finally:
            await _end([*loops[1:], *ends, *self._runs()])
            try:
                await self._leave(loops[0])
                await self._tenure.words.tell(())
            finally:
                self._outbox.close()
                self._stopped.set()

    async def stop(self, grace: float | None = None) -> None:
        """Takes nothing more and leaves the group, so that others go on with its partitions at once; lets calls in
        flight end within `grace` seconds."""
        if grace is not None:
            self._grace = grace
        self._stopping.set()
        await self._stopped.wait()

    async def _leave(self, polls: asyncio.Task[None]) -> None:
        """Out of the group in good order; what still runs then is told to whoever goes on with the partitions."""
        if self._left:
            return
        self.draining = self._left = self._tenure.leaving = True
        await _end([polls])
        self._queue.forget(self._tenure.ledger.partitions)
        try:
            await self._drain(_LINGER_S)
            await self._tenure.revoked(self._tenure.ledger.partitions)
        finally:
            await self._consumer.close()

    async def _drain(self, seconds: float) -> None:
        if runs := self._runs():
            await asyncio.wait(runs, timeout=seconds)

    def _runs(self) -> list[asyncio.Task[None]]:
        return [job.run for job in self._running.values() if job.run is not None]

    async def _polls(self) -> None:
        for ident in await self._outbox.finish_last_run(self._recall):
            self._tenure.ended(ident)
        await self._consumer.start(self._on_assigned, self._tenure.revoked)
        while True:
            # Full: it goes on polling, paused, so that the group does not take this member for dead.
            full = not (self._queue.has_room or await self._queue.room_within(_HOLD_S))
            self._tenure.ledger.choose(self._queue.by_partition, self._queue.window, full=full)
            room, wait_ms = (1, 0) if full else (min(_POLL_RECORDS, self._queue.free), _POLL_MS)
            for raw in await self._consumer.poll(room, wait_ms):
                self._take(raw)
            self._start_ready()

    def _take(self, raw: Raw) -> None:
        offsets = self._tenure.ledger.get(raw.partition)
        if offsets is None:
            raise RuntimeError(f"a record of {raw.topic}/{raw.partition} came, which is not assigned")
        if not offsets.received(raw.offset):
            self._tenure.dirty.set()
            return
        if not self._tenure.adopted(raw):
            self._admit(Job(raw, offsets, self._desk.open(raw)))

    async def _reads(self) -> None:
        """Fetches the schemas of what is held because only its content can tell whether a dead worker has done it."""
        while True:
            await self._unread.wait()
            self._unread.clear()
            for job in list(self._queue.held.values()):
                if job.unread:
                    await self._desk.read(job)
            self._review_held()

    def _admit(self, job: Job) -> None:
        """Lets it wait for its start, unless another worker has done it, still runs it, or that cannot be told yet."""
        if job.unread and self._tenure.recalls:
            self._queue.held[job.place] = job
            self._unread.set()
            return
        fate = self._tenure.fate(job)
        if fate == "done":
            job.offsets.done(job.raw.offset)
            self._tenure.dirty.set()
        elif fate == "running":
            self._queue.held[job.place] = job
        else:
            job.crashes = self._tenure.crashes(job)
            self._queue.push(job)

    def _review_held(self) -> None:
        for place, job in list(self._queue.held.items()):
            del self._queue.held[place]
            self._admit(job)
        self._start_ready()

    def _start_ready(self) -> None:
        if not self._queue.waits:
            return
        if self._stale:
            self._tenure.dirty.set()  # away for so long that the group may have given its partitions to others
            return
        now = self._clock()
        while len(self._running) < self._concurrency and self._allowed != 0 and not self.draining:
            if self._desk.counts.troubled_in_a_row >= max(self._concurrency, _TROUBLED):
                break  # until the next review, which decides how many it may start
            if (job := self._queue.pop(now)) is None:
                break
            self._launch(job, now)
            self._allowed = self._allowed and self._allowed - 1

    @property
    def _stale(self) -> bool:
        return time.monotonic() > self._tenure.ledger.confirmed + self._lease_s

    def _launch(self, job: Job, now: int) -> None:
        task = job.task
        job.late = job.overdue(now) or (task is not None and not self._pace.can_meet(task.deadline, now))
        job.cancelled = job.request_id in self._cancelled
        self._running[job.ident] = job
        self._tenure.dirty.set()  # that it runs is committed, too: should it kill this process, its next owner can tell
        if self._tenure.careful:
            self._tenure.careful -= 1  # a predecessor died, perhaps of a task that kills at once: first it is committed
        else:
            self._begin(job)

    def _begin(self, job: Job) -> None:
        job.run = asyncio.create_task(self._desk.process(job))
        job.run.add_done_callback(partial(self._ended, job))

    def _ended(self, job: Job, task: asyncio.Task[None]) -> None:
        del self._running[job.ident]
        self._queue.ended(job)
        if not task.cancelled():
            if (error := task.exception()) is not None:
                self._fail(error)
            else:
                self._tenure.done(job)
        self._start_ready()

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._failed.set()

    def _on_assigned(self, partitions: Collection[int]) -> None:
        log.info("%s holds partitions %s", self.worker, sorted(partitions))
        self._tenure.assigned(partitions)

    async def _tells(self) -> None:
        """Signs of life for calls whose partition is away, and at once what has become of them."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_REVIEW_S):
                    await self._tenure.words.news.wait()
            if (away := self._tenure.away()) or self._tenure.words.news.is_set():
                await self._tenure.words.tell(away)
            await asyncio.sleep(_TICK_S)

    async def _commits(self) -> None:
        while True:
            await self._tenure.dirty.wait()
            self._tenure.dirty.clear()
            stale, launched = self._stale, [job for job in self._running.values() if job.run is None]
            if not await self._tenure.ledger.commit(
                anyway=time.monotonic() > self._tenure.ledger.confirmed + self._lease_s / 2
            ):
                metrics.COMMIT_FAILURES.labels(self.specialty).inc()
            elif launched and self._stale:
                self._tenure.dirty.set()  # the answer is so old that others may have begun these meanwhile: ask again
            else:
                for job in launched:
                    if self._running.get(job.ident) is job:  # and was not given up meanwhile
                        self._begin(job)
            if stale:
                self._start_ready()
            if self._running or self._tenure.dirty.is_set():
                await asyncio.sleep(_TICK_S)  # with nothing to commit, nothing above has yielded to the event loop

    async def _reviews(self) -> None:
        """What time alone changes: markers move an idle position, deadlines pass, other workers fall silent."""
        counts = self._desk.counts
        while True:
            seen = (counts.completed, counts.troubled)
            await asyncio.sleep(_REVIEW_S)
            fine, troubled = counts.completed - seen[0], counts.troubled - seen[1]
            self._limit = allowance(self._limit, fine=fine, troubled=troubled, most=self._concurrency)
            self._allowed, counts.troubled_in_a_row = self._limit, 0
            self._meters.in_flight.set(len(self._running))
            self._meters.queued.set(len(self._queue))
            await self._tenure.ledger.note_positions()
            self._tenure.dirty.set()
            now = self._clock()
            for job in self._queue.late(now):
                self._launch(job, now)
            self._tenure.words.claims.lapse(now)
            self._review_held()


async def _end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancels them until they have ended: before Python 3.12 `wait_for`, which clients use, may swallow one."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_REVIEW_S)
    await asyncio.gather(*tasks, return_exceptions=True)


def _kafka_consumer(settings: Settings, topic: str, group: str, client_id: str) -> Consumer:
    from hocket.kafka.aio import KafkaConsumer  # takes a moment to import

    return KafkaConsumer(settings, topic=topic, group=group, client_id=client_id)
