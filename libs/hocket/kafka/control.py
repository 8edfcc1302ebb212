"""Commands from the topic `control`, which every planner and worker reads whole: one reader for each process.

It keeps no place in the topic: a new process reads again what was commanded in the last minutes, so that a cancellation
reaches tasks that are fetched after it. Losing a command costs model calls, never correctness: the aggregator reads
`control` too, ends the request by it, and dead-letters what does not decode.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from hocket.contracts.codec import Codec, CodecError, RegistryError
from hocket.contracts.records import Control
from hocket.kafka.client import aiokafka_options
from hocket.runtime import metrics
from hocket.runtime.settings import Settings

log = logging.getLogger(__name__)

LOOK_BACK_MS = 300_000
"""Commands of so many milliseconds before the start are read again: longer than a rolling restart takes."""
_POLL_MS = 500
_PAUSE_S = 0.5
_MAX_PAUSE_S = 5.0
_CLOSE_S = 5.0


class ControlReader:
    """Calls `on_cancel` with the request id of every cancellation, some of them twice. It must not block or raise."""

    def __init__(
        self,
        settings: Settings,
        *,
        topic: str,
        codec: Codec,
        on_cancel: Callable[[str], None],
        clock: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._topic = topic
        self._codec = codec
        self._on_cancel = on_cancel
        self._clock = clock
        self._positions: dict[int, int] = {}
        self._pause = _PAUSE_S
        self.skipped = 0
        self.caught_up = False

    async def run(self) -> None:
        """Reads until cancelled. While Kafka is away, refuses, or has no such topic, it says so and tries again."""
        from aiokafka.errors import KafkaError

        since = self._clock() - LOOK_BACK_MS
        while True:
            client = self._client()
            try:
                await client.start()
                await self._seek(client, since)
                await self._read(client)
            except (KafkaError, OSError) as e:
                log.warning("cancellations cannot be read from %s: %r, trying again", self._topic, e)
            finally:
                with contextlib.suppress(KafkaError, OSError, TimeoutError):
                    await asyncio.wait_for(client.stop(), _CLOSE_S)
            await asyncio.sleep(self._pause)
            self._pause = min(2 * self._pause, _MAX_PAUSE_S)

    def _client(self) -> Any:
        from aiokafka import AIOKafkaConsumer  # takes a moment to import

        return AIOKafkaConsumer(
            self._topic,
            **aiokafka_options(self._settings),
            client_id=f"hocket-control-{self._settings.instance}",
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # for partitions that come later, and for places that retention has taken
            isolation_level="read_committed",
            metadata_max_age_ms=30_000,
        )

    async def _seek(self, client: Any, since_ms: int) -> None:
        """Back to where it was; the first time to the commands of the last minutes."""
        places = client.assignment()
        ends = await client.end_offsets(places)  # asked first: what is written meanwhile is then found by its time
        found = await client.offsets_for_times(dict.fromkeys(places, since_ms))
        for place in places:
            first = found[place].offset if found.get(place) is not None else ends[place]
            client.seek(place, self._positions.setdefault(place.partition, first))

    async def _read(self, client: Any) -> None:
        from aiokafka.errors import KafkaError

        while True:
            try:
                batches = await client.getmany(timeout_ms=_POLL_MS)
            except KafkaError as e:
                if not e.retriable:
                    raise
                log.warning("reading %s: %r, trying again", self._topic, e)
                await asyncio.sleep(_PAUSE_S)
                continue
            self._pause = _PAUSE_S
            self.caught_up = self.caught_up or not batches
            for place, records in batches.items():
                for record in records:
                    await self.take(record.value)
                    self._positions[place.partition] = record.offset + 1

    async def take(self, value: bytes | None) -> None:
        """Obeys one record. Waits while a schema registry is out of reach."""
        while True:
            try:
                command = await asyncio.to_thread(self._codec.decode, value, Control)  # may ask the registry
            except RegistryError as e:
                log.warning("%s; trying again", e)
                await asyncio.sleep(_PAUSE_S)
            except CodecError as e:
                self.skipped += 1
                metrics.CONTROL_SKIPPED.inc()
                log.warning("skipped a record of %s: %s", self._topic, e)
                return
            else:
                break
        if command.action == "cancel":
            metrics.CANCELS.inc()
            self._on_cancel(command.request_id)
