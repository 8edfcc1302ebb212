"""Heartbeats, and hosting several runtimes in one process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from importlib.metadata import version
from itertools import pairwise
from typing import Any

from hocket.contracts import headers
from hocket.contracts.codec import Codec
from hocket.contracts.records import Heartbeat
from hocket.contracts.topics import Topics
from hocket.core.tally import Counts, Recent, Tally
from hocket.kafka.broadcast import Broadcast
from hocket.kafka.log import Producer
from hocket.kafka.outbox import Outbox, Outgoing
from hocket.kafka.runtime import Runtime
from hocket.runtime import metrics

log = logging.getLogger(__name__)

_EVERY_S = 1.0
_NONE = float("nan")
_BOUNDS_MS = tuple(1000 * bound for bound in metrics.SECONDS_BOUNDS)


class Heartbeats:
    """One Heartbeat record a second for each runtime. Losing some harms nothing, so nobody waits for them."""

    def __init__(
        self, runtimes: Sequence[Runtime], *, producer: Producer, codec: Codec, topics: Topics, clock: Callable[[], int]
    ) -> None:
        self._runtimes = runtimes
        self._producer = producer
        self._topic = topics.heartbeats
        self._clock = clock
        self._started_at = clock()
        self._version = version("hocket")
        self._tallies = [Tally(_BOUNDS_MS) for _ in runtimes]
        self._outbox = Outbox(producer=producer, codec=codec, source="heartbeat", clock=clock, on_drop=lambda: None)

    async def run(self) -> None:
        """Beats until cancelled; a slow broker makes beats rarer, never more of them wait."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EVERY_S):
                    await self.beat()
            await asyncio.sleep(_EVERY_S)

    async def beat(self) -> None:
        """Writes one record for each runtime."""
        for runtime, tally in zip(self._runtimes, self._tallies, strict=True):
            record = self._record(runtime, tally.add(_counts(runtime, self._clock())))
            _show(runtime.specialty, record)
            outgoing = Outgoing(
                topic=self._topic, key=record.worker, record=record, event_id=f"{record.worker}/{record.at}"
            )
            message = await self._outbox.encode(outgoing, headers.traceparent(None, record.worker))
            await self._producer.post(message.topic, message.key, message.value, message.headers)

    def _record(self, runtime: Runtime, recent: Recent) -> Heartbeat:
        stats = runtime.stats
        return Heartbeat(
            worker=runtime.worker,
            service=runtime.service,
            specialty=runtime.specialty if runtime.service == "worker" else None,
            started_at=self._started_at,
            at=self._clock(),
            partitions=tuple(f"{runtime.topic}/{p}" for p in runtime.partitions),
            in_flight=stats.in_flight,
            queued=stats.queued,
            completed=stats.completed,
            failed=stats.failed,
            mean_millis=stats.mean_millis,
            state="draining" if runtime.draining else "running",
            version=self._version,
            queued_by_class=stats.queued_by_class,
            paused=tuple(f"{runtime.topic}/{p}" for p in stats.paused),
            per_second=recent.per_second,
            error_rate=recent.error_rate,
            p50_millis=recent.p50_millis,
            p95_millis=recent.p95_millis,
            rate_limited=recent.rate_limited,
            concurrency=runtime.concurrency,
        )


def _counts(runtime: Runtime, at_ms: int) -> Counts:
    """What has happened so far. Durations are those that Prometheus is shown, so that both tell the same story."""
    stats = runtime.stats
    [seconds] = metrics.SECONDS.labels(runtime.specialty).collect()
    below = [int(s.value) for s in seconds.samples if s.name.endswith("_bucket")]
    return Counts(
        at_ms=at_ms,
        completed=stats.completed,
        failed=stats.failed,
        limited=sum(
            int(s.value) for m in metrics.RATE_LIMITED.collect() for s in m.samples if s.name.endswith("_total")
        ),
        buckets=tuple(n - before for before, n in pairwise([0, *below])),
    )


def _show(specialty: str, beat: Heartbeat) -> None:
    """The same figures for Prometheus."""
    metrics.PER_SECOND.labels(specialty).set(beat.per_second)
    metrics.ERROR_RATE.labels(specialty).set(_NONE if beat.error_rate is None else beat.error_rate)
    metrics.P50.labels(specialty).set(_NONE if beat.p50_millis is None else beat.p50_millis / 1000)
    metrics.P95.labels(specialty).set(_NONE if beat.p95_millis is None else beat.p95_millis / 1000)
    metrics.LIMITED.labels(specialty).set(beat.rate_limited)
    metrics.PAUSED.labels(specialty).set(len(beat.paused))
    for priority, waiting in enumerate(beat.queued_by_class):
        metrics.QUEUED_BY_CLASS.labels(specialty, str(priority)).set(waiting)


async def host(
    runtimes: Sequence[Runtime], heartbeats: Heartbeats, stop: asyncio.Event, listening: Sequence[Broadcast[Any]] = ()
) -> None:
    """Runs them, with heartbeats and what they listen to, until `stop` is set; then all drain within their grace, in
    which a cancellation still counts.

    When one fails, the others are stopped in the same good order and its error is raised.
    """
    runs = [asyncio.create_task(r.run()) for r in runtimes]
    beats = asyncio.create_task(heartbeats.run())
    beside = [asyncio.create_task(stop.wait()), *(asyncio.create_task(reader.run()) for reader in listening)]
    try:
        await asyncio.wait([*runs, beats, *beside], return_when=asyncio.FIRST_COMPLETED)
        await asyncio.gather(*(r.stop() for r in runtimes))
        if not beats.done():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EVERY_S):
                    await heartbeats.beat()  # the last one says draining
    finally:
        for task in (*runs, beats, *beside):
            task.cancel()
        ended = await asyncio.gather(*runs, beats, *beside, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception):
            raise error
