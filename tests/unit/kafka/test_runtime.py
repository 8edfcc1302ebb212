"""The runtime on the in-memory log: what becomes of tasks, and what is in the topics and committed afterwards."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

import pytest

from hocket.contracts import headers
from hocket.contracts.records import Progress, Task
from hocket.core import traces
from hocket.kafka.client import partition_of
from hocket.kafka.runtime import Outgoing
from hocket.testing.log import FakeLog
from tests.support.runtimes import (
    CODEC,
    GROUP,
    NOW,
    TOPIC,
    TOPICS,
    Desk,
    Told,
    at_once,
    dead,
    make,
    put,
    result,
    results,
    running,
    task,
    total_committed,
    until,
)
from tests.support.tracing import traced


async def test_a_task_becomes_a_result_with_its_trace_and_is_committed():
    log = FakeLog()
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    log.append(TOPIC, b"r1", CODEC.encode(task("r1"), TOPIC), [("traceparent", trace.encode())])
    async with running(make(log, at_once)) as runtime:
        await until(lambda: total_committed(log) == 1)
        assert runtime.joined
        assert (runtime.stats.completed, runtime.stats.in_flight) == (1, 0)
    [raw] = log.records(TOPICS.results)
    assert (raw.key, headers.get(raw.headers, "traceparent")) == (b"r1", trace)
    assert headers.get(raw.headers, "ce_source") == "/hocket/worker/w"
    assert headers.get(raw.headers, "ce_type") == "hocket.Result"
    assert raw.partition == partition_of(b"r1", 4)


async def test_a_tasks_spans_hang_below_its_request_and_its_result_carries_the_span_that_sent_it():
    log = FakeLog()
    with traced() as kept:
        put(log, "r1")
        async with running(make(log, at_once)):
            await until(lambda: total_committed(log) == 1)
    [done] = log.records(TOPICS.results)
    process, sent = kept.spans
    assert (process.name, process.parent) == (f"process {TOPIC}", traces.request_span("r1"))
    assert process.links == (traces.read(headers.traceparent((), "r1")),)
    assert process.attributes["messaging.consumer.group.name"] == GROUP
    assert headers.get(done.headers, "traceparent") == sent.context.header
    assert (sent.name, sent.parent) == (f"send {TOPICS.results}", process.context.span_id)
    assert sent.context.span_id == traces.outcome_span(results(log)[0])


async def test_a_crashed_tasks_exception_stands_in_its_span():
    log = FakeLog()

    async def breaks(t: Task, delivery: object) -> list[Outgoing]:
        raise ValueError("no")

    with traced() as kept:
        put(log, "r1")
        async with running(make(log, breaks)):
            await until(lambda: total_committed(log) == 1)
    process = kept.named(f"process {TOPIC}")
    assert [e.name for e in process.events] == ["exception"]
    assert process.attributes["error.type"] == "ValueError"


async def test_a_tasks_line_ties_what_was_read_to_what_was_written_and_tells_no_text(
    caplog: pytest.LogCaptureFixture,
):
    log = FakeLog()
    put(log, "r1")
    with caplog.at_level("INFO", "hocket.kafka.desk"):
        async with running(make(log, at_once)):
            await until(lambda: total_committed(log) == 1)
    [line] = [r for r in caplog.records if r.getMessage() == "task completed"]
    [done] = log.records(TOPICS.results)
    assert vars(line)["written"] == [f"{TOPICS.results}/{done.partition}/{done.offset}"]
    assert vars(line)["written_ids"] == ["r1/a/result"]
    assert "instruction" not in vars(line)


async def test_a_handler_may_remember_something_of_a_delivery_for_as_long_as_it_lives():
    """The workers keep a task's purse so."""
    log, kept = FakeLog(), WeakKeyDictionary[object, str]()

    async def remember(t: Task, delivery: object) -> list[Outgoing]:
        kept[delivery] = t.request_id
        return [result(t)]

    put(log, "r1", "r2")
    async with running(make(log, remember)):
        await until(lambda: total_committed(log) == 2)
    assert dead(log) == []


async def test_an_idle_member_that_never_had_anything_to_commit_does_not_spin():
    """Its last word from the group grows old, and there is nothing whose commit would bring a new one."""
    log = FakeLog()
    async with running(make(log, at_once)) as runtime:
        await until(lambda: runtime.joined)
        runtime._tenure.ledger.confirmed = 0.0
        runtime._tenure.dirty.set()
        await asyncio.sleep(0.05)  # for ever, when nothing yields to the event loop
        assert runtime.joined
        put(log, "r1")
        await until(lambda: total_committed(log) == 1)


async def test_out_of_order_ends_commit_only_up_to_the_lowest_unfinished():
    log, desk = FakeLog(partitions=1), Desk()
    put(log, "a", "b", "c")
    async with running(make(log, desk)):
        await until(lambda: len(desk.started) == 3)
        desk.finish("c", "b")
        await until(lambda: len(results(log)) == 2)
        await asyncio.sleep(0.15)
        assert log.committed(GROUP, TOPIC).get(0, 0) == 0
        desk.finish("a")
        await until(lambda: log.committed(GROUP, TOPIC).get(0) == 3)
    assert [r.request_id for r in results(log)] == ["c", "b", "a"]


async def test_nothing_is_committed_before_the_result_is_acknowledged():
    log = FakeLog(partitions=1)
    put(log, "a")
    async with running(make(log, at_once)):
        log.down = True
        await asyncio.sleep(0.3)
        assert log.committed(GROUP, TOPIC).get(0, 0) == 0
        log.down = False
        await until(lambda: log.committed(GROUP, TOPIC).get(0) == 1)
    assert len(results(log)) == 1


async def test_progress_is_sent_without_waiting_and_dropped_when_full():
    async def chatty(t: Task, delivery: object) -> list[Outgoing]:
        for i in range(1500):
            record = Progress(request_id=t.request_id, kind="text", text=str(i), at=NOW)
            delivery.emit(Outgoing(topic=TOPICS.progress, key="a", record=record, event_id=str(i)))  # type: ignore[attr-defined]
        return [result(t)]

    log = FakeLog(partitions=1)
    put(log, "a")
    async with running(make(log, chatty)) as runtime:
        await until(lambda: total_committed(log) == 1)
        await until(lambda: len(log.records(TOPICS.progress)) == 1000)
        assert runtime.stats.progress_dropped == 500
    texts = [CODEC.decode(r.value, Progress).text for r in log.records(TOPICS.progress)]
    assert texts == [str(i) for i in range(1000)]


async def test_a_bounded_number_is_held_and_polling_goes_on_while_full():
    log, desk = FakeLog(), Desk()
    put(log, *(f"r{i}" for i in range(100)))
    async with running(make(log, desk, concurrency=4)) as runtime:
        await until(lambda: runtime.stats.queued == 4)
        before = runtime._consumer.polls  # type: ignore[attr-defined]
        await asyncio.sleep(2.3)
        assert (runtime.stats.in_flight, runtime.stats.queued) == (4, 4)
        assert runtime._consumer.polls >= before + 1  # type: ignore[attr-defined]
        desk.finish(*(f"r{i}" for i in range(100)))
        await until(lambda: total_committed(log) == 100)
    assert len(results(log)) == 100


async def test_an_idle_consumer_steps_over_transaction_markers():
    log = FakeLog(partitions=1)
    put(log, "a")
    log.marker(TOPIC, 0)
    async with running(make(log, at_once)):
        await until(lambda: log.committed(GROUP, TOPIC).get(0) == 2)
    assert len(results(log)) == 1


async def test_a_cancelled_request_ends_where_it_runs_and_never_starts_where_it_waits():
    log, desk, told = FakeLog(partitions=1), Desk(), Told()
    put(log, "a", "b")
    async with running(make(log, desk, concurrency=1, on_cancel=told.on_end)) as runtime:
        await until(lambda: desk.started == ["a"] and runtime.stats.queued == 1)
        for name in ("a", "b", "later"):
            runtime.cancel(name)
        put(log, "later")
        await until(lambda: total_committed(log) == 3)
    assert desk.started == ["a"]
    assert sorted(told.ended) == ["a", "b", "later"]
    assert [r.error.kind for r in results(log) if r.error] == ["cancelled"] * 3
    assert dead(log) == []


async def test_what_is_past_its_deadline_while_it_waits_is_failed_before_its_turn():
    log, desk, told = FakeLog(partitions=1), Desk(), Told()
    put(log, "a")
    late = task("late").model_copy(update={"deadline": NOW - 1})
    log.append(TOPIC, b"late", CODEC.encode(late, TOPIC))
    async with running(make(log, desk, concurrency=1, on_late=told.on_end)):
        await until(lambda: told.ended == ["late"])
        assert desk.started == ["a"]
        desk.finish("a")
        await until(lambda: total_committed(log) == 2)
    assert len(results(log)) == 2


async def test_the_map_is_kept_within_its_bounds_by_taking_no_more():
    log, desk = FakeLog(partitions=1), Desk()
    names = [f"r{i}" for i in range(6_000)]
    put(log, *names)
    async with running(make(log, desk, concurrency=6_000)) as runtime:
        await until(lambda: len(desk.started) > 1_000)
        desk.finish(*[n for i, n in enumerate(names) if i * 7919 % 101 % 3 == 1])
        await until(lambda: runtime.stats.in_flight < len(desk.started))
        desk.finish(*names)
        await until(lambda: total_committed(log) == 6_000)
    assert len(results(log)) == 6_000
    assert max(len(text) for text in log.metadata(GROUP, TOPIC).values()) < 3_500
