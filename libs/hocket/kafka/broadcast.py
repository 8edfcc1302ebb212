"""Topics that every planner and worker reads whole, without a group: commands, and what others say of their calls.

A reader keeps no place in its topic: a new process reads it again, from its start or from some minutes ago. Losing a
record costs model calls, never correctness.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from hocket.contracts.codec import Codec, CodecError, RegistryError
from hocket.contracts.records import Control, Handover, Record
from hocket.contracts.topics import Topics
from hocket.kafka.client import aiokafka_options
from hocket.kafka.runtime import Runtime
from hocket.runtime import metrics
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings

log = logging.getLogger(__name__)

LOOK_BACK_MS = 300_000
"""Commands of so many milliseconds before the start are read again: longer than a rolling restart takes."""
_POLL_MS = 500
_PAUSE_S = 0.5
_MAX_PAUSE_S = 5.0
_CLOSE_S = 5.0
_CATCH_UP_S = 10.0
R = TypeVar("R", bound=Record)


class Broadcast(Generic[R]):
    """Calls `heard` with every record of a topic, some of them twice; it must not block or raise.

    `since_ms` is the time of the first record to read; without it, all are read. With a `key`, only its records count.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        topic: str,
        record: type[R],
        codec: Codec,
        heard: Callable[[R], None],
        since_ms: int | None = None,
        key: bytes | None = None,
    ) -> None:
        self._settings = settings
        self._topic = topic
        self._record = record
        self._codec = codec
        self._heard = heard
        self._since_ms = since_ms
        self._key = key
        self._client: Any = None
        self._positions: dict[int, int] = {}
        self._pause = _PAUSE_S
        self._moved = asyncio.Event()
        self.skipped = 0
        self.place = (0, 0)
        """Partition and offset of the record that is being heard."""
        self.placed = asyncio.Event()
        """Set when what is written from now on will be heard."""

    async def run(self) -> None:
        """Reads until cancelled. While Kafka is away, refuses, or has no such topic, it says so and tries again."""
        from aiokafka.errors import KafkaError

        while True:
            client = self._make()
            try:
                await client.start()
                await self._seek(client)
                self._client = client
                self.placed.set()
                await self._read(client)
            except (KafkaError, OSError) as e:
                log.warning("%s cannot be read: %r, trying again", self._topic, e)
            finally:
                self._client = None
                with contextlib.suppress(KafkaError, OSError, TimeoutError):
                    await asyncio.wait_for(client.stop(), _CLOSE_S)
            await asyncio.sleep(self._pause)
            self._pause = min(2 * self._pause, _MAX_PAUSE_S)

    async def caught_up(self) -> None:
        """Returns when all that was in the topic at the call has been heard; gives up after seconds, and says so."""
        try:
            async with asyncio.timeout(_CATCH_UP_S):
                await self._catch_up()
        except TimeoutError:
            log.warning("%s could not be read up to its end: calls that other workers run may be repeated", self._topic)

    async def _catch_up(self) -> None:
        from aiokafka.errors import KafkaError

        ends: dict[Any, int] = {}
        while not ends or any(self._positions.get(place.partition, 0) < end for place, end in ends.items()):
            moved = self._moved
            if not ends and self._client is not None:
                with contextlib.suppress(KafkaError):
                    ends = await self._client.end_offsets(self._client.assignment())
                    continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PAUSE_S):
                    await moved.wait()

    def _make(self) -> Any:
        from aiokafka import AIOKafkaConsumer  # takes a moment to import

        return AIOKafkaConsumer(
            self._topic,
            **aiokafka_options(self._settings),
            client_id=f"hocket-broadcast-{self._settings.instance}",
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # for partitions that come later, and for places that retention has taken
            isolation_level="read_committed",
            metadata_max_age_ms=30_000,
        )

    async def _seek(self, client: Any) -> None:
        """Back to where it was; the first time to `since_ms`."""
        places = client.assignment()
        first = await client.beginning_offsets(places)
        if self._since_ms is not None:
            ends = await client.end_offsets(places)  # asked first: what is written meanwhile is then found by its time
            found = await client.offsets_for_times(dict.fromkeys(places, self._since_ms))
            first = {p: found[p].offset if found.get(p) is not None else ends[p] for p in places}
        for place in places:
            client.seek(place, self._positions.setdefault(place.partition, first[place]))

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
            for place, records in batches.items():
                for record in records:
                    self.place = (record.partition, record.offset)
                    if self._key is None or record.key == self._key:
                        await self.take(record.value)
                self._positions[place.partition] = records[-1].offset + 1
            moved, self._moved = self._moved, asyncio.Event()
            moved.set()

    async def take(self, value: bytes | None) -> None:
        """Hears one record. Waits while a schema registry is out of reach."""
        while True:
            try:
                record = await asyncio.to_thread(self._codec.decode, value, self._record)  # may ask the registry
            except RegistryError as e:
                log.warning("%s; trying again", e)
                await asyncio.sleep(_PAUSE_S)
            except CodecError as e:
                self.skipped += 1
                metrics.BROADCAST_SKIPPED.labels(self._record.__name__).inc()
                log.warning("skipped a record of %s: %s", self._topic, e)
                return
            else:
                self._heard(record)
                return


def listen(
    runtimes: Sequence[Runtime], settings: Settings, topics: Topics, codec: Codec
) -> tuple[Broadcast[Control], Broadcast[Handover]]:
    """The readers that these runtimes need; they must run beside them."""

    def command(said: Control) -> None:
        if said.action == "cancel":
            metrics.CANCELS.inc()
            for runtime in runtimes:
                runtime.cancel(said.request_id)

    def word(said: Handover) -> None:
        for runtime in runtimes:
            if runtime.topic == said.topic:
                runtime.hear(said)

    since_ms = now_ms() - LOOK_BACK_MS
    control = Broadcast(settings, topic=topics.control, record=Control, codec=codec, heard=command, since_ms=since_ms)
    handovers = Broadcast(settings, topic=topics.handovers, record=Handover, codec=codec, heard=word)
    for runtime in runtimes:
        runtime.wait_for_words(handovers.caught_up)
    return control, handovers
