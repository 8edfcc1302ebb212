"""The alarm clock on a real broker: every timer that stands rings, not early and not much later."""

from __future__ import annotations

import asyncio
import random
import time

import pytest
from aiokafka import AIOKafkaProducer

from hocket.contracts.records import AccountCommand, Timer, Wakeup
from hocket.contracts.topics import Topics
from hocket.kafka.client import partition_of
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings
from services.aggregator.alarm import Alarm
from services.aggregator.timetable import Timetable
from tests.support.kafka import CODEC, producing, reader

pytestmark = pytest.mark.kafka


def alarm(settings: Settings, owned: set[int]) -> Alarm:
    """One whose far is near: what is due in more than a second is a range, and is read again."""
    return Alarm(
        settings,
        CODEC,
        owned=lambda: frozenset(owned),
        on_crash=lambda: None,
        timetable=lambda: Timetable(near_ms=1_000, slot_ms=400),
    )


async def put(producer: AIOKafkaProducer, topic: str, key: str, due_at: int | None) -> None:
    value = CODEC.encode(Timer(request_id=key, due_at=due_at), topic) if due_at is not None else None
    await producer.send(topic, value, key=key.encode())


async def woken(settings: Settings, topics: Topics, seconds: float) -> dict[str, list[tuple[int, int]]]:
    """By key, the moment that each wake-up names and its append time."""
    found: dict[str, list[tuple[int, int]]] = {}
    async with reader(settings, topics.wakeups) as consumer:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for batch in (await consumer.getmany(timeout_ms=100)).values():
                for record in batch:
                    wakeup = CODEC.decode(record.value, Wakeup)
                    found.setdefault(wakeup.request_id, []).append((wakeup.due_at, record.timestamp))
    return found


async def test_every_timer_that_stands_rings_in_time(settings: Settings, topics_ready: Topics) -> None:
    """Near and far ones, replaced and cleared ones; a restart, and partitions that leave and come back."""
    rng, begin = random.Random(3), now_ms()
    standing: dict[str, int | None] = {f"r{n}": begin + rng.randrange(1_000, 9_000) for n in range(400)}
    owned = set(range(settings.partitions))
    async with producing(settings) as producer:
        for key, due_at in standing.items():
            await put(producer, topics_ready.timers, key, due_at)
        for key in rng.sample(sorted(standing), 100):
            standing[key] = None if rng.random() < 0.5 else begin + rng.randrange(3_000, 9_000)
            await put(producer, topics_ready.timers, key, standing[key])
        await producer.flush()
        with alarm(settings, owned):
            await asyncio.sleep(2)
        with alarm(settings, owned):
            await asyncio.sleep(1)
            owned -= {0, 1}
            await asyncio.sleep(1.5)
            owned |= {0, 1}
            found = await woken(settings, topics_ready, 7)
    wanted = {k: at for k, at in standing.items() if at is not None}
    assert {k for k, at in wanted.items() if at not in [due for due, _ in found.get(k, [])]} == set()
    assert [(due, at) for rings in found.values() for due, at in rings if at < due] == []
    kept = {k for k in wanted if partition_of(k.encode(), settings.partitions) >= 2}
    late = sorted(min(at for due, at in found[k] if due == wanted[k]) - wanted[k] for k in kept)
    assert late[-1] < 20_000, late[-5:]


async def test_an_account_is_ticked(settings: Settings, topics_ready: Topics) -> None:
    due_at = now_ms() + 300
    async with producing(settings) as producer, reader(settings, topics_ready.accounts) as consumer:
        await put(producer, topics_ready.account_timers, "session/t/s", due_at)
        with alarm(settings, set(range(settings.partitions))):
            record = await asyncio.wait_for(consumer.getone(), 60)
    tick = CODEC.decode(record.value, AccountCommand)
    assert (record.key, tick.action, tick.command_id) == (b"session/t/s", "tick", f"tick/{due_at}")
    assert record.timestamp >= due_at
