"""A runtime on the in-memory log, with a handler that ends tasks when it is told to: what its unit tests share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from hocket.contracts import headers
from hocket.contracts.codec import Codec
from hocket.contracts.records import DeadLetter, Error, Handover, Result, Task
from hocket.contracts.topics import Topics
from hocket.kafka.recall import Recall
from hocket.kafka.runtime import Outgoing, Runtime
from hocket.runtime.settings import Settings
from hocket.testing.log import FakeLog

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


def recalling(log: FakeLog, asked: list[tuple[int, int]]) -> Recall:
    """Finds every outcome in the log; `asked` gets the times of each question."""

    async def written(first_ms: int, last_ms: int) -> dict[str, int]:
        asked.append((first_ms, last_ms))
        return {headers.get(r.headers, "ce_id") or "": r.timestamp for r in log.records(TOPICS.results)}

    return Recall(lambda t: f"{t.request_id}/a/result", written)


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
