"""The client's side of the topics: write a request or a command, find what comes back under its key.

Nothing here needs a consumer group. An answer stands in the partition of its request's key; whoever noted the end of
that partition before producing finds it from there on.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from hocket.cli.base import USAGE, CliError
from hocket.contracts import headers
from hocket.contracts.codec import CONFLUENT, Codec, CodecError
from hocket.contracts.records import Answer, Control, Progress, Request
from hocket.contracts.topics import Topics
from hocket.core import traces
from hocket.kafka.admin import joined_count, list_topics
from hocket.kafka.client import MAX_RECORD_BYTES, aiokafka_options, codec_of, partition_of, topics_of
from hocket.runtime import tracing
from hocket.runtime.settings import Settings

CONNECT_SECONDS = 5.0
_POLL_SECONDS = 0.5
_STALLED_SECONDS = 10.0
R = TypeVar("R", Progress, Answer)


class TooLargeError(Exception):
    """The record would not fit into the broker's limit; the message says what to shorten."""


def sending(topic: str, record: Request | Control, event_id: str) -> tracing.Open:
    """The span in which the client writes: the root of a request's trace, when tracing is on in this process."""
    with contextlib.suppress(tracing.TracingError):  # variables for something else; the request matters more
        tracing.start("client", "cli")
    key = record.request_id
    told = traces.produced(topic=topic, key=key, message_id=event_id, request_id=key)
    if isinstance(record, Control):
        return tracing.work(f"send {topic}", headers.traceparent(None, key), key, lambda: told, kind="producer")
    return tracing.root(f"send {topic}", key, told)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the answer to a request id will stand: a partition, and the offsets to read from.

    `answers_end` is where `answers` ended when the place was noted, `progress_end` the same of `progress`: up to there
    they are read whatever the time. `told_from` is the offset of `progress` up to which all was told before.
    """

    key: bytes
    partition: int
    answers_from: int
    answers_end: int
    progress_from: int
    progress_end: int
    told_from: int

    @property
    def token(self) -> str:
        """What `hocket follow --from` takes to go on from here: offsets of `progress` and `answers`.

        The text so far is made anew from the records between the first two, so nothing of it is told twice.
        """
        return f"{self.progress_from}-{self.told_from}-{self.answers_from}"


@dataclass(frozen=True, kw_only=True)
class Heard:
    """One record of the request, and the place after it. Not `new` is what was told before the place was noted."""

    record: Progress | Answer
    place: Place
    new: bool = True


def offsets_of(token: str) -> tuple[int, int, int]:
    """The offsets in a token. Raises ValueError."""
    begin, told, answers = (int(part) if part.isdecimal() else -1 for part in token.split("-"))
    if begin < 0 or told < begin or answers < 0:
        raise ValueError(f"{token!r} is no token of `hocket follow`")
    return begin, told, answers


class Exchange:
    """One connection of a client. Made by `connect`."""

    def __init__(self, settings: Settings, consumer: Any, partitions: int) -> None:
        self._settings, self._consumer, self._partitions = settings, consumer, partitions
        self._topics: Topics = topics_of(settings)
        self._codec: Codec = codec_of(settings)

    async def place(
        self, request_id: str, *, from_offset: int | None = None, replay: bool = False, token: str | None = None
    ) -> Place:
        """Where to look for the id: from now on, from an offset of `answers`, from the beginning (`replay`), or from
        where a follower stopped (`token`). Raises ValueError for what is no token."""
        key = request_id.encode()
        partition = partition_of(key, self._partitions)
        answers, progress = self._places(partition)
        ends = await self._consumer.end_offsets([answers, progress])
        starts = await self._consumer.beginning_offsets([answers, progress]) if replay else ends
        begin, told, first = starts[progress], starts[progress], starts[answers]
        if token is not None:
            begin, told, first = offsets_of(token)
        return Place(
            key=key,
            partition=partition,
            answers_from=first if from_offset is None else from_offset,
            answers_end=ends[answers],
            progress_from=begin,
            progress_end=ends[progress],
            told_from=told,
        )

    def _places(self, partition: int) -> tuple[Any, Any]:
        from aiokafka import TopicPartition

        return TopicPartition(self._topics.answers, partition), TopicPartition(self._topics.progress, partition)

    async def send(self, record: Request | Control, *, event_id: str, at_ms: int) -> tuple[int, int]:
        """Writes the record and waits until all in-sync replicas have it; returns (partition, offset)."""
        topic = self._topics.requests if isinstance(record, Request) else self._topics.control
        payload = self._codec.encode(record, topic)
        if len(payload) > MAX_RECORD_BYTES:
            raise TooLargeError(
                f"the request has {len(payload)} bytes, the limit is {MAX_RECORD_BYTES}: send text as an attachment"
            )
        with tracing.within(sending(topic, record, event_id)) as span:
            trace = span.header or headers.traceparent(None, record.request_id)
            about = headers.event_headers(
                record=type(record).__name__,
                event_id=event_id,
                source="cli",
                subject=record.request_id,
                at_ms=at_ms,
                trace=trace,
            )
            return await self._written(topic, payload, record.request_id.encode(), about)

    async def _written(self, topic: str, payload: bytes, key: bytes, about: headers.Headers) -> tuple[int, int]:
        from aiokafka import AIOKafkaProducer

        producer = AIOKafkaProducer(
            **aiokafka_options(self._settings),
            client_id="hocket-cli",
            acks="all",
            enable_idempotence=True,
            max_request_size=MAX_RECORD_BYTES + 64 * 1024,
        )
        await producer.start()
        try:
            done = await producer.send_and_wait(topic, payload, key=key, headers=about)
        finally:
            await producer.stop()
        return done.partition, done.offset

    async def follow(self, place: Place, *, seconds: float, progress: bool = True) -> AsyncIterator[Heard]:
        """What happens to the request, until its answer or until the seconds are over. Unreadable records are passed.

        A broker that is away is waited for. Raises CliError when the records need a schema registry and none is set.
        What stood in the topics when the place was noted is read even if that takes longer; and before the answer is
        given, all of `progress` that stands there by then.
        """
        answers, told = self._places(place.partition)
        offsets = {answers: place.answers_from} | ({told: place.progress_from} if progress else {})
        ends = {answers: place.answers_end} | ({told: place.progress_end} if progress else {})
        self._consumer.assign(list(offsets))
        for where, offset in offsets.items():
            self._consumer.seek(where, offset)
        patience = _Patience(seconds)
        answer: Answer | None = None
        while patience.left or (patience.may_end and await self._behind(ends)):
            batch = await self._consumer.getmany(timeout_ms=int(1000 * patience.poll_seconds))
            patience.heard(bool(batch))
            for record, offset in self._mine(batch.get(told, ()), place.key, Progress):
                new = offset >= place.told_from
                place = replace(place, told_from=max(place.told_from, offset + 1))
                yield Heard(record=record, place=place, new=new)
            found = next(self._mine(batch.get(answers, ()), place.key, Answer), None)
            if found is not None and answer is None:
                # The answer ends the story: what was told before it may stand further on in its own topic.
                answer = found[0]
                ends = {told: await self._end_of(told, patience)} if progress else {}
                patience.end()
        if answer is not None:
            yield Heard(record=answer, place=place)

    async def _end_of(self, where: Any, patience: _Patience) -> int:
        """Where it ends now; 0 when the broker stays away."""
        from aiokafka.errors import KafkaError

        while patience.may_end:
            try:
                return int((await self._consumer.end_offsets([where]))[where])
            except KafkaError:
                await asyncio.sleep(_POLL_SECONDS)
        return 0

    async def _behind(self, ends: Mapping[Any, int]) -> bool:
        return any([int(await self._consumer.position(where)) < end for where, end in ends.items()])

    def _mine(self, batch: Sequence[Any], key: bytes, expected: type[R]) -> Iterator[tuple[R, int]]:
        for message in batch:
            if message.key == key:
                try:
                    yield self._codec.decode(message.value, expected), message.offset
                except CodecError:
                    if self._needs_registry(message.value):
                        raise CliError(
                            "the services of this installation use a schema registry, and this client knows none: set "
                            "HOCKET_REGISTRY_URL to theirs; the request goes on meanwhile",
                            code=USAGE,
                            kind="needs_registry",
                        ) from None
                    continue  # a foreign producer's; the monitor counts those

    def _needs_registry(self, value: bytes | None) -> bool:
        return not self._settings.registry_url and (value or b"").startswith(CONFLUENT)


class _Patience:
    """How long a follower goes on: the seconds it was given, then as long as there is something to catch up with."""

    def __init__(self, seconds: float) -> None:
        self._give_up = time.monotonic() + seconds
        self._stalled = self._give_up + _STALLED_SECONDS
        self.ending = False

    @property
    def left(self) -> bool:
        """Whether more may be waited for."""
        return time.monotonic() < self._give_up and not self.ending

    @property
    def may_end(self) -> bool:
        """Whether what is there may still be read."""
        return time.monotonic() < self._stalled

    @property
    def poll_seconds(self) -> float:
        """How long one poll may last; short at the end, where a transaction's mark may be all that is still to come."""
        return 0.05 if self.ending else min(_POLL_SECONDS, max(self._give_up - time.monotonic(), 0.05))

    def heard(self, something: bool) -> None:
        """Notes a poll: as long as records come, nothing has stalled."""
        if something:
            now = time.monotonic()
            self._stalled = (now if self.ending else max(self._give_up, now)) + _STALLED_SECONDS

    def end(self) -> None:
        """The answer is there; only what stands before it is waited for."""
        if not self.ending:
            self.ending, self._stalled = True, time.monotonic() + _STALLED_SECONDS


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
    try:
        await consumer.start()
        yield Exchange(settings, consumer, partitions)
    finally:
        await asyncio.shield(consumer.stop())
