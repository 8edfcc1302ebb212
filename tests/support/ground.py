"""The ground on which stub workers are tried: topics of their own, loads of tasks, worker processes, the oracle."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

from aiokafka.admin import NewTopic
from aiokafka.errors import GroupCoordinatorNotAvailableError

from hocket.contracts.codec import Codec
from hocket.contracts.records import DeadLetter, Result, Task
from hocket.contracts.topics import Topics
from hocket.core.donemap import DoneMap, decode
from hocket.kafka.admin import admin
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings
from tests.support.kafka import Service, reader
from tests.support.oracle import Hit, Verdict, judge, read_ledger
from tests.support.stub_worker import SPECIALTY

CODEC = Codec()


def fresh(bootstrap: str, folder: Path, **changes: Any) -> Settings:
    """Settings under a prefix of their own."""
    own: dict[str, Any] = {
        "bootstrap": bootstrap,
        "prefix": f"t{uuid.uuid4().hex[:8]}-",
        "partitions": 6,
        "blob_store": (folder / "blobs").as_uri(),
        "state_dir": folder / "state",
        "grace_seconds": 15.0,
        "log_format": "text",
    }
    return Settings(**(own | changes))


def stub_task(name: str, *, seconds: float = 0.0, **changes: Any) -> Task:
    """A task of the stub; its request id is its name in the ledger."""
    options = {"seconds": round(seconds, 4)} if seconds else {}
    fields = {
        "request_id": name,
        "task_id": "a",
        "specialty": SPECIALTY,
        "instruction": "x",
        "options": json.dumps(options),
        "dispatched_at": now_ms(),
    }
    return Task(**(fields | changes))


def pour(bootstrap: str, topic: str, records: Iterable[tuple[bytes, bytes]]) -> None:
    """Writes keys and values as fast as librdkafka can; blocks. Raises AssertionError when the broker refuses one."""
    from confluent_kafka import Producer

    client = Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 5, "partitioner": "murmur2_random", "enable.idempotence": True}
    )
    for key, value in records:
        while True:
            try:
                client.produce(topic, value, key)
            except BufferError:
                client.poll(0.05)
            else:
                break
        client.poll(0)
    assert client.flush(60) == 0, f"{topic}: not everything was written"


def _settled(topic: dict[str, Any], count: int) -> bool:
    return len(topic["partitions"]) == count and all(p["leader"] >= 0 for p in topic["partitions"])


class Ground:
    """One scenario's topics, workers and ledger. Every process it started is gone when `open_ground` ends."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.topics = Topics(settings.prefix)
        self.tasks = self.topics.tasks(SPECIALTY)
        self.ledger = folder / f"{settings.prefix}ledger"
        self.expected: set[str] = set()
        self.hits: list[Hit] = []
        self.results: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.workers: dict[str, Service] = {}

    async def make_topics(self) -> None:
        names = [self.topics.results, self.topics.progress, self.topics.dead_letters, self.topics.heartbeats]
        names += [self.tasks, self.topics.control]
        async with admin(self.settings) as client:
            count = self.settings.partitions
            await client.create_topics([*(NewTopic(n, count, 1) for n in names), NewTopic(self.topics.handovers, 1, 1)])
            # A reader that comes too early sees some of the partitions, and follows only those for ever.
            async with asyncio.timeout(20):
                while not all(_settled(t, count) for t in await client.describe_topics(names)):
                    await asyncio.sleep(0.1)

    async def put(self, *tasks: Task) -> None:
        """Writes tasks and expects a result of each."""
        self.expected.update(t.request_id for t in tasks)
        records = [(t.request_id.encode(), CODEC.encode(t, self.tasks)) for t in tasks]
        await asyncio.to_thread(pour, self.settings.bootstrap, self.tasks, records)

    def start(self, *names: str, **env: str) -> None:
        """Starts workers, or starts them again."""
        for name in names:
            log = self.folder / f"{self.settings.prefix}{name}.log"
            more = {
                "HOCKET_INSTANCE": name,
                "HOCKET_CONCURRENCY": str(self.settings.concurrency),
                "HOCKET_GRACE_SECONDS": str(self.settings.grace_seconds),
                "STUB_LEDGER": str(self.ledger),
            }
            self.workers[name] = Service("tests.support.stub_worker", self.settings, log, **(more | env)).start()

    def pid(self, name: str) -> int:
        process = self.workers[name].process
        assert process is not None
        return process.pid

    async def hit(self, name: str) -> None:
        """Notes that what this worker has in flight now, or has not committed, may be paid twice."""
        at = time.monotonic()
        self.hits.append(Hit(at=at, pid=self.pid(name), committed=await self._committed()))

    async def _committed(self) -> dict[int, DoneMap]:
        """What the group knows to be done. Of a dead or frozen worker nothing more comes, and nobody else can commit
        its partitions before the session time-out."""
        async with admin(self.settings) as client:
            found = await client.list_consumer_group_offsets(self.settings.group(f"worker-{SPECIALTY}"))
        return {
            tp.partition: decode(at.metadata, at.offset) or DoneMap(base=at.offset, top=at.offset)
            for tp, at in found.items()
        }

    async def kill(self, name: str) -> None:
        self.workers[name].kill()
        await self.hit(name)  # what it runs now, it cannot end any more

    async def freeze(self, name: str) -> None:
        """SIGSTOP; returns when it stands still."""
        self.workers[name].signal(signal.SIGSTOP)
        status = Path(f"/proc/{self.pid(name)}/stat")
        while status.read_text().rpartition(")")[2].split()[0] != "T":
            await asyncio.sleep(0.01)
        await self.hit(name)

    def terminate(self, name: str) -> None:
        """SIGTERM, without waiting."""
        self.workers[name].signal(signal.SIGTERM)

    async def stopped(self, name: str, seconds: float = 40) -> int:
        """Waits until a worker that was told to stop has ended; its exit code."""
        process = self.workers[name].process
        assert process is not None
        return await asyncio.to_thread(process.wait, seconds)

    async def gone(self, name: str) -> int:
        self.terminate(name)
        return await self.stopped(name)

    async def watch(self) -> None:
        """Follows the results until cancelled."""
        async with reader(self.settings, self.topics.results) as consumer:
            while True:
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    for r in batch:
                        self.results[r.key.decode()] += 1

    @property
    def missing(self) -> int:
        return len(self.expected) - len(self.expected & self.results.keys())

    async def until_missing(self, most: int, seconds: float) -> bool:
        """Waits until at most so many results are missing; False when time is over."""
        end = time.monotonic() + seconds
        while self.missing > most:
            if time.monotonic() > end:
                return False
            await asyncio.sleep(0.1)
        return True

    async def until_done(self, patience: float) -> bool:
        """Waits for all results, as long as any come; False when none came for so many seconds."""
        before = None
        while self.missing and self.missing != before:
            before = self.missing
            await self.until_missing(0, patience)
        return not self.missing

    async def until_joined(self, workers: int, seconds: float = 60) -> None:
        """Waits until the group has so many members, each with its partitions."""
        async with asyncio.timeout(seconds), admin(self.settings) as client:
            while True:
                with contextlib.suppress(GroupCoordinatorNotAvailableError):  # of a broker that never had a group
                    [answer] = await client.describe_consumer_groups([self.settings.group(f"worker-{SPECIALTY}")])
                    _, _, state, _, _, members, *_ = answer.groups[0]
                    if state == "Stable" and len(members) == workers:
                        return
                await asyncio.sleep(0.2)

    async def until_working(self, workers: int, seconds: float = 30) -> None:
        """Waits until so many processes have made calls."""
        async with asyncio.timeout(seconds):
            while len({c.pid for c in read_ledger(self.ledger)}) < workers:
                await asyncio.sleep(0.2)

    async def verdict(self) -> Verdict:
        """Reads the results anew from the start, read_committed, and judges."""
        found: list[str] = []
        async with reader(self.settings, self.topics.results) as consumer:
            ends = await consumer.end_offsets(consumer.assignment())
            while [p for p, end in ends.items() if await consumer.position(p) < end]:
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    for r in batch:
                        result = CODEC.decode(r.value, Result)
                        found.append(result.request_id)
                        self.statuses[result.status] += 1
        return judge(self.expected, found, read_ledger(self.ledger), self.hits)

    async def dead_letters(self) -> list[DeadLetter]:
        found: list[DeadLetter] = []
        async with reader(self.settings, self.topics.dead_letters) as consumer:
            ends = await consumer.end_offsets(consumer.assignment())
            while [p for p, end in ends.items() if await consumer.position(p) < end]:
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    found += [CODEC.decode(r.value, DeadLetter) for r in batch]
        return found


@contextlib.asynccontextmanager
async def open_ground(settings: Settings, folder: Path) -> AsyncIterator[Ground]:
    """Topics made, results followed; whatever happens, no worker process is left."""
    ground = Ground(settings, folder)
    await ground.make_topics()
    watching = asyncio.create_task(ground.watch())
    try:
        yield ground
    finally:
        for service in ground.workers.values():
            if service.process is not None and service.process.poll() is None:
                await asyncio.to_thread(service.kill)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def rebalances(broker_log: Path, group: str) -> int:
    """How often the group got a new assignment, by the broker's own log."""
    return sum(f"Stabilized group {group} generation" in line for line in broker_log.read_text().splitlines())
