"""The runtime on the in-memory log: what is run again after a crash, and what an outcome tells to be done."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from hocket.contracts.codec import Codec, Schema
from hocket.contracts.records import Handover
from hocket.testing.log import FakeLog
from tests.support.registry import FakeIds
from tests.support.runtimes import (
    GROUP,
    NOW,
    TOPIC,
    TOPICS,
    Desk,
    at_once,
    crash,
    make,
    never,
    put,
    recalling,
    results,
    running,
    task,
    total_committed,
    until,
)


async def test_a_crash_before_the_commit_makes_the_next_member_repeat():
    log, desk = FakeLog(partitions=1), Desk()
    put(log, "a", "b")
    first = make(log, desk)
    doomed = asyncio.create_task(first.run())
    await until(lambda: len(desk.started) == 2)
    await first._consumer.kill()  # type: ignore[attr-defined]
    desk.finish("b")
    await until(lambda: len(results(log)) == 1)
    async with running(make(log, at_once, worker="w2")):
        await until(lambda: log.committed(GROUP, TOPIC).get(0) == 2)
    doomed.cancel()
    await asyncio.gather(doomed, return_exceptions=True)
    assert {r.request_id for r in results(log)} == {"a", "b"}


@pytest.mark.parametrize("recalls", [True, False])
async def test_what_a_dead_worker_wrote_and_did_not_commit_is_not_run_again(recalls):
    log, desk, second, asked = FakeLog(partitions=1, now_ms=lambda: NOW), Desk(), Desk(), []
    put(log, "a", "b", "c")
    first = make(log, desk)
    run = asyncio.create_task(first.run())
    await until(lambda: len(desk.started) == 3 and bool(log.metadata(GROUP, TOPIC).get(0)))
    first._consumer.commit = never  # type: ignore[method-assign]
    desk.finish("a", "c")
    await until(lambda: len(results(log)) == 2)
    await crash(log, first, run)
    async with running(make(log, second, worker="w2", recall=recalling(log, asked) if recalls else None)):
        second.finish("a", "b", "c")
        await until(lambda: log.committed(GROUP, TOPIC).get(0) == 3)
    assert sorted(second.started) == (["b"] if recalls else ["a", "b", "c"])
    assert asked == ([(NOW, NOW)] if recalls else []), "the time of the last commit"


class SlowIds(FakeIds):
    """A registry that gives a schema when it is told to."""

    def __init__(self, schemas: dict[int, Any]) -> None:
        super().__init__(schemas)
        self.open = threading.Event()

    def schema_of(self, schema_id: int) -> Schema:
        assert self.open.wait(30)
        return super().schema_of(schema_id)


async def test_in_a_registry_installation_the_first_records_are_looked_up_too():
    """They cannot be read at once, because the schema has yet to be fetched: they ran without having been looked up."""
    log, desk, second, ids = FakeLog(partitions=1, now_ms=lambda: NOW), Desk(), Desk(), FakeIds()
    codec = Codec(ids)
    for name in ("a", "b", "c"):
        log.append(TOPIC, name.encode(), codec.encode(task(name), TOPIC))
    first = make(log, desk, codec=codec)
    run = asyncio.create_task(first.run())
    await until(lambda: len(desk.started) == 3 and bool(log.metadata(GROUP, TOPIC).get(0)))
    first._consumer.commit = never  # type: ignore[method-assign]
    desk.finish("a", "c")
    await until(lambda: len(log.records(TOPICS.results)) == 2)
    await crash(log, first, run)
    log.append(TOPIC, b"bad", b"\0\0\0\0\1 no task")
    slow = SlowIds(ids.schemas)
    later = make(log, second, worker="w2", codec=Codec(slow), recall=recalling(log, []))
    async with running(later):
        await until(lambda: len(later._queue.held) == 4)
        later.hear(Handover(worker="another@1", topic=TOPIC, ended=0, at=NOW))
        await asyncio.sleep(1.2)  # beyond a review
        assert second.started == [], "whatever reviews what is held, it is not told yet"
        slow.open.set()
        second.finish("b")
        await until(lambda: log.committed(GROUP, TOPIC).get(0) == 4)
        assert later.stats.dead_letters == 1
    assert second.started == ["b"]


async def test_a_task_that_is_sent_again_runs_although_its_older_outcome_is_there():
    log, first, second, asked = FakeLog(partitions=1, now_ms=lambda: NOW), Desk(), Desk(), []
    put(log, "a")
    runtime = make(log, first)
    run = asyncio.create_task(runtime.run())
    first.finish("a")
    await until(lambda: total_committed(log) == 1)
    await crash(log, runtime, run)
    log._now_ms = lambda: NOW + 1
    put(log, "a")
    async with running(make(log, second, worker="w2", recall=recalling(log, asked))):
        second.finish("a")
        await until(lambda: total_committed(log) == 2)
    assert (second.started, len(asked)) == (["a"], 1)


async def test_after_a_crash_only_what_was_in_flight_runs_again():
    log, desk, second = FakeLog(partitions=1), Desk(), Desk()
    put(log, "a", "b", "c", "d")
    first = make(log, desk)
    run = asyncio.create_task(first.run())
    await until(lambda: len(desk.started) == 4)
    desk.finish("b", "d")
    await until(lambda: len(results(log)) == 2)
    await asyncio.sleep(0.15)
    assert log.committed(GROUP, TOPIC) == {0: 0}
    await crash(log, first, run)
    async with running(make(log, second, worker="w2")):
        await until(lambda: len(second.started) == 2)
        second.finish("a", "c")
        await until(lambda: log.committed(GROUP, TOPIC).get(0) == 4)
    assert second.started == ["a", "c"]
    assert sorted((r.request_id, r.lost_runs) for r in results(log)) == [("a", 1), ("b", 0), ("c", 1), ("d", 0)]
