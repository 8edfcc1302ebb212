"""An in-memory Kafka for tests, as far as `hocket.kafka.log` goes: topics, partitions, offsets, groups, rebalances.

It passes the same suite as the real thing (tests/kafka/test_log_contract.py). What it does not have: members that time
out (use `kill`), isolation of open transactions (`marker` is what they leave behind), brokers that go away (`down`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hocket.contracts.headers import Headers
from hocket.kafka.client import partition_of
from hocket.kafka.log import Assigned, CommitRefused, Raw, Revoked, TooLarge, Written

_MAX_METADATA = 4_096


@dataclass
class _Partition:
    records: list[Raw] = field(default_factory=list)
    end: int = 0


@dataclass
class _Group:
    members: list[FakeConsumer] = field(default_factory=list)
    committed: dict[tuple[str, int], tuple[int, str]] = field(default_factory=dict)
    commits: list[dict[int, int]] = field(default_factory=list)
    rebalancing: asyncio.Lock = field(default_factory=asyncio.Lock)


class FakeLog:
    """The broker. Not thread-safe; lives in one event loop."""

    def __init__(
        self, *, partitions: int = 4, max_bytes: int = 1_000_000, now_ms: Callable[[], int] = lambda: 0
    ) -> None:
        self._count = partitions
        self._max_bytes = max_bytes
        self._now_ms = now_ms
        self._topics: dict[str, list[_Partition]] = {}
        self._groups: dict[str, _Group] = {}
        self._news = asyncio.Event()
        self._listeners: list[tuple[str, Callable[[bytes | None], object]]] = []
        self.down = False
        """While true, sends wait, as they do when no broker answers."""

    def partition(self, topic: str, number: int) -> _Partition:
        """The partition, made with its topic when it is not there."""
        return self._topics.setdefault(topic, [_Partition() for _ in range(self._count)])[number]

    def group(self, name: str) -> _Group:
        """The group, made when it is not there."""
        return self._groups.setdefault(name, _Group())

    def records(self, topic: str) -> list[Raw]:
        """All records of a topic, by partition and offset."""
        return [r for n in range(self._count) for r in self.partition(topic, n).records]

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """The group's committed offsets by partition."""
        return {p: o for (t, p), (o, _) in self.group(group).committed.items() if t == topic}

    def metadata(self, group: str, topic: str) -> dict[int, str]:
        """What the group committed beside its offsets, by partition."""
        return {p: text for (t, p), (_, text) in self.group(group).committed.items() if t == topic}

    def append(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes | None]] = ()
    ) -> Raw:
        """Writes a record to the partition of its key, and returns it as readers will see it."""
        number = partition_of(key, self._count) if key is not None else 0
        partition = self.partition(topic, number)
        raw = Raw(
            topic=topic,
            partition=number,
            offset=partition.end,
            key=key,
            value=value,
            headers=tuple(headers),
            timestamp=self._now_ms(),
        )
        partition.records.append(raw)
        partition.end += 1
        for heard_topic, heard in self._listeners:
            if heard_topic == topic:
                heard(value)
        self.wake()
        return raw

    def listen(self, topic: str, heard: Callable[[bytes | None], object]) -> None:
        """Calls `heard` with each value of the topic, old and new, as who reads it without a group would."""
        for raw in self.records(topic):
            heard(raw.value)
        self._listeners.append((topic, heard))

    def marker(self, topic: str, partition: int) -> None:
        """Leaves what the end of a transaction leaves: an offset that no reader receives."""
        self.partition(topic, partition).end += 1
        self.wake()

    def wake(self) -> None:
        """Lets waiting polls look again."""
        self._news.set()
        self._news = asyncio.Event()

    async def news(self, timeout_s: float) -> None:
        """Returns at the next change, or after the timeout."""
        waiter = asyncio.ensure_future(self._news.wait())
        try:
            await asyncio.wait([waiter], timeout=timeout_s)
        finally:
            waiter.cancel()

    def consumer(self, topic: str, group: str) -> FakeConsumer:
        """A member of the group, not started yet."""
        return FakeConsumer(self, topic, group)

    def producer(self) -> FakeProducer:
        """A producer; any number of them may be used."""
        return FakeProducer(self, self._max_bytes)

    async def rebalance(self, group: str) -> None:
        """Revokes everything and assigns it anew, as the eager protocol does."""
        g = self.group(group)
        async with g.rebalancing:
            for member in g.members:
                await member.revoke()
            for place, member in enumerate(g.members):
                member.assign([n for n in range(self._count) if n % len(g.members) == place])
        self.wake()


class FakeConsumer:
    """A group member. `poll` follows the port's promise: nothing runs between taking records and returning."""

    def __init__(self, log: FakeLog, topic: str, group: str) -> None:
        self._log = log
        self._topic = topic
        self._group = group
        self._positions: dict[int, int] = {}
        self._paused: set[int] = set()
        self._on_assigned: Assigned = lambda _: None
        self._on_revoked: Revoked = _nothing
        self._member = False
        self.joined = False
        self.polls = 0

    async def start(self, on_assigned: Assigned, on_revoked: Revoked) -> None:
        """Joins; everybody else is rebalanced."""
        self._on_assigned, self._on_revoked = on_assigned, on_revoked
        self._log.group(self._group).members.append(self)
        self._member = True
        await self._log.rebalance(self._group)

    async def revoke(self) -> None:
        """The group takes everything back."""
        if self.joined:
            self.joined = False
            await self._on_revoked(list(self._positions))
        self._positions, self._paused = {}, set()

    def assign(self, partitions: Collection[int]) -> None:
        """The group hands out partitions; reading goes on at the committed offsets."""
        committed = self._log.committed(self._group, self._topic)
        self._positions = {p: committed.get(p, 0) for p in partitions}
        self.joined = True
        self._on_assigned(list(partitions))

    async def poll(self, max_records: int, timeout_ms: int) -> Sequence[Raw]:
        """Records as soon as there are any."""
        self.polls += 1
        if found := self._ready(max_records):
            return found
        await self._log.news(timeout_ms / 1000)
        return self._ready(max_records)

    def _ready(self, room: int) -> list[Raw]:
        found: list[Raw] = []
        for number in self._positions if self.joined else ():
            if number in self._paused or len(found) >= room:
                continue
            partition = self._log.partition(self._topic, number)
            fresh = [r for r in partition.records if r.offset >= self._positions[number]]
            taken = fresh[: room - len(found)]
            found += taken
            self._positions[number] = partition.end if len(taken) == len(fresh) else taken[-1].offset + 1
        return found

    def pause(self, partitions: Collection[int]) -> None:
        """Polls return nothing of these."""
        self._paused |= set(partitions) & set(self._positions)

    def resume(self, partitions: Collection[int]) -> None:
        """Ends a pause."""
        self._paused -= set(partitions)
        self._log.wake()

    async def position(self, partition: int) -> int | None:
        """The offset after the last one that polls have passed."""
        return self._positions.get(partition)

    async def commit(self, offsets: Mapping[int, tuple[int, str]]) -> None:
        """Commits next offsets with their metadata."""
        group = self._log.group(self._group)
        if not self._member or not set(offsets) <= set(self._positions):
            raise CommitRefused("the partitions belong to another member")
        if any(len(text.encode()) > _MAX_METADATA for _, text in offsets.values()):
            raise ValueError("a broker refuses metadata of this length")
        group.commits.append({p: o for p, (o, _) in offsets.items()})
        group.committed |= {(self._topic, p): o for p, o in offsets.items()}

    async def committed(self, partitions: Collection[int]) -> Mapping[int, tuple[int, str] | None]:
        """What the group has committed."""
        await asyncio.sleep(0)
        return {p: self._log.group(self._group).committed.get((self._topic, p)) for p in partitions}

    async def close(self) -> None:
        """Leaves the group."""
        if self._member:
            self.joined = False
            await self.kill()

    async def kill(self) -> None:
        """The member is gone without a word, as after a crash and the session time-out."""
        self._member = self.joined = False
        self._positions = {}
        self._log.group(self._group).members.remove(self)
        await self._log.rebalance(self._group)


class FakeProducer:
    """Writes into the log at once."""

    def __init__(self, log: FakeLog, max_bytes: int) -> None:
        self._log = log
        self._max_bytes = max_bytes

    async def send(self, topic: str, key: bytes | None, value: bytes, headers: Headers) -> Written:
        """Returns when the record is in the log."""
        if len(value) > self._max_bytes:
            raise TooLarge(f"{len(value)} bytes for {topic} are more than {self._max_bytes}")
        await asyncio.sleep(0)
        while self._log.down:
            await self._log.news(0.05)
        raw = self._log.append(topic, key, value, headers)
        return Written(topic, raw.partition, raw.offset)

    async def post(self, topic: str, key: bytes | None, value: bytes, headers: Headers) -> None:
        """Writes the record, or loses it while the log is down."""
        if not self._log.down:
            self._log.append(topic, key, value, headers)


async def _nothing(_: Collection[int]) -> None: ...
