"""The readers of whole topics on a real broker."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from hocket.contracts.records import Control
from hocket.contracts.topics import Topics
from hocket.kafka.broadcast import LOOK_BACK_MS, Broadcast
from hocket.local.broker import EmbeddedBroker
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings
from tests.support.kafka import CODEC, producing, send

pytestmark = pytest.mark.kafka


@contextlib.asynccontextmanager
async def reading(
    settings: Settings, topic: str, *, ahead_ms: int = 0
) -> AsyncIterator[tuple[Broadcast[Control], list[str]]]:
    heard: list[str] = []

    def hear(said: Control) -> None:
        heard.append(said.request_id)

    since_ms = now_ms() + ahead_ms - LOOK_BACK_MS
    mine = Broadcast(settings, topic=topic, record=Control, codec=CODEC, heard=hear, since_ms=since_ms)
    task = asyncio.create_task(mine.run())
    try:
        yield mine, heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(found: list[str], wanted: set[str], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not wanted <= set(found):
            await asyncio.sleep(0.005)


def cancel(request_id: str) -> Control:
    return Control(request_id=request_id, action="cancel", at=1)


async def test_every_reader_hears_every_partition_and_what_was_said_shortly_before(
    settings: Settings, topics_ready: Topics
) -> None:
    topic = topics_ready.control
    before, after = {f"b{i}" for i in range(20)}, {f"a{i}" for i in range(20)}
    async with producing(settings) as producer:
        await send(producer, topic, *map(cancel, sorted(before)))
        async with reading(settings, topic) as (_, one), reading(settings, topic) as (other, two):
            await until(one, before)
            await until(two, before)
            await producer.send_and_wait(topic, b"rubbish", key=b"k")
            await send(producer, topic, *map(cancel, sorted(after)))
            await until(one, after)
            await until(two, after)
            assert other.skipped == 1
    assert sorted(one) == sorted(two) == sorted(before | after)


async def test_what_was_said_long_before_is_not_read_again(settings: Settings, topics_ready: Topics) -> None:
    topic = topics_ready.control
    async with producing(settings) as producer:
        await send(producer, topic, *map(cancel, ("old1", "old2", "old3")))
        async with reading(settings, topic, ahead_ms=LOOK_BACK_MS + 60_000) as (mine, found):
            await mine.caught_up()
            began = time.monotonic()
            await send(producer, topic, cancel("new"))
            await until(found, {"new"})
            print(f"written to heard: {1000 * (time.monotonic() - began):.0f} ms")
    assert found == ["new"]


async def test_who_has_caught_up_has_heard_all_that_was_there(settings: Settings, topics_ready: Topics) -> None:
    topic = topics_ready.control
    async with producing(settings) as producer, reading(settings, topic) as (mine, found):
        await mine.caught_up()
        for number in range(30):
            await send(producer, topic, cancel(f"n{number}"))
            await mine.caught_up()
            assert f"n{number}" in found


async def test_a_topic_that_is_not_there_holds_nobody_up_for_long(
    settings: Settings, topics_ready: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hocket.kafka.broadcast._CATCH_UP_S", 2.0)
    async with reading(settings, f"{topics_ready.control}-missing") as (mine, found):
        async with asyncio.timeout(30):
            await mine.caught_up()
    assert found == []


async def test_it_goes_on_after_the_broker_was_away(
    settings: Settings, topics_ready: Topics, own_broker: object
) -> None:
    assert isinstance(own_broker, EmbeddedBroker)
    topic = topics_ready.control
    async with reading(settings, topic) as (_, found):
        async with producing(settings) as producer:
            await send(producer, topic, cancel("before"))
        await until(found, {"before"})
        await asyncio.to_thread(own_broker.restart)
        async with producing(settings) as producer:
            await send(producer, topic, cancel("after"))
        await until(found, {"after"}, 60)
    assert found == ["before", "after"]
