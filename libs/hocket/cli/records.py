"""Reading the newest records of a topic."""

from __future__ import annotations

from typing import Any, TypeVar

from hocket.cli.exchange import CONNECT_SECONDS
from hocket.cli.tail import messages, reader
from hocket.contracts.codec import CodecError
from hocket.contracts.records import Record
from hocket.kafka.admin import list_topics
from hocket.kafka.client import codec_of
from hocket.runtime.settings import Settings

R = TypeVar("R", bound=Record)
PER_REQUEST = 64
"""No plan has more tasks: so many records of a partition hold at least one request's."""


async def latest(settings: Settings, topic: str, kind: type[R], requests: int) -> list[R]:
    """The newest committed records of a topic, enough for so many requests, oldest first; what does not decode is
    passed. Raises KafkaUnreachable, TopicsError."""
    found = {t.name: t.partitions for t in await list_topics(settings, wait_seconds=CONNECT_SECONDS)}
    codec, read = codec_of(settings), list[tuple[int, R]]()
    if topic not in found:
        return []
    async with reader(settings, topic, found[topic], beginning=True) as consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        await _back(consumer, ends, requests * PER_REQUEST // max(1, found[topic]) + PER_REQUEST)
        async for message in messages(consumer, ends):
            try:
                read.append((message.timestamp, codec.decode(message.value, kind)))
            except CodecError:
                continue
    return [record for _, record in sorted(read, key=lambda x: x[0])]


async def _back(consumer: Any, ends: dict[Any, int], records: int) -> None:
    begins = await consumer.beginning_offsets(list(ends))
    for place, end in ends.items():
        consumer.seek(place, max(begins[place], end - records))
