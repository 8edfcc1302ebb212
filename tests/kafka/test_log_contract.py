"""One suite for the port `hocket.kafka.log`, run against the in-memory log and against aiokafka on a real broker."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

import pytest

from hocket.kafka.client import partition_of
from hocket.kafka.log import CommitRefused, Consumer, Producer, Raw, TooLarge
from hocket.testing.log import FakeLog

PARTITIONS = 4


class FakeWorld:
    def __init__(self) -> None:
        self.topic = "tasks"
        self.log = FakeLog(partitions=PARTITIONS, max_bytes=2 * 1024 * 1024, now_ms=lambda: 1)
        self.producer: Producer = self.log.producer()

    def consumer(self, group: str) -> Consumer:
        return self.log.consumer(self.topic, group)

    async def transact(self, key: bytes, value: bytes) -> None:
        raw = self.log.append(self.topic, key, value)
        self.log.marker(self.topic, raw.partition)


class RealWorld:
    def __init__(self, settings, producer: Producer) -> None:
        self.settings = settings
        self.topic = f"contract-{uuid.uuid4().hex[:8]}"
        self.producer = producer

    async def create(self) -> None:
        from aiokafka.admin import NewTopic

        from hocket.kafka.admin import admin

        async with admin(self.settings) as client:
            await client.create_topics([NewTopic(self.topic, PARTITIONS, 1)])

    def consumer(self, group: str) -> Consumer:
        from hocket.kafka.aio import KafkaConsumer

        return KafkaConsumer(self.settings, topic=self.topic, group=f"{self.topic}-{group}", client_id="contract")

    async def transact(self, key: bytes, value: bytes) -> None:
        from aiokafka import AIOKafkaProducer

        client = AIOKafkaProducer(bootstrap_servers=self.settings.bootstrap, transactional_id=f"{self.topic}-tx")
        await client.start()
        try:
            async with client.transaction():
                await client.send_and_wait(self.topic, value, key=key)
        finally:
            await client.stop()


@pytest.fixture(params=["fake", pytest.param("aiokafka", marks=pytest.mark.kafka)])
async def world(request) -> AsyncIterator[FakeWorld | RealWorld]:
    if request.param == "fake":
        yield FakeWorld()
        return
    from hocket.kafka.aio import open_producer

    broker = request.getfixturevalue("broker")
    settings = request.getfixturevalue("settings").model_copy(update={"bootstrap": broker.bootstrap})
    async with open_producer(settings, "contract") as producer:
        real = RealWorld(settings, producer)
        await real.create()
        yield real


class Member:
    """A consumer and what it was told."""

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self.held: set[int] = set()
        self.told: list[str] = []
        self.got: list[Raw] = []
        self.commit_on_revoke: dict[int, tuple[int, str]] = {}

    def assigned(self, partitions: Collection[int]) -> None:
        self.told.append("assigned")
        self.held = set(partitions)

    async def revoked(self, partitions: Collection[int]) -> None:
        if partitions:  # aiokafka tells of nothing, too, before the first assignment
            self.told.append("revoked")
        if self.commit_on_revoke:
            await self.consumer.commit(self.commit_on_revoke)
        self.held -= set(partitions)

    async def poll(self, room: int = 100) -> None:
        for raw in await self.consumer.poll(room, 50):
            assert raw.partition in self.held, "a record came before its partition"
            self.got.append(raw)

    async def until(self, met: Callable[[], bool], *others: Member) -> None:
        async with asyncio.timeout(20):
            while not met():
                await asyncio.gather(self.poll(), *(o.poll() for o in others))

    def values(self) -> list[bytes]:
        return sorted(r.value for r in self.got if r.value is not None)


@asynccontextmanager
async def joined(consumer: Consumer) -> AsyncIterator[Member]:
    member = Member(consumer)
    await consumer.start(member.assigned, member.revoked)
    try:
        yield member
    finally:
        await consumer.close()


async def test_records_arrive_in_order_with_everything_on_them(world):
    for i in range(6):
        await world.producer.send(world.topic, b"k", b"v%d" % i, [("h", b"1")])
    async with joined(world.consumer("g")) as member:
        await member.until(lambda: len(member.got) == 6)
        assert member.consumer.joined
    assert [r.value for r in member.got] == [b"v%d" % i for i in range(6)]
    assert [r.offset for r in member.got] == list(range(6))
    first = member.got[0]
    assert (first.topic, first.key, first.headers) == (world.topic, b"k", (("h", b"1"),))
    assert first.timestamp > 0


async def test_a_key_goes_where_java_puts_it(world):
    keys = [f"request-{i}".encode() for i in range(30)]
    for key in keys:
        await world.producer.send(world.topic, key, b"v", [])
    async with joined(world.consumer("g")) as member:
        await member.until(lambda: len(member.got) == 30)
    assert {r.key: r.partition for r in member.got} == {k: partition_of(k, PARTITIONS) for k in keys}
    assert partition_of(b"21", 1000) == -973932308 % 2**31 % 1000  # Java's own test vector of murmur2


async def test_polls_return_at_most_as_many_as_asked_for_and_nothing_twice(world):
    for i in range(20):
        await world.producer.send(world.topic, b"%d" % i, b"%02d" % i, [])
    async with joined(world.consumer("g")) as member:
        async with asyncio.timeout(20):
            while len(member.got) < 20:
                before = len(member.got)
                await member.poll(3)
                assert len(member.got) - before <= 3
        await member.poll()
    assert member.values() == [b"%02d" % i for i in range(20)]


async def test_a_group_goes_on_at_what_was_committed(world):
    for i in range(4):
        await world.producer.send(world.topic, b"k", b"%d" % i, [])
    number = partition_of(b"k", PARTITIONS)
    async with joined(world.consumer("g")) as first:
        await first.until(lambda: len(first.got) == 4)
        await first.consumer.commit({number: (2, "")})
    async with joined(world.consumer("g")) as second:
        await second.until(lambda: len(second.got) == 2)
    async with joined(world.consumer("other")) as third:
        await third.until(lambda: len(third.got) == 4)
    assert second.values() == [b"2", b"3"]


async def test_what_is_committed_is_read_back_with_its_metadata(world):
    async with joined(world.consumer("g")) as first:
        await first.until(lambda: len(first.held) == 4)
        assert await first.consumer.committed([0, 1]) == {0: None, 1: None}
        await first.consumer.commit({0: (0, "x" * 3_500), 2: (0, "")})
    async with joined(world.consumer("g")) as second:
        await second.until(lambda: len(second.held) == 4)
        assert await second.consumer.committed(range(3)) == {0: (0, "x" * 3_500), 1: None, 2: (0, "")}


async def test_members_share_the_partitions_and_one_inherits_them_all(world):
    async with joined(world.consumer("g")) as first:
        await first.until(lambda: len(first.held) == 4)
        async with joined(world.consumer("g")) as second:
            await first.until(lambda: len(first.held) == len(second.held) == 2, second)
            assert first.held | second.held == set(range(4))
            for i in range(8):
                await world.producer.send(world.topic, b"%d" % i, b"%d" % i, [])
            await first.until(lambda: len(first.got) + len(second.got) == 8, second)
        await first.until(lambda: len(first.held) == 4)
        assert first.told[:3] == ["assigned", "revoked", "assigned"]
        assert first.told[-2:] == ["revoked", "assigned"]


async def test_what_is_committed_while_being_revoked_counts(world):
    await world.producer.send(world.topic, b"k", b"v", [])
    async with joined(world.consumer("g")) as first:
        await first.until(lambda: len(first.got) == 1)
        first.commit_on_revoke = {partition_of(b"k", PARTITIONS): (1, "")}
        async with joined(world.consumer("g")) as second:
            await first.until(lambda: len(second.held) == 2, second)
            first.commit_on_revoke = {}
            await first.until(lambda: len(first.held) == 2, second)
            for _ in range(5):
                await asyncio.gather(first.poll(), second.poll())
            assert len(first.got) + len(second.got) == 1


async def test_a_commit_for_a_partition_of_another_member_is_refused(world):
    async with joined(world.consumer("g")) as first, joined(world.consumer("g")) as second:
        await first.until(lambda: len(first.held) == len(second.held) == 2, second)
        with pytest.raises(CommitRefused):
            await first.consumer.commit(dict.fromkeys(second.held, (0, "")))


async def test_a_paused_partition_is_silent_until_it_is_resumed(world):
    async with joined(world.consumer("g")) as member:
        await member.until(lambda: len(member.held) == 4)
        member.consumer.pause(range(4))
        await world.producer.send(world.topic, b"k", b"v", [])
        for _ in range(6):
            await member.poll()
        assert member.got == []
        member.consumer.resume(range(4))
        await member.until(lambda: len(member.got) == 1)
        member.consumer.pause([99])  # not held: ignored
        assert member.values() == [b"v"]


async def test_the_position_steps_over_the_end_of_a_transaction(world):
    await world.transact(b"k", b"v")
    number = partition_of(b"k", PARTITIONS)
    async with joined(world.consumer("g")) as member:
        await member.until(lambda: len(member.got) == 1)
        async with asyncio.timeout(60):
            while await member.consumer.position(number) != 2:
                await member.poll()
        assert await member.consumer.position(99) is None
    assert member.got[0].offset == 0


async def test_what_is_too_large_is_refused_and_the_producer_goes_on(world):
    with pytest.raises(TooLarge):
        await world.producer.send(world.topic, b"k", b"x" * (2 * 1024 * 1024 + 1), [])
    await world.producer.send(world.topic, b"k", b"fits", [])
    await world.producer.post(world.topic, b"k", b"posted", [])
    async with joined(world.consumer("g")) as member:
        await member.until(lambda: len(member.got) == 2)
    assert [r.value for r in member.got] == [b"fits", b"posted"]


async def test_a_consumer_that_was_never_started_can_be_closed(world):
    consumer = world.consumer("g")
    await consumer.close()
    assert not consumer.joined
