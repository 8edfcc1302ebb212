"""Text is written beside the call: never in its way, all of it before a good end."""

from __future__ import annotations

import asyncio

import pytest

from hocket.core.coalesce import Piece
from services.workers.telling import Telling


class Kafka:
    """Takes pieces, as slowly as it is told."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.open = asyncio.Event()
        self.open.set()

    async def write(self, piece: Piece) -> None:
        await self.open.wait()
        self.pieces.append(piece)

    @property
    def text(self) -> str:
        return "".join(p.text for p in self.pieces if p.reply == self.pieces[-1].reply)


async def test_all_text_is_written_at_the_end_and_in_few_records() -> None:
    kafka = Kafka()
    async with Telling(kafka.write) as telling:
        for word in range(500):
            telling.add(f"{word} ")
            await asyncio.sleep(0.001)
    assert kafka.text == "".join(f"{w} " for w in range(500))
    assert len(kafka.pieces) < 15
    assert telling.heard == (0, len(kafka.text))


async def test_a_broker_that_is_away_does_not_hold_the_call_up() -> None:
    kafka = Kafka()
    kafka.open.clear()
    loop = asyncio.get_running_loop()
    async with Telling(kafka.write) as telling:
        began = loop.time()
        for _ in range(1_000):
            telling.add("word ")
            await asyncio.sleep(0)
        assert loop.time() - began < 10
        assert kafka.pieces == []
        kafka.open.set()
    assert kafka.text == "word " * 1_000


async def test_the_end_waits_for_what_is_being_written() -> None:
    kafka = Kafka()
    kafka.open.clear()

    async def call() -> None:
        async with Telling(kafka.write) as telling:
            telling.add("words")

    running = asyncio.create_task(call())
    await asyncio.sleep(0.05)
    assert not running.done()
    kafka.open.set()
    await running
    assert kafka.text == "words"


async def test_a_cancelled_call_does_not_wait() -> None:
    kafka = Kafka()
    kafka.open.clear()

    async def call() -> None:
        async with Telling(kafka.write) as telling:
            telling.add("words")
            await asyncio.sleep(30)

    running = asyncio.create_task(call())
    await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 20)
    assert kafka.pieces == []


async def test_what_was_delivered_is_what_followers_read_in_the_end() -> None:
    kafka = Kafka()
    async with Telling(kafka.write) as telling:
        telling.add("a draft that was doubted")
        await asyncio.sleep(0.01)
        telling.settle("by another engine")
    assert (kafka.text, telling.heard) == ("by another engine", (1, 17))


async def test_who_streams_nothing_tells_nothing() -> None:
    kafka = Kafka()
    async with Telling(kafka.write) as telling:
        telling.settle("whole")
    assert (kafka.pieces, telling.heard) == ([], None)
