"""What can be found of a dead worker's outcomes on a real broker."""

from __future__ import annotations

import asyncio
import time

import pytest
from aiokafka import AIOKafkaProducer

from hocket.contracts.headers import event_headers
from hocket.contracts.topics import Topics
from hocket.kafka import recall
from hocket.kafka.recall import SKEW_MS, SPAN_MS, outcomes
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings

pytestmark = pytest.mark.kafka


async def write(
    settings: Settings,
    topic: str,
    ids: list[str],
    source: str,
    *,
    transactional: bool = False,
    key: bytes | None = None,
    value: bytes = b"",
) -> None:
    id_ = f"{settings.prefix}recall" if transactional else None
    client = AIOKafkaProducer(bootstrap_servers=settings.bootstrap, transactional_id=id_)
    await client.start()
    try:
        if transactional:
            await client.begin_transaction()
        for name in ids:
            told = event_headers(record="Result", event_id=name, source=source, subject=name, at_ms=1, trace="")
            await client.send_and_wait(topic, value, key=key or name.encode(), headers=told)
        if transactional:
            await client.commit_transaction()
    finally:
        await client.stop()


async def test_the_outcomes_of_one_kind_of_worker_about_a_time_are_found(
    settings: Settings, topics_ready: Topics
) -> None:
    topic, began = topics_ready.results, now_ms()
    ids = [f"r{i}/a/0.1/result" for i in range(200)]
    await write(settings, topic, ids, "worker/w1/writing")
    await write(settings, topic, ["other"], "worker/w1/research")
    # Markers of a transaction at the ends, which no reader is given: whoever waits for a record there waits for ever.
    await write(settings, topic, ["late"], "worker/w2/writing", transactional=True)
    ended = now_ms()
    found = await outcomes(settings, topic, "writing", began, ended)
    assert set(found) == {*ids, "late"}
    assert all(began - 50 <= at <= ended + 50 for at in found.values())
    assert await outcomes(settings, topic, "writing", ended + SKEW_MS + 1_000, ended + 9_000) == {}
    assert await outcomes(settings, topics_ready.plans, "writing", began, ended) == {}


async def test_it_reads_no_further_than_a_dead_worker_can_have_written(
    settings: Settings, topics_ready: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, began = topics_ready.results, now_ms()
    for number in range(4):  # each as large as one fetch
        await write(settings, topic, [f"{number}"], "worker/w1/writing", key=b"same", value=b"x" * 900_000)
    assert len(await outcomes(settings, topic, "writing", began, now_ms())) == 4
    monkeypatch.setattr(recall, "SPAN_MS", -SPAN_MS)
    assert len(await outcomes(settings, topic, "writing", began, now_ms())) < 4


async def test_what_cannot_be_read_is_not_known_and_holds_nobody_up_for_long(
    settings: Settings, topics_ready: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recall, "_GIVE_UP_S", 2.0)
    began = time.monotonic()
    gone = settings.model_copy(update={"bootstrap": "127.0.0.1:1"})
    reads = (outcomes(gone, topics_ready.results, "writing", 0, 1), outcomes(settings, "x-missing", "writing", 0, 1))
    assert await asyncio.gather(*reads) == [{}, {}]
    assert time.monotonic() - began < 30
