"""A worker process whose engine says a text of its own in every run, word by word, and writes down what it said.

    STREAM_ORACLE=/path python -m tests.support.stream_worker

A task's options say {"words": 300, "pause": 0.01}. Each run's text is another one, and sometimes a reply begins anew
midway, so that nobody can be right by accident; the whole text then has all its words all the same.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hocket.contracts.claims import Blobs
from hocket.contracts.specialties import Specialty, load_specialties
from hocket.core.work import Work
from hocket.kafka.aio import open_producer
from hocket.kafka.broadcast import listen
from hocket.kafka.client import codec_of, topics_of
from hocket.kafka.heartbeat import Heartbeats, host
from hocket.kafka.runtime import Runtime
from hocket.runtime.clock import now_ms
from hocket.runtime.health import Health
from hocket.runtime.lifecycle import run_service
from hocket.runtime.settings import Settings
from services.workers.engine import Outcome
from services.workers.service import Worker

SPECIALTY = "synthesis"
WORDS = ("and", "voice", "hocket", "naïve", "😀", "rest\n", "“note”", "a")


class Saying:
    """Engines that stream."""

    def __init__(self, oracle: Path) -> None:
        self._oracle = oracle
        self._rng = random.Random(os.urandom(8))

    async def run(
        self,
        specialty: Specialty,
        work: Work,
        *,
        on_text: Callable[[str], None],
        **_: Any,
    ) -> Outcome:
        count, pause = int(work.options.get("words", 100)), float(work.options.get("pause", 0.01))
        anew = self._rng.randint(1, max(1, count // 2)) if self._rng.random() < 0.3 else 0
        text: list[str] = []
        on_text("")
        for number in range(anew + count):
            if number == anew:
                on_text("")
                text.clear()
            text.append(f"{self._rng.choice(WORDS)}{self._rng.randrange(1000)} ")
            on_text(text[-1])
            await asyncio.sleep(pause)
        whole = "".join(text)
        with self._oracle.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"task": work.task_id, "text": whole}) + "\n")
        return Outcome(output={"text": whole, "sources": []}, text=whole, engine="stub")


async def serve(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    topics, codec = topics_of(settings), codec_of(settings)
    me = f"{settings.instance}/{SPECIALTY}"
    worker = Worker(
        specialty=load_specialties(None)[SPECIALTY],
        topics=topics,
        engines=Saying(Path(os.environ["STREAM_ORACLE"])),
        blobs=Blobs(settings.blob_store),
        worker=me,
        now_ms=now_ms,
    )
    async with open_producer(settings, settings.instance) as producer:
        runtime = Runtime(
            settings=settings, topics=topics, codec=codec, topic=topics.tasks(SPECIALTY),
            group=settings.group(f"worker-{SPECIALTY}"), service="worker", worker=me, handler=worker.handle,
            on_crash=worker.on_crash, on_cancel=worker.on_cancel, on_late=worker.on_late, producer=producer,
        )  # fmt: skip
        health.add("joined", lambda: runtime.joined)
        beats = Heartbeats([runtime], producer=producer, codec=codec, topics=topics, clock=now_ms)
        await host([runtime], beats, stop, listen([runtime], settings, topics, codec))


if __name__ == "__main__":
    run_service("worker", serve)
