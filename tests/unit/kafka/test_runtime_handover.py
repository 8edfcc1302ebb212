"""The runtime on the in-memory log: partitions that move, members that come and go while calls are in flight."""

from __future__ import annotations

import asyncio

import pytest

from hocket.kafka.client import partition_of
from hocket.kafka.log import CommitRefused
from hocket.testing.log import FakeLog
from tests.support.runtimes import (
    GROUP,
    TOPIC,
    TOPICS,
    Desk,
    at_once,
    dead,
    make,
    no_word,
    put,
    results,
    running,
    total_committed,
    until,
)


async def test_calls_whose_partition_goes_to_another_member_are_left_to_the_first_and_counted_once():
    log, desk = FakeLog(partitions=2), Desk()
    names = [f"r{i}" for i in range(12)]
    put(log, *names)
    async with running(make(log, desk, concurrency=20)) as first:
        await until(lambda: len(desk.started) == 12)
        async with running(make(log, desk, worker="w2", concurrency=20)) as second:
            await until(lambda: first.partitions == (0,) and second.partitions == (1,))
            more = [f"m{i}" for i in range(6)]
            put(log, *more)
            await until(lambda: len(desk.started) == 18)
            assert sorted(desk.started) == sorted(names + more), "what is new starts, what runs is not started again"
            desk.finish(*names, *more)
            await until(lambda: total_committed(log) == 18)
            assert first.stats.commit_failures == 0
            assert second.stats.completed == sum(partition_of(n.encode(), 2) == 1 for n in more)
    assert len(results(log)) == 18
    assert len(desk.started) == 18


async def test_what_a_stopping_member_still_runs_is_not_repeated_and_its_partitions_go_on_at_once():
    log, desk = FakeLog(partitions=1), Desk()
    put(log, "long", "short")
    first = make(log, desk, concurrency=2)
    run = asyncio.create_task(first.run())
    await until(lambda: len(desk.started) == 2)
    async with running(make(log, desk, worker="w2")):
        put(log, "next")
        stop = asyncio.create_task(first.stop(30))
        await until(lambda: "next" in desk.started)
        desk.finish("long", "short", "next")
        await stop
        await run
        await until(lambda: total_committed(log) == 3)
    assert sorted(desk.started) == ["long", "next", "short"]
    assert len(results(log)) == 3


async def test_an_assignment_that_comes_while_a_member_leaves_makes_nobody_repeat_its_calls():
    log, desk, later = FakeLog(partitions=1), Desk(), Desk()
    put(log, "a", "b")
    first = make(log, desk)
    leave, told, go_on = first._consumer.close, asyncio.Event(), asyncio.Event()

    async def slowly() -> None:
        told.set()
        await go_on.wait()
        await leave()

    first._consumer.close = slowly  # type: ignore[method-assign]
    run = asyncio.create_task(first.run())
    await until(lambda: len(desk.started) == 2)
    stop = asyncio.create_task(first.stop(30))
    await told.wait()
    await log.rebalance(GROUP)
    await asyncio.sleep(0.1)
    go_on.set()
    await until(lambda: log.group(GROUP).members == [])
    async with running(make(log, later, worker="w2")):
        put(log, "c")
        await until(lambda: "c" in later.started)
        desk.finish("a", "b")
        later.finish("c")
        await stop
        await run
        await until(lambda: total_committed(log) == 3)
    assert later.started == ["c"]


async def test_what_ended_after_the_last_member_left_is_not_repeated_by_the_next():
    log, desk, later = FakeLog(partitions=1), Desk(), Desk()
    put(log, "a", "b")
    first = make(log, desk)
    run = asyncio.create_task(first.run())
    await until(lambda: len(desk.started) == 2)
    stop = asyncio.create_task(first.stop(30))
    await until(lambda: log.group(GROUP).members == [])
    desk.finish("a", "b")
    await stop
    await run
    assert log.committed(GROUP, TOPIC)[0] == 0
    async with running(make(log, later, worker="w2")):
        await until(lambda: log.committed(GROUP, TOPIC)[0] == 2)
    assert later.started == []


async def test_what_a_dead_member_took_with_it_is_begun_anew_when_it_stays_silent(monkeypatch):
    monkeypatch.setattr("hocket.core.handover.SILENCE_MS", -1)  # the clock of these tests stands still
    log, desk, second = FakeLog(partitions=1), Desk(), Desk()
    put(log, "a")
    first = make(log, desk)
    run = asyncio.create_task(first.run())
    await until(lambda: desk.started == ["a"])
    stop = asyncio.create_task(first.stop(30))
    await until(lambda: log.group(GROUP).members == [])
    first._tenure.words.tell = no_word  # type: ignore[method-assign]
    async with running(make(log, second, worker="w2")):
        await until(lambda: second.started == ["a"])
        second.finish("a")
        await until(lambda: total_committed(log) == 1)
    assert len(results(log)) == 1
    for task in (stop, run):
        task.cancel()
    await asyncio.gather(stop, run, return_exceptions=True)


@pytest.mark.parametrize("taken", [False, True], ids=["refused", "taken long ago"])
async def test_a_start_that_waits_to_be_committed_never_comes_when_the_partition_went_elsewhere(taken):
    log, desk, second = FakeLog(partitions=1), Desk(), Desk()
    put(log, "a")
    frozen, woken = make(log, desk), asyncio.Event()
    frozen._lease_s = 0.2

    async def late(offsets: object) -> None:
        was, _ = woken.is_set(), await woken.wait()
        if was or not taken:
            raise CommitRefused("the group has moved on")

    frozen._consumer.commit = late  # type: ignore[method-assign]
    run = asyncio.create_task(frozen.run())
    await until(lambda: frozen.stats.in_flight == 1)
    await frozen._consumer.kill()  # type: ignore[attr-defined]  # the group gives it up; it does not know yet
    async with running(make(log, second, worker="w2")):
        await until(lambda: second.started == ["a"])
        await asyncio.sleep(2 * frozen._lease_s)
        woken.set()
        await until(lambda: frozen.stats.commit_failures > 0)
        await asyncio.sleep(0.05)
        second.finish("a")
        await until(lambda: total_committed(log) == 1)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    assert desk.started == []


async def test_a_member_that_waits_long_for_its_first_partitions_goes_on_polling():
    log = FakeLog(partitions=1)
    runtime = make(log, at_once)
    join = runtime._consumer.start

    async def nothing_yet(on_assigned: object, on_revoked: object) -> None:
        await asyncio.sleep(1.5)  # a dead member has to be missed first; meanwhile there is a review
        await join(on_assigned, on_revoked)  # type: ignore[arg-type]

    runtime._consumer.start = nothing_yet  # type: ignore[method-assign,assignment]
    put(log, "a")
    async with running(runtime):
        await until(lambda: total_committed(log) == 1)
    assert len(log.records(TOPICS.results)) == 1


async def test_calls_in_flight_are_adopted_when_their_partition_comes_back():
    log, desk = FakeLog(partitions=1), Desk()
    put(log, "a", "b")
    async with running(make(log, desk)) as runtime:
        await until(lambda: len(desk.started) == 2)
        await log.rebalance(GROUP)
        await log.rebalance(GROUP)
        put(log, "c")
        await until(lambda: len(desk.started) == 3)
        desk.finish("a", "b", "c")
        await until(lambda: total_committed(log) == 3)
        assert runtime.stats.completed == 3
    assert sorted(desk.started) == ["a", "b", "c"]


async def test_stopping_finishes_what_runs_and_takes_nothing_more():
    log, desk = FakeLog(partitions=1), Desk()
    put(log, "a", "b", "c", "d")
    runtime = make(log, desk, concurrency=2)
    run = asyncio.create_task(runtime.run())
    await until(lambda: len(desk.started) == 2)
    stop = asyncio.create_task(runtime.stop(5))
    await asyncio.sleep(0.05)
    assert not runtime.joined
    desk.finish("a", "b")
    await stop
    await run
    assert sorted(desk.started) == ["a", "b"]
    assert log.committed(GROUP, TOPIC) == {0: 2}
    assert log.group(GROUP).members == []


async def test_what_does_not_end_within_the_grace_is_left_to_the_next_member():
    log, desk = FakeLog(partitions=1), Desk()
    put(log, "a", "b")
    runtime = make(log, desk)
    run = asyncio.create_task(runtime.run())
    await until(lambda: len(desk.started) == 2)
    desk.finish("b")
    await runtime.stop(0.2)
    await run
    assert [r.request_id for r in results(log)] == ["b"]
    assert log.committed(GROUP, TOPIC).get(0, 0) == 0
    assert dead(log) == []


async def test_a_handover_in_good_order_counts_no_crash():
    log = FakeLog(partitions=1)
    put(log, "long")
    for life in range(5):
        desk = Desk()
        runtime = make(log, desk, worker=f"w{life}")
        run = asyncio.create_task(runtime.run())
        await until(lambda: desk.started == ["long"])  # noqa: B023
        await asyncio.sleep(0.1)
        await runtime.stop(0.05)
        await run
    async with running(make(log, at_once)):
        await until(lambda: total_committed(log) == 1)
    assert dead(log) == []
    assert len(results(log)) == 1


async def test_a_call_that_ends_while_its_partition_comes_back_to_a_stopping_member_is_not_repeated():
    log, desk, later = FakeLog(partitions=1), Desk(), Desk()
    put(log, "a", "b")
    runtime = make(log, desk)
    run = asyncio.create_task(runtime.run())
    await until(lambda: len(desk.started) == 2)
    stop = asyncio.create_task(runtime.stop(5))
    await asyncio.sleep(0.05)
    await log.rebalance(GROUP)
    await asyncio.sleep(0.05)
    desk.finish("a", "b")
    await stop
    await run
    async with running(make(log, later, worker="w2")):
        await until(lambda: log.committed(GROUP, TOPIC) == {0: 2})
    assert later.started == []
