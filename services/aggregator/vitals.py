"""Health, metrics and heartbeats of the aggregator, on a thread of its own: Quix Streams has the main one."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from hocket import __version__
from hocket.contracts import headers
from hocket.contracts.records import Heartbeat
from hocket.kafka.client import codec_of, topics_of
from hocket.kafka.log import KafkaRefused
from hocket.runtime import metrics
from hocket.runtime.clock import now_ms
from hocket.runtime.health import Health, serving
from hocket.runtime.settings import Settings
from services.aggregator.tables import Totals

log = logging.getLogger(__name__)

_EVERY_S = 1.0
_COUNTERS = {
    "dispatched": metrics.DISPATCHED,
    "bundled": metrics.BUNDLED,
    "answered": metrics.ANSWERED,
    "dropped": metrics.DROPPED,
    "forwarded": metrics.FORWARDED,
    "dead_letter": metrics.AGGREGATOR_DEAD_LETTERS,
    "granted": metrics.GRANTED,
    "refused": metrics.REFUSED,
}


def count(event: str, label: str) -> None:
    """Counts what the join did. A step whose transaction aborts is counted again when it is repeated."""
    _COUNTERS[event].labels(label).inc()


class Vitals:
    """Runs from `with` to its end. Until `watch` it reports an aggregator that is not ready."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._partitions: Callable[[], Sequence[str]] = tuple
        self._totals: Callable[[], Mapping[str, Totals]] = dict
        self.health = Health()
        self._expected: set[str] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="vitals", daemon=True)
        self._started_at = now_ms()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._loop is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=3)

    def watch(
        self,
        partitions: Callable[[], Sequence[str]],
        totals: Callable[[], Mapping[str, Totals]],
        moving: Callable[[], bool],
    ) -> None:
        """From now on ready while `partitions` (topic/partition of all it holds, recovered) is not empty, and live
        while the join is `moving`; `totals` are what its tables hold, by table. All are called from this thread.
        """
        self._totals = totals
        self._partitions = partitions
        self.health.add("join", moving, live=True)

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except Exception:  # the join goes on without its health page; the supervisor sees the page gone
            log.exception("health and heartbeats of the aggregator have stopped")

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.health.add("partitions", lambda: bool(self._partitions()))
        async with serving(self._settings, self.health) as url, asyncio.TaskGroup() as together:
            if url:
                log.info("health and metrics at %s", url)
            beats = together.create_task(self._beat_unless_refused())
            await self._stop.wait()
            beats.cancel()

    async def _beat_unless_refused(self) -> None:
        try:
            await self._beat()
        except KafkaRefused as e:  # the join meets the same, or does without heartbeats
            log.error("the aggregator sends no heartbeats: %s", e)  # noqa: TRY400 - the message says it

    async def _beat(self) -> None:
        from hocket.kafka.aio import open_producer

        topics, codec = topics_of(self._settings), codec_of(self._settings)
        worker = f"{self._settings.instance}/aggregator"
        async with open_producer(self._settings, f"hocket-{self._settings.instance}-vitals") as producer:
            while True:
                held = self._totals()
                self._show(held)
                beat = self._heartbeat(worker, held["requests"].expected if "requests" in held else {})
                head = headers.event_headers(
                    record="Heartbeat",
                    event_id=f"{worker}/{beat.at}",
                    source=worker,
                    subject=worker,
                    at_ms=beat.at,
                    trace=headers.traceparent(None, worker),
                )
                topic = topics.heartbeats
                await producer.post(topic, worker.encode(), codec.encode(beat, topic), head)
                await asyncio.sleep(_EVERY_S)

    def _show(self, held: Mapping[str, Totals]) -> None:
        for table, totals in held.items():
            metrics.TABLE_ROWS.labels(table).set(totals.rows)
            metrics.TABLE_BYTES.labels(table).set(totals.size)
        expected = held["requests"].expected if "requests" in held else {}
        self._expected |= set(expected)
        for specialty in self._expected:  # one that is no longer expected says 0
            metrics.EXPECTED_BACKLOG.labels(specialty).set(expected.get(specialty, 0))

    def _heartbeat(self, worker: str, expected: Mapping[str, int]) -> Heartbeat:
        return Heartbeat(
            worker=worker,
            service="aggregator",
            started_at=self._started_at,
            at=now_ms(),
            partitions=tuple(self._partitions()),
            version=__version__,
            expected={s: n for s, n in expected.items() if n > 0},
        )
