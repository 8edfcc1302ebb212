"""Heartbeats, and hosting several runtimes in one process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from importlib.metadata import version

from hocket.contracts import headers
from hocket.contracts.codec import Codec
from hocket.contracts.records import Heartbeat
from hocket.contracts.topics import Topics
from hocket.kafka.log import Producer
from hocket.kafka.outbox import Outbox, Outgoing
from hocket.kafka.runtime import Runtime

log = logging.getLogger(__name__)

_EVERY_S = 1.0


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
        self._outbox = Outbox(producer=producer, codec=codec, source="heartbeat", clock=clock, on_drop=lambda: None)

    async def run(self) -> None:
        """Beats until cancelled; a slow broker makes beats rarer, never more of them wait."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.beat(), _EVERY_S)
            await asyncio.sleep(_EVERY_S)

    async def beat(self) -> None:
        """Writes one record for each runtime."""
        for runtime in self._runtimes:
            record = self._record(runtime)
            outgoing = Outgoing(
                topic=self._topic, key=record.worker, record=record, event_id=f"{record.worker}/{record.at}"
            )
            message = await self._outbox.encode(outgoing, headers.traceparent(None, record.worker))
            await self._producer.post(message.topic, message.key, message.value, message.headers)

    def _record(self, runtime: Runtime) -> Heartbeat:
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
        )


async def host(runtimes: Sequence[Runtime], heartbeats: Heartbeats, stop: asyncio.Event) -> None:
    """Runs them, with heartbeats, until `stop` is set; then all drain within their grace.

    When one fails, the others are stopped in the same good order and its error is raised.
    """
    runs = [asyncio.create_task(r.run()) for r in runtimes]
    beats = asyncio.create_task(heartbeats.run())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([*runs, beats, stopping], return_when=asyncio.FIRST_COMPLETED)
        await asyncio.gather(*(r.stop() for r in runtimes))
        if not beats.done():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(heartbeats.beat(), _EVERY_S)  # the last one says draining
    finally:
        for task in (*runs, beats, stopping):
            task.cancel()
        ended = await asyncio.gather(*runs, beats, stopping, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception):
            raise error
