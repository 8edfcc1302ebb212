"""The runtime on the in-memory log: bad records, handlers that fail, tasks that kill their worker."""

from __future__ import annotations

import asyncio

import pytest

from hocket.contracts.records import Task
from hocket.core.donemap import decode
from hocket.kafka.log import TooLarge
from hocket.kafka.runtime import Outgoing, StreamPoisonedError
from hocket.runtime import metrics
from hocket.testing.log import FakeLog
from tests.support.runtimes import (
    CODEC,
    GROUP,
    NOW,
    TOPIC,
    Desk,
    at_once,
    crash,
    dead,
    make,
    never,
    put,
    result,
    results,
    running,
    task,
    total_committed,
    until,
)


async def test_poison_becomes_a_dead_letter_with_its_bytes_and_the_rest_goes_on():
    log = FakeLog(partitions=1, now_ms=lambda: 77)
    log.append(TOPIC, b"\xff", b"not avro", [("a", b"1"), ("b", None)])
    put(log, "good")
    async with running(make(log, at_once)):
        await until(lambda: log.committed(GROUP, TOPIC).get(0) == 2)
    [letter] = dead(log)
    assert (letter.topic, letter.partition, letter.offset) == (TOPIC, 0, 0)
    assert (letter.key, letter.value, letter.headers) == (b"\xff", b"not avro", {"a": b"1", "b": b""})
    assert (letter.kind, letter.service, letter.timestamp, letter.at) == ("undecodable", "worker/w", 77, NOW)
    assert "C3 01" in letter.reason
    assert [r.request_id for r in results(log)] == ["good"]


async def test_a_record_of_another_type_is_invalid():
    log = FakeLog(partitions=1)
    log.append(TOPIC, b"k", CODEC.encode(result(task("x")).record, TOPIC))
    async with running(make(log, at_once)):
        await until(lambda: total_committed(log) == 1)
    assert [d.kind for d in dead(log)] == ["invalid"]


async def test_a_handler_that_raises_is_answered_and_dead_lettered():
    async def broken(t: Task, delivery: object) -> list[Outgoing]:
        raise ZeroDivisionError("oh")

    log = FakeLog(partitions=1)
    put(log, "a")
    async with running(make(log, broken)) as runtime:
        await until(lambda: total_committed(log) == 1)
        assert (runtime.stats.failed, runtime.stats.dead_letters) == (1, 1)
    [r] = results(log)
    assert r.error is not None
    assert r.error.message == "oh"
    assert [(d.kind, d.reason) for d in dead(log)] == [("crashed", "ZeroDivisionError: oh")]


async def test_a_sick_worker_fails_a_handful_before_it_slows_down():
    async def sick(t: Task, delivery: object) -> list[Outgoing]:
        raise RuntimeError("the model refuses every call")

    log = FakeLog(partitions=1)
    put(log, *(f"r{i}" for i in range(200)))
    async with running(make(log, sick)) as runtime:
        await until(lambda: runtime.stats.paused == (0,))
        assert 8 <= runtime.stats.failed <= 24


async def test_a_handler_that_cancels_itself_does_not_hold_its_partition():
    async def weary(t: Task, delivery: object) -> list[Outgoing]:
        raise asyncio.CancelledError

    log = FakeLog(partitions=1)
    put(log, "a")
    async with running(make(log, weary)):
        await until(lambda: total_committed(log) == 1)
    assert [d.kind for d in dead(log)] == ["crashed"]
    assert len(results(log)) == 1


async def test_an_outcome_that_is_too_large_is_never_sent():
    async def wordy(t: Task, delivery: object) -> list[Outgoing]:
        return [result(t, text="x" * 1_000_000)]

    log = FakeLog(partitions=1)
    put(log, "a")
    async with running(make(log, wordy)):
        await until(lambda: total_committed(log) == 1)
    [r] = results(log)
    assert r.error is not None
    assert r.error.kind == TooLarge.kind
    assert [d.kind for d in dead(log)] == ["too_large"]


async def test_when_on_crash_fails_too_the_dead_letter_remains():
    async def broken(t: Task, delivery: object) -> list[Outgoing]:
        raise RuntimeError("one")

    log = FakeLog(partitions=1)
    put(log, "a")
    runtime = make(log, broken)
    runtime._desk.hooks.on_crash = lambda *_: 1 / 0  # type: ignore[assignment,return-value]
    async with running(runtime):
        await until(lambda: total_committed(log) == 1)
    assert (len(dead(log)), results(log)) == (1, [])


async def test_a_stream_of_rubbish_stops_the_consumer_instead_of_being_emptied():
    log = FakeLog(partitions=1)
    for i in range(200):
        log.append(TOPIC, b"k", b"rubbish %d" % i)
    with pytest.raises(StreamPoisonedError, match="cannot be read"):
        await make(log, at_once, concurrency=4).run()
    assert len(dead(log)) < 25
    told = decode(log.metadata(GROUP, TOPIC)[0], log.committed(GROUP, TOPIC)[0])
    assert told is not None
    # Threads look at it, in any order, so the one that stopped it need not be the last: it alone is open below them.
    assert {d.offset for d in dead(log)} == {o for o in range(told.top) if o < told.base or told.done(o)}


async def test_a_task_that_kills_at_once_is_counted_although_it_leaves_no_time_for_a_commit(monkeypatch):
    monkeypatch.setattr("hocket.kafka.ledger._COMMIT_S", 0.05)
    log = FakeLog(partitions=1)
    put(log, "killer")
    starts = 0
    for life in range(5):
        died = asyncio.Event()

        async def kill(t: Task, delivery: object, died: asyncio.Event = died) -> list[Outgoing]:
            runtime._consumer.commit = never  # type: ignore[method-assign]  # noqa: B023
            died.set()
            await asyncio.sleep(60)
            return []

        runtime = make(log, kill, worker=f"w{life}")
        run = asyncio.create_task(runtime.run())
        await until(lambda: died.is_set() or dead(log))  # noqa: B023
        if not died.is_set():
            await asyncio.sleep(0.3)  # a letter is there: now it would start once more
        starts += died.is_set()
        died.set()
        await crash(log, runtime, run)
    assert starts == 3
    assert [d.kind for d in dead(log)] == ["killer"]


async def test_a_task_that_kills_its_worker_again_and_again_is_dead_lettered_and_answered():
    log, before = FakeLog(partitions=1), metrics.LOST_RUNS.labels("writing")._value.get()
    put(log, "killer")
    starts = 0
    for life in range(3):
        desk = Desk()
        runtime = make(log, desk, worker=f"w{life}")
        run = asyncio.create_task(runtime.run())
        await until(lambda: len(desk.started) == 1)  # noqa: B023
        starts += len(desk.started)
        await asyncio.sleep(0.15)
        await crash(log, runtime, run)
    last = Desk()
    async with running(make(log, last, worker="w9")):
        await until(lambda: total_committed(log) == 1)
    assert (starts, last.started) == (3, [])
    assert [d.kind for d in dead(log)] == ["killer"]
    [answer] = results(log)
    assert answer.error is not None
    assert answer.error.kind == "killer"
    assert answer.lost_runs == 3, "each may have been paid for"
    assert metrics.LOST_RUNS.labels("writing")._value.get() == before + 3


@pytest.mark.parametrize("text", ["", "somebody else's note", "h" * 4_000])
async def test_foreign_metadata_is_ignored(text):
    log = FakeLog(partitions=1)
    put(log, "a", "b")
    log.group(GROUP).committed[(TOPIC, 0)] = (1, text)
    async with running(make(log, at_once)):
        await until(lambda: log.committed(GROUP, TOPIC).get(0) == 2)
    assert [r.request_id for r in results(log)] == ["b"]
