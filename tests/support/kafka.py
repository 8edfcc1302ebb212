"""What Kafka tests share: processes as deployed, a plain producer, a read_committed reader, scripted workers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from hocket.contracts.codec import Codec
from hocket.contracts.records import Answer, Output, Record, Request, Result, Task
from hocket.contracts.topics import Topics
from hocket.runtime.settings import Settings

R = TypeVar("R", bound=Record)
CODEC = Codec()


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """The environment of a service process under these settings."""
    return {
        **os.environ,
        "HOCKET_BOOTSTRAP": settings.bootstrap,
        "HOCKET_PREFIX": settings.prefix,
        "HOCKET_PARTITIONS": str(settings.partitions),
        "HOCKET_BLOB_STORE": settings.blob_store,
        "HOCKET_STATE_DIR": str(settings.state_dir),
        "HOCKET_LOG_FORMAT": "text",
        **more,
    }


class Service:
    """One service process, started as deployed (`python -m ...`), killed only by its recorded pid."""

    def __init__(self, module: str, settings: Settings, log: Path, *arguments: str, **env: str) -> None:
        self.command = [sys.executable, "-m", module, *arguments]
        self.env = environment(settings, **env)
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Service:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(self.command, env=self.env, stdout=out, stderr=subprocess.STDOUT)
        return self

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self, timeout: float = 40) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


@contextlib.contextmanager
def running(*services: Service) -> Any:
    """Starts the services; whatever happens, none is left."""
    try:
        for s in services:
            s.start()
        yield services
    finally:
        for s in services:
            with contextlib.suppress(subprocess.TimeoutExpired):
                s.stop()


@contextlib.asynccontextmanager
async def producing(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap, enable_idempotence=True, linger_ms=1, max_request_size=2_000_000
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def send(producer: AIOKafkaProducer, topic: str, *records: Any) -> None:
    """Sends records under their request ids and waits until the broker has them."""
    sent = [await producer.send(topic, CODEC.encode(r, topic), key=r.request_id.encode()) for r in records]
    await asyncio.gather(*sent)


async def read(
    settings: Settings,
    topic: str,
    kind: type[R],
    *,
    until: Callable[[Sequence[R]], bool],
    timeout: float = 60,
    settle: float = 0,
) -> list[R]:
    """Records of a topic from its start, read_committed, until `until` holds; then `settle` seconds, for strays."""
    found: list[R] = []
    async with reader(settings, topic) as consumer:
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            batches = await consumer.getmany(timeout_ms=200)
            found += [CODEC.decode(r.value, kind) for batch in batches.values() for r in batch]
            if until(found):
                end = min(end, time.monotonic() + settle)
                settle = max(0.0, end - time.monotonic())
                if settle == 0:
                    break
    return found


async def answers_of(
    settings: Settings, topics: Topics, requests: Iterable[Request], count: int, *, at_once: int, timeout: float = 600
) -> list[Answer]:
    """Sends so many requests, `at_once` of them open, and waits for the one answer to each."""
    found: list[Answer] = []

    def all_there(answers: Sequence[Answer]) -> bool:
        found.extend(answers[len(found) :])
        return len(found) == count

    async with producing(settings) as producer:
        reading = asyncio.create_task(read(settings, topics.answers, Answer, until=all_there, timeout=timeout))
        for number, one in enumerate(requests):
            while number - len(found) >= at_once:
                await asyncio.sleep(0.02)
                assert not reading.done(), f"{len(found)} of {count} answers"
            await send(producer, topics.requests, one)
        await reading
    assert len({a.request_id for a in found}) == count, f"{len(found)} of {count} answers"
    return found


@contextlib.asynccontextmanager
async def reader(settings: Settings, *topics: str, start: str = "beginning") -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer without a group, over all partitions of the topics, read_committed."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=4_000_000,
    )
    await consumer.start()
    try:
        places = []
        for topic in topics:
            await consumer._client.force_metadata_update()
            partitions = consumer.partitions_for_topic(topic) or await _wait_for_partitions(consumer, topic)
            places += [TopicPartition(topic, p) for p in partitions]
        consumer.assign(places)
        await (consumer.seek_to_beginning() if start == "beginning" else consumer.seek_to_end())
        yield consumer
    finally:
        await consumer.stop()


async def _wait_for_partitions(consumer: AIOKafkaConsumer, topic: str) -> Iterable[int]:
    for _ in range(50):
        await consumer._client.add_topic(topic)
        found = consumer.partitions_for_topic(topic)
        if found:
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"no partitions of {topic}")


def echo(task: Task) -> Result:
    """What a scripted worker answers unless told otherwise: its id and what it was given."""
    given = ",".join(i.task_id for i in task.inputs)
    return Result(
        request_id=task.request_id,
        task_id=task.task_id,
        specialty=task.specialty,
        status="completed",
        output=Output(specialty=task.specialty, text=f"{task.task_id}({given})", data="{}"),
        worker="scripted",
        engine="local",
        started_at=task.dispatched_at,
        ended_at=task.dispatched_at,
    )


class ScriptedWorkers:
    """Answers every task of the named specialties; counts what it was asked, as an oracle outside the system."""

    def __init__(
        self, settings: Settings, specialties: Iterable[str], work: Callable[[Task], Record | None] = echo
    ) -> None:
        self.settings, self.specialties, self.work = settings, list(specialties), work
        self.seen: list[Task] = []

    async def __aenter__(self) -> Self:
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await self._task

    async def _run(self) -> None:
        topics = Topics(self.settings.prefix)
        names = [topics.tasks(s) for s in self.specialties]
        async with reader(self.settings, *names) as consumer, producing(self.settings) as producer:
            while not self._stop.is_set():
                batches = await consumer.getmany(timeout_ms=100)
                for batch in batches.values():
                    for r in batch:
                        task = CODEC.decode(r.value, Task)
                        self.seen.append(task)
                        done = self.work(task)
                        if done is not None:
                            topic = topics.results if isinstance(done, Result) else topics.plans
                            await producer.send(topic, CODEC.encode(done, topic), key=task.request_id.encode())


def request(number: int | str, **changes: Any) -> Request:
    return Request(**({"request_id": f"r{number}", "text": f"text {number}", "submitted_at": 1} | changes))
