"""The client's side of the topics: write a request or a command, find what comes back under its key.

Nothing here needs a consumer group. An answer stands in the partition of its request's key; whoever noted the end of
that partition before producing finds it from there on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from hocket.contracts import headers
from hocket.contracts.codec import Codec, CodecError
from hocket.contracts.records import Answer, Control, Progress, Request
from hocket.contracts.topics import Topics
from hocket.kafka.admin import joined_count, list_topics
from hocket.kafka.client import MAX_RECORD_BYTES, aiokafka_options, codec_of, partition_of, topics_of
from hocket.runtime.settings import Settings

CONNECT_SECONDS = 5.0
_POLL_SECONDS = 0.5
_STALLED_SECONDS = 10.0


class TooLargeError(Exception):
    """The record would not fit into the broker's limit; the message says what to shorten."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the answer to a request id will stand: a partition, and the offsets to read from.

    `answers_end` is where `answers` ended when the place was noted: up to there it is read whatever the time.
    """

    key: bytes
    partition: int
    answers_from: int
    answers_end: int
    progress_from: int


class Exchange:
    """One connection of a client. Made by `connect`."""

    def __init__(self, settings: Settings, consumer: Any, partitions: int) -> None:
        self._settings, self._consumer, self._partitions = settings, consumer, partitions
        self._topics: Topics = topics_of(settings)
        self._codec: Codec = codec_of(settings)

    async def place(self, request_id: str, *, from_offset: int | None = None, replay: bool = False) -> Place:
        """Where to look for the id: from now on, from an offset of `answers`, or (`replay`) from the beginning."""
        from aiokafka import TopicPartition

        key = request_id.encode()
        partition = partition_of(key, self._partitions)
        answers, progress = (TopicPartition(t, partition) for t in (self._topics.answers, self._topics.progress))
        ends = await self._consumer.end_offsets([answers, progress])
        starts = await self._consumer.beginning_offsets([answers, progress]) if replay else ends
        return Place(
            key=key,
            partition=partition,
            answers_from=starts[answers] if from_offset is None else from_offset,
            answers_end=ends[answers],
            progress_from=starts[progress],
        )

    async def send(self, record: Request | Control, *, event_id: str, at_ms: int) -> tuple[int, int]:
        """Writes the record and waits until all in-sync replicas have it; returns (partition, offset)."""
        from aiokafka import AIOKafkaProducer

        topic = self._topics.requests if isinstance(record, Request) else self._topics.control
        payload = self._codec.encode(record, topic)
        if len(payload) > MAX_RECORD_BYTES:
            raise TooLargeError(
                f"the request has {len(payload)} bytes, the limit is {MAX_RECORD_BYTES}: send text as an attachment"
            )
        about = headers.event_headers(
            record=type(record).__name__,
            event_id=event_id,
            source="cli",
            subject=record.request_id,
            at_ms=at_ms,
            trace=headers.traceparent(None, record.request_id),
        )
        producer = AIOKafkaProducer(
            **aiokafka_options(self._settings),
            client_id="hocket-cli",
            acks="all",
            enable_idempotence=True,
            max_request_size=MAX_RECORD_BYTES + 64 * 1024,
        )
        await producer.start()
        try:
            done = await producer.send_and_wait(topic, payload, key=record.request_id.encode(), headers=about)
        finally:
            await producer.stop()
        return done.partition, done.offset

    async def follow(self, place: Place, *, seconds: float, progress: bool = True) -> AsyncIterator[Progress | Answer]:
        """What happens to the request, until its answer or until the seconds are over. Unreadable records are passed.

        What stood in `answers` when the place was noted is read even if that takes longer.
        """
        from aiokafka import TopicPartition

        answers = TopicPartition(self._topics.answers, place.partition)
        offsets = {answers: place.answers_from}
        if progress:
            offsets[TopicPartition(self._topics.progress, place.partition)] = place.progress_from
        self._consumer.assign(list(offsets))
        for where, offset in offsets.items():
            self._consumer.seek(where, offset)
        give_up = time.monotonic() + seconds
        stalled = give_up + _STALLED_SECONDS
        while (now := time.monotonic()) < give_up or (now < stalled and await self._behind(answers, place)):
            wait = min(_POLL_SECONDS, max(give_up - now, 0.05))
            batch = await self._consumer.getmany(timeout_ms=int(wait * 1000))
            if batch:
                stalled = max(give_up, time.monotonic()) + _STALLED_SECONDS
            # Of what came together, progress first: the answer ends the story.
            for where in sorted(batch, key=lambda p: p == answers):
                for record in self._mine(batch[where], place.key, answer=where == answers):
                    yield record
                    if isinstance(record, Answer):
                        return

    async def _behind(self, answers: Any, place: Place) -> bool:
        return int(await self._consumer.position(answers)) < place.answers_end

    def _mine(self, batch: Sequence[Any], key: bytes, *, answer: bool) -> list[Progress | Answer]:
        expected: type[Progress | Answer] = Answer if answer else Progress
        found: list[Progress | Answer] = []
        for message in batch:
            if message.key == key:
                try:
                    found.append(self._codec.decode(message.value, expected))
                except CodecError:
                    continue  # a foreign producer's; the monitor counts those
        return found


@asynccontextmanager
async def connect(settings: Settings) -> AsyncIterator[Exchange]:
    """A connected exchange. Raises KafkaUnreachable, or TopicsError when the topics are not there."""
    from aiokafka import AIOKafkaConsumer

    found = await list_topics(settings, wait_seconds=CONNECT_SECONDS)
    partitions = joined_count(topics_of(settings), {t.name: t.partitions for t in found})
    consumer = AIOKafkaConsumer(
        **aiokafka_options(settings),
        client_id="hocket-cli",
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    await consumer.start()
    try:
        yield Exchange(settings, consumer, partitions)
    finally:
        await asyncio.shield(consumer.stop())
