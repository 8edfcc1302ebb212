"""`hocket tail`: any topic's records as JSON, one to a line."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from hocket.cli.base import Output, say, usage
from hocket.cli.exchange import CONNECT_SECONDS
from hocket.contracts.codec import Codec, CodecError, record_types
from hocket.contracts.records import Record
from hocket.kafka.admin import admin
from hocket.kafka.client import aiokafka_options, codec_of, topics_of
from hocket.runtime.settings import Settings

_POLL_SECONDS = 0.5


def candidates(settings: Settings, full: str) -> list[type[Record]]:
    """The record types that a topic's records may have: the declared one, or all for a foreign topic."""
    types = record_types()
    spec = topics_of(settings).spec(full)
    return [types[spec.record]] if spec is not None else list(types.values())


def decoded(codec: Codec, expected: list[type[Record]], value: bytes | None) -> dict[str, Any]:
    """`{"record": ...}`, or why it cannot be read together with the bytes."""
    why = ""
    for kind in expected:
        try:
            return {"record": codec.decode(value, kind).model_dump(mode="json")}
        except CodecError as e:
            why = str(e)
    shown = _Bytes(value=value).model_dump(mode="json")["value"]
    return {"error": why if len(expected) == 1 else "none of Hocket's records", "value": shown}


class _Bytes(Record):
    value: bytes | None = None


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "backslashreplace")


def document(message: Any, codec: Codec, expected: list[type[Record]]) -> dict[str, Any]:
    """One record with everything around it."""
    return {
        "topic": message.topic,
        "partition": message.partition,
        "offset": message.offset,
        "timestamp": message.timestamp,
        "key": _text(message.key),
        "headers": {k: _text(v) for k, v in message.headers},
        **decoded(codec, expected, message.value),
    }


def _line(found: dict[str, Any], output: Output) -> str:
    if output is Output.json:
        return json.dumps(found, ensure_ascii=False)
    body = found.get("record", {k: v for k, v in found.items() if k in ("error", "value")})
    return f"{found['partition']}/{found['offset']} {json.dumps(body, ensure_ascii=False)}"


async def tail(
    settings: Settings, name: str, *, beginning: bool, limit: int | None, to_end: bool, output: Output
) -> int:
    """Prints records until `limit`, the end of the topic (`to_end`) or Ctrl-C; returns how many."""
    topics = topics_of(settings)
    async with admin(settings, wait_seconds=CONNECT_SECONDS) as client:
        there = {t["topic"]: len(t["partitions"]) for t in await client.describe_topics(None)}
    full = next((n for n in (topics.prefix + name, name) if n in there), None)
    if full is None:
        known = ", ".join(sorted(topics.plain(n) for n in there if topics.spec(n) is not None))
        usage(f"there is no topic {name!r}; of Hocket's there are: {known or 'none (run `hocket topics apply`)'}")
    codec, expected = codec_of(settings), candidates(settings, full)
    count = 0
    async with reader(settings, full, there[full], beginning=beginning) as consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        if not beginning and not to_end:
            say(f"waiting for new records of {full} (Ctrl-C to end; --from beginning for the old ones)")
        async for message in messages(consumer, ends if to_end else None):
            print(_line(document(message, codec, expected), output), flush=True)
            count += 1
            if limit is not None and count >= limit:
                break
    return count


@asynccontextmanager
async def reader(settings: Settings, topic: str, partitions: int, *, beginning: bool) -> AsyncIterator[Any]:
    from aiokafka import AIOKafkaConsumer, TopicPartition

    consumer = AIOKafkaConsumer(
        **aiokafka_options(settings),
        client_id="hocket-tail",
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
    )
    await consumer.start()
    try:
        places = [TopicPartition(topic, p) for p in range(partitions)]
        offsets = await (consumer.beginning_offsets(places) if beginning else consumer.end_offsets(places))
        consumer.assign(places)
        for place, offset in offsets.items():
            consumer.seek(place, offset)
        yield consumer
    finally:
        await consumer.stop()


async def messages(consumer: Any, ends: dict[Any, int] | None) -> AsyncIterator[Any]:
    while True:
        batch = await consumer.getmany(timeout_ms=int(_POLL_SECONDS * 1000))
        for message in _in_time(batch):
            yield message
        if ends is not None and all([await consumer.position(p) >= end for p, end in ends.items()]):
            return


def _in_time(batch: dict[Any, list[Any]]) -> Iterator[Any]:
    """Partitions have no common order; by append time they read like one story."""
    yield from sorted((m for messages in batch.values() for m in messages), key=lambda m: m.timestamp)
