"""A worker process with a slow handler, for tests that kill it: `python -m tests.support.slow_worker`."""

from __future__ import annotations

import asyncio
import os
import random

from hocket.contracts.records import Error, Result, Task
from hocket.kafka.aio import open_producer
from hocket.kafka.broadcast import listen
from hocket.kafka.client import codec_of, topics_of
from hocket.kafka.heartbeat import Heartbeats, host
from hocket.kafka.runtime import Outgoing, Runtime
from hocket.runtime.clock import now_ms
from hocket.runtime.health import Health
from hocket.runtime.lifecycle import run_service
from hocket.runtime.settings import Settings

SPECIALTY = "writing"


def result(task: Task, topic: str, worker: str, error: Error | None = None) -> Outgoing:
    record = Result(
        request_id=task.request_id,
        task_id=task.task_id,
        specialty=task.specialty,
        status="failed" if error else "completed",
        error=error,
        worker=worker,
        started_at=now_ms(),
        ended_at=now_ms(),
    )
    return Outgoing(topic=topic, key=task.request_id, record=record, event_id=f"{task.request_id}/{task.task_id}")


def slow_runtime(settings: Settings, producer: object, *, seconds: tuple[float, float] = (0.01, 0.1)) -> Runtime:
    topics = topics_of(settings)
    me = f"{settings.instance}/{SPECIALTY}"

    async def handle(task: Task, delivery: object) -> list[Outgoing]:
        await asyncio.sleep(random.uniform(*seconds))
        return [result(task, topics.results, me)]

    return Runtime(
        settings=settings,
        topics=topics,
        codec=codec_of(settings),
        topic=topics.tasks(SPECIALTY),
        group=settings.group(f"worker-{SPECIALTY}"),
        service="worker",
        worker=me,
        handler=handle,
        on_crash=lambda task, _, e: [result(task, topics.results, me, Error(kind="crashed", message=str(e)))],
        producer=producer,  # type: ignore[arg-type]
    )


async def serve(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    span = tuple(float(x) for x in os.environ.get("SLOW_SECONDS", "0.01,0.1").split(","))
    async with open_producer(settings, settings.instance) as producer:
        runtime = slow_runtime(settings, producer, seconds=span)  # type: ignore[arg-type]
        health.add("joined", lambda: runtime.joined)
        topics, codec = topics_of(settings), codec_of(settings)
        beats = Heartbeats([runtime], producer=producer, codec=codec, topics=topics, clock=now_ms)
        await host([runtime], beats, stop, listen([runtime], settings, topics, codec))


if __name__ == "__main__":
    run_service("worker", serve)
