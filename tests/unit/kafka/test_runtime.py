"""The runtime on the in-memory log: what went wrong, and what is in the topics afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

import pytest

from hocket.contracts import headers
from hocket.contracts.codec import Codec, schema
from hocket.contracts.records import DeadLetter, Error, Handover, Progress, Result, Task
from hocket.contracts.topics import Topics
from hocket.core import traces
from hocket.core.donemap import decode
from hocket.kafka.client import partition_of
from hocket.kafka.log import CommitRefused, TooLarge
from hocket.kafka.recall import Recall
from hocket.kafka.runtime import Outgoing, Runtime, StreamPoisonedError
from hocket.runtime.settings import Settings
from hocket.testing.log import FakeLog
from tests.support.tracing import traced

TOPICS = Topics("t-")
TOPIC = TOPICS.tasks("writing")
GROUP = "t-hocket-worker-writing"
CODEC = Codec()
NOW = 1_700_000_000_000


def task(name: str) -> Task:
    return Task(
        request_id=name, task_id="a", specialty="writing", instruction="write", deadline=None, dispatched_at=NOW
    )


def result(t: Task, *, text: str = "", error: Error | None = None) -> Outgoing:
    record = Result(
        request_id=t.request_id,
        task_id=t.task_id,
        specialty=t.specialty,
        status="failed" if error else "completed",
        error=error,
        worker="w",
        why=text or None,
        started_at=NOW,
        ended_at=NOW,
    )
    return Outgoing(topic=TOPICS.results, key=t.request_id, record=record, event_id=f"{t.request_id}/a/result")


def crashed(t: Task, delivery: object, error: Exception) -> list[Outgoing]:
    return [result(t, error=Error(kind=getattr(error, "kind", "internal"), message=str(error)))]


class Desk:
    """A handler that ends a task only when it is told to."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}

    async def __call__(self, t: Task, delivery: object) -> list[Outgoing]:
        self.started.append(t.request_id)
        await self.gates.setdefault(t.request_id, asyncio.Event()).wait()
        return [result(t)]

    def finish(self, *names: str) -> None:
        for name in names:
            self.gates.setdefault(name, asyncio.Event()).set()


async def at_once(t: Task, delivery: object) -> list[Outgoing]:
    return [result(t)]


def make(
    log: FakeLog, handler: object, *, worker: str = "w", concurrency: int = 8, codec: Codec = CODEC, **more: object
) -> Runtime:
    runtime = Runtime(
        settings=Settings(grace_seconds=2.0, window=concurrency),
        topics=TOPICS,
        codec=codec,
        topic=TOPIC,
        group=GROUP,
        service="worker",
        worker=worker,
        handler=handler,  # type: ignore[arg-type]
        on_crash=crashed,
        producer=log.producer(),
        consumer=log.consumer(TOPIC, GROUP),
        concurrency=concurrency,
        clock=lambda: NOW,
        **more,  # type: ignore[arg-type]
    )
    log.listen(TOPICS.handovers, lambda value: runtime.hear(codec.decode(value, Handover)))
    return runtime


@asynccontextmanager
async def running(runtime: Runtime) -> AsyncIterator[Runtime]:
    task = asyncio.create_task(runtime.run())
    try:
        yield runtime
        await runtime.stop(1)
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(met: Callable[[], bool], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not met():
            await asyncio.sleep(0.005)


def put(log: FakeLog, *names: str) -> None:
    for name in names:
        log.append(TOPIC, name.encode(), CODEC.encode(task(name), TOPIC))


def results(log: FakeLog) -> list[Result]:
    return [CODEC.decode(r.value, Result) for r in log.records(TOPICS.results)]


def dead(log: FakeLog) -> list[DeadLetter]:
    return [CODEC.decode(r.value, DeadLetter) for r in log.records(TOPICS.dead_letters)]


def total_committed(log: FakeLog) -> int:
    return sum(log.committed(GROUP, TOPIC).values())


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


async def test_an_idle_consumer_steps_over_transaction_markers():
    log = FakeLog(partitions=1)
    put(log, "a")
    log.marker(TOPIC, 0)
    async with running(make(log, at_once)):
        await until(lambda: log.committed(GROUP, TOPIC).get(0) == 2)
    assert len(results(log)) == 1


class Told:
    """The hooks, and what they were asked."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def on_end(self, t: Task, delivery: object) -> list[Outgoing]:
        self.ended.append(t.request_id)
        return [result(t, error=Error(kind="cancelled", message="cancelled"))]


async def no_word(running: object) -> None: ...


async def never(offsets: object) -> None:
    await asyncio.sleep(60)


async def crash(log: FakeLog, runtime: Runtime, run: asyncio.Task[None]) -> None:
    """As kill -9: the member is gone without a word, and nothing of it is committed any more."""
    runtime._tenure.words.tell = no_word  # type: ignore[method-assign]
    await runtime._consumer.kill()  # type: ignore[attr-defined]
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)


def recalling(log: FakeLog, asked: list[tuple[int, int]]) -> Recall:
    async def written(first_ms: int, last_ms: int) -> dict[str, int]:
        asked.append((first_ms, last_ms))
        return {headers.get(r.headers, "ce_id") or "": r.timestamp for r in log.records(TOPICS.results)}

    return Recall(lambda t: f"{t.request_id}/a/result", written)


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


class Registry:
    """One in memory; contract as SchemaIds."""

    names = ("Task", "Result", "Handover", "DeadLetter")

    def id_of(self, _subject: str, avsc: dict[str, object]) -> int:
        return self.names.index(str(avsc["name"]))

    def schema_of(self, schema_id: int) -> dict[str, object]:
        return schema(self.names[schema_id])


async def test_in_a_registry_installation_the_first_records_are_looked_up_too():
    """They cannot be read at once, because the schema has yet to be fetched: they ran without having been looked up."""
    log, desk, second, codec = FakeLog(partitions=1, now_ms=lambda: NOW), Desk(), Desk(), Codec(Registry())
    for name in ("a", "b", "c"):
        log.append(TOPIC, name.encode(), codec.encode(task(name), TOPIC))
    first = make(log, desk, codec=codec)
    run = asyncio.create_task(first.run())
    await until(lambda: len(desk.started) == 3 and bool(log.metadata(GROUP, TOPIC).get(0)))
    first._consumer.commit = never  # type: ignore[method-assign]
    desk.finish("a", "c")
    await until(lambda: len(log.records(TOPICS.results)) == 2)
    await crash(log, first, run)
    log.append(TOPIC, b"bad", b"\0\0\0\0\0 no task")
    later = make(log, second, worker="w2", codec=Codec(Registry()), recall=recalling(log, []))
    async with running(later):
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
    assert sorted(r.request_id for r in results(log)) == ["a", "b", "c", "d"]


async def test_a_task_that_kills_its_worker_again_and_again_is_dead_lettered_and_answered():
    log = FakeLog(partitions=1)
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


@pytest.mark.parametrize("text", ["", "somebody else's note", "h" * 4_000])
async def test_foreign_metadata_is_ignored(text):
    log = FakeLog(partitions=1)
    put(log, "a", "b")
    log.group(GROUP).committed[(TOPIC, 0)] = (1, text)
    async with running(make(log, at_once)):
        await until(lambda: log.committed(GROUP, TOPIC).get(0) == 2)
    assert [r.request_id for r in results(log)] == ["b"]


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
