"""Dead letters on Kafka: found, looked at, and written back to where they came from.

A letter's id is its place in the topic `dead-letters`. A replayed record carries that id in the header
`hocket-replayed`, by which a second replay is noticed (and a letter that a replay led to tells of the first one).
"""

from __future__ import annotations

import heapq
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from hocket.contracts.codec import CodecError
from hocket.contracts.records import DeadLetter
from hocket.kafka.admin import admin
from hocket.kafka.client import aiokafka_options, codec_of, topics_of
from hocket.runtime.settings import Settings

REPLAYED = "hocket-replayed"
"""Header of a replayed record: the id of its dead letter."""
_SCAN = 20_000
_MAX_REQUEST = 2 * 1024 * 1024
_POLL_MS = 500
_Place = tuple[int, int, int]  # (timestamp, partition, offset): places are unique, so letters are never compared


class LetterError(Exception):
    """A dead letter that cannot be had or sent again; the message says why and what to do. `kind` is one word for it:
    usage, topics, undecodable, not_found, no_value."""

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, kw_only=True)
class Letter:
    """A dead letter and its place."""

    partition: int
    offset: int
    record: DeadLetter

    @property
    def id(self) -> str:
        return f"{self.partition}:{self.offset}"

    @property
    def origin(self) -> str:
        return f"{self.record.topic}/{self.record.partition} offset {self.record.offset}"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which letters; None means any."""

    topic: str | None = None
    kind: str | None = None
    service: str | None = None
    request_id: str | None = None
    since_ms: int = 0

    def __contains__(self, letter: DeadLetter) -> bool:
        return (
            self.topic in (None, letter.topic)
            and self.kind in (None, letter.kind)
            and self.service in (None, letter.service, letter.service.partition("/")[0])
            and (self.request_id is None or letter.key == self.request_id.encode())
            and letter.at >= self.since_ms
        )


def place_of(letter_id: str) -> tuple[int, int]:
    """Partition and offset. Raises LetterError for what is no id."""
    if not re.fullmatch(r"\d{1,6}:\d{1,18}", letter_id):
        raise LetterError(
            f"{letter_id!r} is no dead letter's id: it looks like 2:17, see `hocket dlq ls`", kind="usage"
        )
    partition, offset = letter_id.split(":")
    return int(partition), int(offset)


@dataclass(frozen=True, kw_only=True)
class Mended:
    """What is to be written for a dead letter."""

    letter_id: str
    letter: DeadLetter
    value: bytes


def unchanged(letter: Letter) -> Mended:
    """The record of a letter as it was. Raises LetterError when its bytes were not kept."""
    if letter.record.value is None:
        raise LetterError(
            f"the bytes of {letter.id} are not in the dead letter ({letter.record.reason}); "
            "`hocket dlq replay --edit` begins anew",
            kind="no_value",
        )
    return Mended(letter_id=letter.id, letter=letter.record, value=letter.record.value)


class Desk:
    """A connection that reads dead letters and writes replays."""

    def __init__(self, settings: Settings, client: Any, partitions: dict[str, int]) -> None:
        self.topic = topics_of(settings).dead_letters
        self.codec = codec_of(settings)
        self.partitions = partitions
        self.unreadable = 0
        self._settings = settings
        self._client = client

    async def newest(self, wanted: Wanted, limit: int) -> AsyncIterator[Letter]:
        """The newest of those wanted, in order of their times."""
        heap: list[tuple[_Place, Letter]] = []
        async for place, letter in self._wanted(wanted, await self._ends()):
            (heapq.heappush if len(heap) < limit else heapq.heappushpop)(heap, (place, letter))
        for _, letter in sorted(heap, key=lambda entry: entry[0]):
            yield letter

    async def batches(self, wanted: Wanted, size: int) -> AsyncIterator[list[Letter]]:
        """All that are wanted and there by now, the oldest first, at most `size` held at once. What a replay adds in
        the meantime is left out, or a record that fails again would be replayed for ever."""
        ends, last = await self._ends(), (-1, -1, -1)
        while True:
            heap: list[tuple[_Place, Letter]] = []  # the largest place on top: all numbers are negated
            async for place, letter in self._wanted(wanted, ends):
                if place > last:
                    entry = ((-place[0], -place[1], -place[2]), letter)
                    (heapq.heappush if len(heap) < size else heapq.heappushpop)(heap, entry)
            if not heap:
                return
            heap.sort(key=lambda entry: entry[0], reverse=True)
            (time, partition, offset), _ = heap[-1]
            last = (-time, -partition, -offset)
            yield [letter for _, letter in heap]

    def must_have_origin(self, letter: Letter) -> None:
        """Raises LetterError when there is nowhere to write it again."""
        if letter.record.topic not in self.partitions:
            raise LetterError(f"{letter.id} came from {letter.record.topic}, which does not exist", kind="topics")

    async def _ends(self) -> dict[Any, int]:
        from aiokafka import TopicPartition

        places = [TopicPartition(self.topic, p) for p in range(self.partitions[self.topic])]
        found: dict[Any, int] = await self._client.end_offsets(places)
        return found

    async def _wanted(self, wanted: Wanted, ends: dict[Any, int]) -> AsyncIterator[tuple[_Place, Letter]]:
        self.unreadable = 0
        starts = await self._client.beginning_offsets(list(ends))
        async for message in self._records(starts, ends):
            try:
                record = self.codec.decode(message.value, DeadLetter)
            except CodecError:
                self.unreadable += 1
                continue
            if record in wanted:
                place = (message.timestamp, message.partition, message.offset)
                yield place, Letter(partition=message.partition, offset=message.offset, record=record)

    async def one(self, letter_id: str) -> Letter:
        """The letter with the id."""
        from aiokafka import TopicPartition

        partition, offset = place_of(letter_id)
        place = TopicPartition(self.topic, partition)
        if partition < self.partitions[self.topic]:
            first = (await self._client.beginning_offsets([place]))[place]
            async for message in self._records({place: max(offset, first)}):
                if message.offset != offset:
                    break
                try:
                    record = self.codec.decode(message.value, DeadLetter)
                except CodecError as e:
                    raise LetterError(f"{letter_id} is no dead letter that can be read: {e}", kind="undecodable") from e
                return Letter(partition=partition, offset=offset, record=record)
        raise LetterError(
            f"there is no dead letter {letter_id}; `hocket dlq ls` has those that are kept", kind="not_found"
        )

    async def replayed(self, letter: Letter) -> str | None:
        """What is known of an earlier replay of the letter, None when there was none."""
        from aiokafka import TopicPartition

        topic = letter.record.topic
        places = [TopicPartition(topic, p) for p in range(self.partitions[topic])]
        found = await self._client.offsets_for_times(dict.fromkeys(places, letter.record.at))
        starts = {p: f.offset for p, f in found.items() if f is not None}
        seen = 0
        async for message in self._records(starts):
            seen += 1
            if (REPLAYED, letter.id.encode()) in message.headers:
                return f"was replayed before, as {topic}/{message.partition} offset {message.offset}"
            if seen >= _SCAN:
                return f"may have been replayed before: only {_SCAN} records of {topic} after it were looked at"
        return None

    async def _records(self, starts: dict[Any, int], ends: dict[Any, int] | None = None) -> AsyncIterator[Any]:
        """What stands in the partitions between these offsets and `ends`, or their ends of now."""
        if not starts:
            return
        ends = ends or await self._client.end_offsets(list(starts))
        self._client.assign(list(starts))
        for place, offset in starts.items():
            self._client.seek(place, offset)
        left = {p for p in starts if starts[p] < ends[p]}
        while left:
            for place, batch in (await self._client.getmany(*left, timeout_ms=_POLL_MS)).items():
                for message in batch:
                    if message.offset < ends[place]:
                        yield message
            left = {p for p in left if await self._client.position(p) < ends[p]}

    async def write(self, ready: Sequence[Mended]) -> list[dict[str, Any]]:
        """Writes the records and waits until all in-sync replicas have them."""
        from aiokafka import AIOKafkaProducer

        if not ready:
            return []
        producer = AIOKafkaProducer(
            **aiokafka_options(self._settings),
            client_id="hocket-dlq",
            acks="all",
            enable_idempotence=True,
            max_request_size=_MAX_REQUEST,
        )
        await producer.start()
        done = []
        try:
            for m in ready:
                headers = [(k, v) for k, v in m.letter.headers.items() if k != REPLAYED]
                headers.append((REPLAYED, m.letter_id.encode()))
                where = None if m.letter.key is not None else m.letter.partition
                sent = await producer.send_and_wait(
                    m.letter.topic, m.value, key=m.letter.key, headers=headers, partition=where
                )
                done.append(
                    {"id": m.letter_id, "topic": sent.topic, "partition": sent.partition, "offset": sent.offset}
                )
        finally:
            await producer.stop()
        return done


@asynccontextmanager
async def open_desk(settings: Settings, *, wait_seconds: float) -> AsyncIterator[Desk]:
    """A desk for the time of the block. Raises LetterError without a topic of dead letters, KafkaUnreachable when no
    broker answers within `wait_seconds`."""
    from aiokafka import AIOKafkaConsumer

    async with admin(settings, wait_seconds=wait_seconds) as client:
        there = {t["topic"]: len(t["partitions"]) for t in await client.describe_topics(None)}
    topic = topics_of(settings).dead_letters
    if topic not in there:
        raise LetterError(f"there is no topic {topic}: run `hocket topics apply`, or check --prefix", kind="topics")
    consumer = AIOKafkaConsumer(
        **aiokafka_options(settings),
        client_id="hocket-dlq",
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=_MAX_REQUEST,
    )
    await consumer.start()
    try:
        yield Desk(settings, consumer, there)
    finally:
        await consumer.stop()
