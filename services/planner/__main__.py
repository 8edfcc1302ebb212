"""hocket-planner: the composition root of the planner."""

from __future__ import annotations

import asyncio
from functools import partial

from hocket.contracts.specialties import load_specialties
from hocket.contracts.workflows import load_workflows
from hocket.kafka.broadcast import listen
from hocket.kafka.client import codec_of, topics_of
from hocket.kafka.heartbeat import Heartbeats, host
from hocket.kafka.journal import open_journal
from hocket.kafka.lending import lending
from hocket.kafka.recall import Recall, outcomes
from hocket.kafka.runtime import Runtime
from hocket.llm.models import Models
from hocket.runtime.clock import now_ms
from hocket.runtime.health import Health
from hocket.runtime.lifecycle import run_service
from hocket.runtime.settings import Settings
from services.planner.service import PLANNING, Planner


async def serve_planner(settings: Settings, stop: asyncio.Event, health: Health | None = None) -> None:
    """Plans until `stop` is set, then ends what it has begun. Raises what Runtime.run raises, and for wrong settings
    SpecialtyError, WorkflowError or CatalogueError."""
    from hocket.kafka.aio import open_producer

    topics, codec = topics_of(settings), codec_of(settings)
    worker = f"{settings.instance}/{PLANNING}"
    specialties = load_specialties(settings.specialties)
    planner = Planner(
        specialties=specialties,
        workflows=load_workflows(specialties, settings.workflows),
        models=Models.from_env(),
        plans_topic=topics.plans,
        progress_topic=topics.progress,
        worker=worker,
        now_ms=now_ms,
    )
    try:
        async with (
            open_producer(settings, f"hocket-{worker}") as producer,
            lending(
                settings, planner.models, service="planner", topics=topics, codec=codec, producer=producer, clock=now_ms
            ) as planner.rate,
        ):
            runtime = Runtime(
                settings=settings,
                topics=topics,
                codec=codec,
                topic=topics.tasks(PLANNING),
                group=settings.group("planner"),
                service="planner",
                worker=worker,
                handler=planner.handle,
                on_crash=planner.on_crash,
                on_cancel=planner.on_cancel,
                producer=producer,
                recall=Recall(planner.outcome_id, partial(outcomes, settings, topics.plans, PLANNING)),
                journal=open_journal(settings, topics.tasks(PLANNING)),
            )
            if health is not None:
                health.add(PLANNING, partial(getattr, runtime, "joined"))
            beats = Heartbeats([runtime], producer=producer, codec=codec, topics=topics, clock=now_ms)
            await host([runtime], beats, stop, listen([runtime], settings, topics, codec))
    finally:
        await planner.models.close()


def main() -> None:
    """Runs the planner until SIGTERM."""
    run_service("planner", serve_planner)


if __name__ == "__main__":
    main()
