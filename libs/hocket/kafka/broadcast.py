"""Reading a topic whole, in every process and without a group: its place is kept while the process runs, no longer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from hocket.kafka.client import aiokafka_options
from hocket.runtime.settings import Settings

log = logging.getLogger(__name__)

_PAUSE_S = 0.5
_MAX_PAUSE_S = 5.0
_CLOSE_S = 5.0


class Broadcast(ABC):
    """Calls `hear` with every committed record of the last `look_back_ms` before the start, and all that follow; some
    of them twice. `name` stands in the client's id."""

    def __init__(
        self, settings: Settings, *, topic: str, name: str, look_back_ms: int, clock: Callable[[], int]
    ) -> None:
        self._settings = settings
        self._topic = topic
        self._name = name
        self._look_back_ms = look_back_ms
        self._clock = clock
        self._positions: dict[int, int] = {}
        self._pause = _PAUSE_S
        self.caught_up = False
        self.placed = asyncio.Event()
        """Set when what is written from now on will be read."""

    @abstractmethod
    async def hear(self, key: bytes | None, value: bytes | None) -> None:
        """One record."""

    async def run(self) -> None:
        """Reads until cancelled. While Kafka is away, refuses, or has no such topic, it says so and tries again."""
        from aiokafka.errors import KafkaError

        since = self._clock() - self._look_back_ms
        while True:
            client = self._client()
            try:
                await client.start()
                await self._seek(client, since)
                self.placed.set()
                await self._read(client)
            except (KafkaError, OSError) as e:
                log.warning("%s cannot be read: %r, trying again", self._topic, e)
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
            client_id=f"hocket-{self._name}-{self._settings.instance}",
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # for partitions that come later, and for places that retention has taken
            isolation_level="read_committed",
            metadata_max_age_ms=30_000,
        )

    async def _seek(self, client: Any, since_ms: int) -> None:
        """Back to where it was; the first time to where the records of that time begin."""
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
                batches = await client.getmany(timeout_ms=500)
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
                    await self.hear(record.key, record.value)
                    self._positions[place.partition] = record.offset + 1
