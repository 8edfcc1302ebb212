"""One service process of the diamond, with a stub in the place of the model and everything else as deployed.

    STUB_MS=100 [STUB_PLAN=chain] python -m bench.diamond_stub planning|<specialty>

The planner really compiles the draft that its stub model gives, the worker really writes results and progress. Each
call sleeps STUB_MS milliseconds; STUB_LEDGER names the file in which every step run is written down.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hocket.contracts.claims import Blobs
from hocket.contracts.records import Task, Usage
from hocket.contracts.specialties import load_specialties
from hocket.core.work import Work
from hocket.kafka.aio import open_producer
from hocket.kafka.broadcast import listen
from hocket.kafka.client import codec_of, topics_of
from hocket.kafka.heartbeat import Heartbeats, host
from hocket.kafka.journal import open_journal
from hocket.kafka.recall import Recall, outcomes
from hocket.kafka.runtime import Delivery, Runtime
from hocket.llm.base import ModelCall, ModelReply
from hocket.llm.catalogue import load_catalogue
from hocket.llm.models import Models
from hocket.runtime.clock import now_ms
from hocket.runtime.health import Health
from hocket.runtime.lifecycle import run_service
from hocket.runtime.settings import Settings
from services.planner.service import PLANNING, Planner
from services.workers.engine import Outcome
from services.workers.service import Worker
from tests.support.oracle import Pen

PARALLEL = ("extraction", "summarisation", "sentiment")
LAST = "synthesis"
ROLES = (PLANNING, *PARALLEL, LAST)
TASKS = (*PARALLEL, "z")
ANSWERS = {"diamond": f"z({','.join(f'{p}()' for p in PARALLEL)})", "chain": "d(c(b(a())))"}
"""What the right answer to every request says, by plan."""


def _draft(*tasks: tuple[str, str, tuple[str, ...]]) -> dict[str, Any]:
    named = [{"id": i, "specialty": s, "instruction": f"Do the {s}.", "depends_on": list(d)} for i, s, d in tasks]
    return {"tasks": named}


DRAFTS = {
    "diamond": _draft(*((p, p, ()) for p in PARALLEL), ("z", LAST, PARALLEL)),
    "chain": _draft(
        ("a", "extraction", ()), ("b", "summarisation", ("a",)), ("c", "sentiment", ("b",)),
        ("d", "summarisation", ("c",)),
    ),
}  # fmt: skip
DRAFT = DRAFTS[os.environ.get("STUB_PLAN") or "diamond"]


class StubModel:
    """Fulfils hocket.llm.base.Provider: gives the same draft after a while."""

    name = "anthropic"

    def __init__(self, seconds: float) -> None:
        self.heard: Any = None
        self._seconds = seconds

    async def ready(self, model: str) -> None: ...

    async def call(self, call: ModelCall, on_text: Any = None) -> ModelReply:  # noqa: ARG002 - the port's form
        if self._seconds:
            await asyncio.sleep(self._seconds)
        usage = Usage(
            provider=self.name, model=call.model, input_tokens=900, output_tokens=150, cost_usd=0.01, millis=0
        )
        return ModelReply(data=DRAFT, usage=usage, stop_reason="tool_use")

    async def close(self) -> None: ...


class StubEngines:
    """Fulfils services.workers.service.Runs: says which task it was and what it was given."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def run(self, _specialty: object, work: Work, **_: object) -> Outcome:
        if self._seconds:
            await asyncio.sleep(self._seconds)
        text = f"{work.task_id}({','.join(str(i.output['text']) for i in work.inputs)})"
        return Outcome(output={"text": text}, text=text, engine="stub", why="the only one")

    async def run_local(self, specialty: object, work: Work, **_: object) -> Outcome:
        return await self.run(specialty, work)


def written_down(handler: Callable[..., Any], pen: Pen | None) -> Callable[..., Any]:
    """The handler, with each of its runs in the ledger."""
    if pen is None:
        return handler

    async def handle(task: Task, delivery: Delivery) -> Any:
        name = f"{task.request_id}/{task.task_id}"
        pen.started(name, delivery.partition, delivery.offset)
        outgoing = await handler(task, delivery)
        pen.ended(name, delivery.partition, delivery.offset)
        return outgoing

    return handle


def service_of(role: str, settings: Settings, seconds: float) -> Planner | Worker:
    """The planner, or the worker of a specialty."""
    topics, specialties = topics_of(settings), load_specialties(settings.specialties)
    me = f"{settings.instance}/{role}"
    if role == PLANNING:
        models = Models(providers={StubModel.name: StubModel(seconds)}, entries=load_catalogue())
        return Planner(
            specialties=specialties, workflows={}, models=models, plans_topic=topics.plans,
            progress_topic=topics.progress, worker=me, now_ms=now_ms,
        )  # fmt: skip
    return Worker(
        specialty=specialties[role], topics=topics, engines=StubEngines(seconds), blobs=Blobs(settings.blob_store),
        worker=me, now_ms=now_ms, known=specialties,
    )  # fmt: skip


async def serve(role: str, settings: Settings, stop: asyncio.Event, health: Health) -> None:
    topics, codec = topics_of(settings), codec_of(settings)
    service = service_of(role, settings, float(os.environ.get("STUB_MS", "0")) / 1000)
    ledger = os.environ.get("STUB_LEDGER")
    async with open_producer(settings, f"hocket-{settings.instance}-{role}") as producer:
        runtime = Runtime(
            settings=settings,
            topics=topics,
            codec=codec,
            topic=topics.tasks(role),
            group=settings.group("planner" if role == PLANNING else f"worker-{role}"),
            service="planner" if role == PLANNING else "worker",
            worker=f"{settings.instance}/{role}",
            handler=written_down(service.handle, Pen(Path(ledger)) if ledger else None),
            on_crash=service.on_crash,
            on_cancel=service.on_cancel,
            producer=producer,
            recall=Recall(
                service.outcome_id,
                partial(outcomes, settings, topics.plans if role == PLANNING else topics.results, role),
            ),
            journal=open_journal(settings, topics.tasks(role)),
        )
        health.add("joined", lambda: runtime.joined)
        beats = Heartbeats([runtime], producer=producer, codec=codec, topics=topics, clock=now_ms)
        await host([runtime], beats, stop, listen([runtime], settings, topics, codec))


if __name__ == "__main__":
    run_service(sys.argv[1], partial(serve, sys.argv[1]))
