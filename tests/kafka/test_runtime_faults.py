"""The runtime on a real broker, with real crashes of a worker and of the broker."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hocket.contracts.codec import Codec
from hocket.contracts.records import Heartbeat, Result, Task
from hocket.contracts.topics import Topics
from hocket.kafka.admin import admin
from hocket.kafka.aio import KafkaConsumer, open_producer
from hocket.kafka.log import TooLarge
from hocket.kafka.runtime import Runtime
from hocket.local.broker import EmbeddedBroker
from hocket.runtime.settings import Settings
from tests.support.kafka import Service, read, running
from tests.support.slow_worker import SPECIALTY, slow_runtime

pytestmark = pytest.mark.kafka
CODEC = Codec()


async def make_topics(settings: Settings, *names: str, partitions: int = 4) -> None:
    from aiokafka.admin import NewTopic

    async with admin(settings) as client:
        await client.create_topics([NewTopic(n, partitions, 1) for n in names])


async def basic_topics(settings: Settings) -> Topics:
    topics = Topics(settings.prefix)
    names = (topics.results, topics.progress, topics.dead_letters, topics.heartbeats, topics.tasks(SPECIALTY))
    await make_topics(settings, *names, topics.handovers, topics.control)
    return topics


async def put(settings: Settings, topic: str, numbers: range, *, transactional: bool = False) -> None:
    from aiokafka import AIOKafkaProducer

    transactional_id = f"{topic}-{numbers.start}" if transactional else None
    client = AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap, enable_idempotence=True, transactional_id=transactional_id
    )
    await client.start()
    try:
        if transactional:
            await client.begin_transaction()
        for i in numbers:
            task = Task(
                request_id=f"r{i}", task_id="a", specialty=SPECIALTY, instruction="x", dispatched_at=int(time.time())
            )
            await client.send(topic, CODEC.encode(task, topic), key=task.request_id.encode())
        if transactional:
            await client.commit_transaction()
        await client.flush()
    finally:
        await client.stop()


async def lag(settings: Settings, topic: str) -> int:
    """What is between the group's committed offsets and the ends, as operators see it; -1 before the first commit."""
    from aiokafka import AIOKafkaConsumer, TopicPartition

    client = AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap, group_id=settings.group(f"worker-{SPECIALTY}"), enable_auto_commit=False
    )
    await client.start()
    try:
        places = [TopicPartition(topic, p) for p in range(settings.partitions)]
        client.assign(places)
        ends = await client.end_offsets(places)
        committed = [await client.committed(p) for p in places]
        return -1 if None in committed else sum(ends[p] - c for p, c in zip(places, committed, strict=True))
    finally:
        await client.stop()


async def until(met: Callable[[], bool], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not met():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def started(runtime: Runtime) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(runtime.run())
    try:
        yield task
        await runtime.stop(5)
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_kill_9_of_a_worker_loses_nothing(broker: EmbeddedBroker, settings: Settings, tmp_path: Path):
    topics = await basic_topics(settings)
    await put(settings, topics.tasks(SPECIALTY), range(600))
    workers = [
        Service(
            "tests.support.slow_worker",
            settings,
            tmp_path / f"{name}.log",
            HOCKET_INSTANCE=name,
            HOCKET_CONCURRENCY="8",
            SLOW_SECONDS="0.05,0.3",
        )
        for name in ("one", "two")
    ]
    with running(*workers):
        seen = await read(settings, topics.results, Result, until=lambda r: len(r) > 60)
        workers[0].kill()
        killed = time.monotonic()
        seen = await read(settings, topics.results, Result, until=lambda r: len(r) > 200)
        workers[0].start()
        everything = {f"r{i}" for i in range(600)}
        done = lambda r: {x.request_id for x in r} == everything  # noqa: E731
        seen = await read(settings, topics.results, Result, until=done, timeout=60)
        print(f"all results {time.monotonic() - killed:.1f} s after the kill")
        async with asyncio.timeout(60):
            while await lag(settings, topics.tasks(SPECIALTY)) != 0:
                await asyncio.sleep(0.1)
        beats = await read(settings, topics.heartbeats, Heartbeat, until=lambda b: len(b) > 3)
    twice = [k for k, n in Counter(r.request_id for r in seen).items() if n > 1]
    print(f"{len(seen)} results for {len(everything)} tasks, {len(twice)} of them twice")
    assert {r.request_id for r in seen} == everything
    assert {b.worker for b in beats} >= {"one/writing"}
    lost = [r.lost_runs for r in seen if r.lost_runs]
    assert lost == [1] * len(lost)
    assert 0 < len(lost) <= 8, "those that were in flight in the killed worker, and no other"
    # Repeated at most: what was done above the lowest unfinished call of each partition at the kill and two rebalances.
    assert len(twice) < 100, "\n".join(w.tail() for w in workers)


@pytest.mark.slow
async def test_a_worker_that_was_frozen_comes_back_and_harms_nothing(
    broker: EmbeddedBroker, settings: Settings, tmp_path: Path
):
    topics = await basic_topics(settings)
    await put(settings, topics.tasks(SPECIALTY), range(300))
    one, two = (
        Service(
            "tests.support.slow_worker",
            settings,
            tmp_path / f"{name}.log",
            HOCKET_INSTANCE=name,
            HOCKET_CONCURRENCY="4",
            SLOW_SECONDS="0.1,0.3",
        )
        for name in ("one", "two")
    )
    with running(one, two):
        await read(settings, topics.results, Result, until=lambda r: len({x.worker for x in r}) == 2)
        one.signal(signal.SIGSTOP)
        await asyncio.sleep(settings.session_timeout_ms / 1000 + 2)
        one.signal(signal.SIGCONT)
        await put(settings, topics.tasks(SPECIALTY), range(300, 400))
        everything = {f"r{i}" for i in range(400)}
        seen = await read(
            settings, topics.results, Result, until=lambda r: {x.request_id for x in r} == everything, timeout=60
        )
        async with asyncio.timeout(15):
            while await lag(settings, topics.tasks(SPECIALTY)) != 0:
                await asyncio.sleep(0.1)
        assert (one.stop(), two.stop()) == (0, 0), one.tail()
    print(f"{len(seen)} results for {len(everything)} tasks")
    assert {r.request_id for r in seen} == everything


async def test_the_broker_may_crash_and_come_back(settings: Settings):
    with EmbeddedBroker() as own:
        mine = settings.model_copy(update={"bootstrap": own.bootstrap, "concurrency": 16})
        topics = await basic_topics(mine)
        await put(mine, topics.tasks(SPECIALTY), range(1000))
        async with open_producer(mine, "crash-test") as producer:
            runtime = slow_runtime(mine, producer, seconds=(0.02, 0.1))
            async with started(runtime) as run:
                for crash in range(2):
                    before = runtime.stats.completed
                    await until(lambda: runtime.stats.completed > before + 100)  # noqa: B023
                    own.kill()
                    await asyncio.sleep(2)
                    await asyncio.to_thread(own.start)
                    back = time.monotonic()
                    before = runtime.stats.completed
                    await until(lambda: runtime.stats.completed > before + 32)  # noqa: B023 - more than were in flight
                    print(f"crash {crash}: works again {time.monotonic() - back:.1f} s after the broker is back")
                    assert not run.done()
                await until(lambda: runtime.stats.completed >= 1000, 60)
                async with asyncio.timeout(20):
                    while await lag(mine, topics.tasks(SPECIALTY)) != 0:
                        await asyncio.sleep(0.1)
            print(runtime.stats)
        everything = {f"r{i}" for i in range(1000)}
        done = lambda r: {x.request_id for x in r} == everything  # noqa: E731
        seen = await read(mine, topics.results, Result, until=done)
    assert {r.request_id for r in seen} == everything


@pytest.mark.slow
async def test_a_call_longer_than_the_session_timeout_causes_no_rebalance(broker: EmbeddedBroker, settings: Settings):
    topics = await basic_topics(settings)
    await put(settings, topics.tasks(SPECIALTY), range(4))
    async with open_producer(settings, "slow-test") as producer:
        runtime = slow_runtime(settings, producer, seconds=(8.0, 8.0))
        rebalances = []
        told = runtime._on_assigned
        runtime._on_assigned = lambda p: (rebalances.append(p), told(p))[1]  # type: ignore[method-assign,func-returns-value]
        async with started(runtime):
            await until(lambda: runtime.stats.completed == 4)
            assert settings.session_timeout_ms < 8000
    assert len(rebalances) == 1
    assert runtime.stats.commit_failures == 0


async def test_lag_reads_0_when_idle_though_transactions_leave_markers(broker: EmbeddedBroker, settings: Settings):
    topics = await basic_topics(settings)
    topic = topics.tasks(SPECIALTY)
    await put(settings, topic, range(20), transactional=True)
    async with open_producer(settings, "lag-test") as producer:
        runtime = slow_runtime(settings, producer)
        async with started(runtime):
            await until(lambda: runtime.stats.completed == 20)
            async with asyncio.timeout(60):
                while await lag(settings, topic) != 0:
                    await asyncio.sleep(0.1)
        assert await lag(settings, topic) == 0


async def test_groups_in_one_process_do_not_mix_up_their_assignments(broker: EmbeddedBroker, settings: Settings):
    names = [f"{settings.prefix}a", f"{settings.prefix}b"]
    await make_topics(settings, *names)
    held: dict[str, set[int]] = {}

    async def nothing(_: object) -> None: ...

    def member(topic: str, name: str) -> KafkaConsumer:
        return KafkaConsumer(settings, topic=topic, group=topic, client_id=name)

    async def join(consumer: KafkaConsumer, name: str) -> None:
        await consumer.start(lambda p: held.update({name: set(p)}), nothing)  # type: ignore[arg-type]

    async def settle(members: list[KafkaConsumer], met: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not met():
                await asyncio.gather(*(m.poll(1, 50) for m in members))

    first = [member(names[0], "a1"), member(names[1], "b1")]
    extra = member(names[0], "a2")
    try:
        for consumer, name in zip(first, ("a1", "b1"), strict=True):
            await join(consumer, name)
        await settle(first, lambda: held.get("a1") == held.get("b1") == {0, 1, 2, 3})
        mine = held["a1"]
        await join(extra, "a2")
        await settle([*first, extra], lambda: len(held["a1"]) == 2 and len(held.get("a2", ())) == 2)
        assert held["a1"] < mine
        assert held["a1"] | held["a2"] == {0, 1, 2, 3}
        assert held["b1"] == {0, 1, 2, 3}
    finally:
        for consumer in (*first, extra):
            await consumer.close()


async def test_what_the_broker_finds_too_large_breaks_only_itself(broker: EmbeddedBroker, settings: Settings):
    topic = f"{settings.prefix}narrow"
    await make_topics(settings, topic)
    async with open_producer(settings, "large-test") as producer:
        await producer.send(topic, b"k", b"before", [])
        with pytest.raises(TooLarge, match=r"max\.message\.bytes"):
            await producer.send(topic, b"k", b"x" * 1_500_000, [])
        await producer.send(topic, b"k", b"after", [])
        consumer = KafkaConsumer(settings, topic=topic, group=topic, client_id="r")
        got: list[bytes | None] = []

        async def nothing(_: object) -> None: ...

        try:
            await consumer.start(lambda _: None, nothing)  # type: ignore[arg-type]
            async with asyncio.timeout(20):
                while len(got) < 2:
                    got += [r.value for r in await consumer.poll(10, 100)]
        finally:
            await consumer.close()
    assert got == [b"before", b"after"]
