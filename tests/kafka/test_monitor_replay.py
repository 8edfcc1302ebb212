"""A dead letter is sent again from the live page, by keyboard, in a real Chromium; and only where that is allowed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from hocket.contracts.records import DeadLetter
from hocket.contracts.topics import Topics
from hocket.kafka.letters import REPLAYED
from hocket.runtime.settings import Settings
from services.monitor.watch import watch
from tests.support.browser import Tab, browsing
from tests.support.busy_board import BusyBoard, busy_board
from tests.support.kafka import CODEC, producing, reader

pytestmark = pytest.mark.kafka
TOKEN = "s3cret"
HEADERS = {"Authorization": f"Bearer {TOKEN}", "X-Hocket-Replay": "1"}


async def put(settings: Settings, topics: Topics, *values: bytes | None) -> None:
    """Dead letters of records of `requests`."""
    async with producing(settings) as producer:
        for number, value in enumerate(values):
            letter = DeadLetter(
                topic=topics.requests, partition=1, offset=number, key=b"k%d" % number, value=value,
                headers={"x": b"\x01"}, kind="undecodable", reason="bad", service="aggregator", at=1,
            )  # fmt: skip
            encoded = CODEC.encode(letter, topics.dead_letters)
            await producer.send_and_wait(topics.dead_letters, encoded, key=letter.key)


@contextlib.asynccontextmanager
async def page(settings: Settings, letters: int) -> AsyncIterator[BusyBoard]:
    """The page with what stands in the topics."""
    async with busy_board(settings) as made:
        watching = asyncio.create_task(watch(settings, made.board))
        try:
            async with asyncio.timeout(30):
                while len(made.board.dead) < letters:
                    await asyncio.sleep(0.05)
            yield made
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


async def say(tab: Tab, text: str) -> None:
    """Waits until the page has told it where a screen reader hears it."""
    await tab.until(f"document.getElementById('dead-said').innerText.includes({text!r})", within=40)


async def test_a_dead_letter_is_sent_again_by_keyboard_and_a_second_time_only_when_meant(
    settings: Settings, topics_ready: Topics, tmp_path: Path
) -> None:
    settings = settings.model_copy(update=Settings(monitor_replay=True, monitor_token=TOKEN).model_dump(
        include={"monitor_replay", "monitor_token"}))  # fmt: skip
    await put(settings, topics_ready, b"\x00\xff", None)
    async with browsing(tmp_path) as tab, page(settings, 2) as made:
        await tab.look(390)
        await tab.open(f"{made.address}/?token={TOKEN}")
        await tab.until("document.querySelectorAll('#dead li').length === 2")
        assert await tab.value("document.querySelectorAll('#dead .acts').length") == 1, "one has no bytes to send"
        await tab.value("document.querySelector('#dead .acts button').focus()")
        await tab.press("Enter")
        await tab.until("document.activeElement.innerText === 'Send'")
        await tab.press("Enter")
        await say(tab, f"Sent again, as {topics_ready.requests}/")
        await tab.until("document.querySelector('#dead li .tag.ok')")
        await tab.until("document.activeElement.innerText === 'Send again'")
        await tab.press("Enter")
        await tab.until("document.activeElement.innerText === 'Send'")
        await tab.press("Enter")
        await say(tab, "was replayed before, as")
        await tab.until("document.activeElement.innerText === 'Send once more'")
        await tab.press("Tab")
        await tab.press("Enter")  # Cancel
        await tab.until("document.activeElement.innerText === 'Send again'")
        assert await tab.value("document.documentElement.scrollWidth") == 390
        assert [e for e in tab.errors if "409" not in e] == []
        found = []
        async with reader(settings, topics_ready.requests) as consumer, asyncio.timeout(20):
            while not found:
                found += [r for b in (await consumer.getmany(timeout_ms=200)).values() for r in b]
    [sent] = found
    [place] = [d.id for d in made.board.dead if d.letter.key == b"k0"]
    assert (sent.key, sent.value, dict(sent.headers)) == (b"k0", b"\x00\xff", {"x": b"\x01", REPLAYED: place.encode()})


async def test_it_is_read_only_unless_switched_on_and_strangers_send_nothing(
    settings: Settings, topics_ready: Topics
) -> None:
    path = "/api/dead-letters/0:0/replay"
    async with (
        busy_board(settings) as made,
        aiohttp.ClientSession() as client,
        client.post(made.address + path, headers=HEADERS) as reply,
    ):
        assert reply.status == 403
        assert "HOCKET_MONITOR_REPLAY" in await reply.text()
    open_to_some = Settings(
        monitor_replay=True, monitor_token=TOKEN, bootstrap=settings.bootstrap, prefix=settings.prefix
    )
    async with busy_board(open_to_some) as made, aiohttp.ClientSession() as client:
        asked = {
            "0:0": ({}, 401),
            "0:1": ({"Authorization": f"Bearer {TOKEN}"}, 403),  # no script of ours: another site's form, say
            "first": (HEADERS, 400),
            "0:99": (HEADERS, 404),
        }
        for letter, (headers, status) in asked.items():
            async with client.post(f"{made.address}/api/dead-letters/{letter}/replay", headers=headers) as reply:
                assert reply.status == status, letter
