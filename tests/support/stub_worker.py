"""A worker process whose model is a stub: it sleeps as long as the task says, and writes each call into a ledger.

    STUB_LEDGER=/path python -m tests.support.stub_worker

A task's options say {"seconds": 0.5}; with {"kill": true} the process dies by kill -9 at the end of that time.
Without STUB_LEDGER nothing is written.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hocket.contracts.records import Error, Result, Task
from hocket.kafka.aio import open_producer
from hocket.kafka.broadcast import listen
from hocket.kafka.client import codec_of, topics_of
from hocket.kafka.heartbeat import Heartbeats, host
from hocket.kafka.journal import open_journal
from hocket.kafka.recall import Recall, outcomes
from hocket.kafka.runtime import Outgoing, Runtime
from hocket.runtime.clock import now_ms
from hocket.runtime.health import Health
from hocket.runtime.lifecycle import run_service
from hocket.runtime.settings import Settings
from tests.support.oracle import Pen

SPECIALTY = "writing"


def stub_result(task: Task, topic: str, worker: str, error: Error | None = None) -> Outgoing:
    now = now_ms()
    record = Result(
        request_id=task.request_id,
        task_id=task.task_id,
        specialty=task.specialty,
        status="failed" if error else "completed",
        error=error,
        worker=worker,
        started_at=now,
        ended_at=now,
    )
    return Outgoing(topic=topic, key=task.request_id, record=record, event_id=outcome_id(task))


def outcome_id(task: Task) -> str:
    return f"{task.request_id}/{task.task_id}"


def seconds_of(task: Task) -> float:
    """The stub's time for a task."""
    return float(json.loads(task.options).get("seconds", 0)) if task.options != "{}" else 0.0


def stub_handler(topic: str, worker: str, pen: Pen | None) -> Callable[[Task, Any], Any]:
    async def handle(task: Task, delivery: Any) -> list[Outgoing]:
        if pen:
            pen.started(task.request_id, delivery.partition, delivery.offset)
        if seconds := seconds_of(task):
            await asyncio.sleep(seconds)
        if "kill" in task.options:
            os.kill(os.getpid(), signal.SIGKILL)
        if pen:
            pen.ended(task.request_id, delivery.partition, delivery.offset)
        return [stub_result(task, topic, worker)]

    return handle


def stub_runtime(settings: Settings, producer: Any, pen: Pen | None = None, **more: Any) -> Runtime:
    """A runtime over the stub; `more` goes to the Runtime."""
    topics = topics_of(settings)
    me = f"{settings.instance}/{SPECIALTY}"
    return Runtime(
        **{
            "settings": settings,
            "topics": topics,
            "codec": codec_of(settings),
            "topic": topics.tasks(SPECIALTY),
            "group": settings.group(f"worker-{SPECIALTY}"),
            "service": "worker",
            "worker": me,
            "handler": stub_handler(topics.results, me, pen),
            "on_crash": lambda t, _, e: [stub_result(t, topics.results, me, Error(kind="crashed", message=str(e)))],
            "producer": producer,
            "recall": Recall(outcome_id, partial(outcomes, settings, topics.results, SPECIALTY)),
            "journal": open_journal(settings, topics.tasks(SPECIALTY)),
            **more,
        }
    )


async def serve(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    ledger = os.environ.get("STUB_LEDGER")
    pen = Pen(Path(ledger)) if ledger else None
    async with open_producer(settings, settings.instance) as producer:
        runtime = stub_runtime(settings, producer, pen)
        health.add("joined", lambda: runtime.joined)
        topics, codec = topics_of(settings), codec_of(settings)
        beats = Heartbeats([runtime], producer=producer, codec=codec, topics=topics, clock=now_ms)
        await host([runtime], beats, stop, listen([runtime], settings, topics, codec))


if __name__ == "__main__":
    run_service("worker", serve)
