"""Puts the workers together: one runtime for each specialty, all in one process, with one producer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial

from hocket.contracts.claims import Blobs
from hocket.contracts.specialties import Specialty, SpecialtyError, load_specialties
from hocket.kafka.broadcast import listen
from hocket.kafka.client import codec_of, topics_of
from hocket.kafka.heartbeat import Heartbeats, host
from hocket.kafka.journal import open_journal
from hocket.kafka.lending import lending
from hocket.kafka.log import Producer
from hocket.kafka.recall import Recall, outcomes
from hocket.kafka.runtime import Runtime
from hocket.llm.cache import ResultCache
from hocket.llm.models import Models
from hocket.llm.purse import Rate
from hocket.runtime.clock import now_ms
from hocket.runtime.health import Health
from hocket.runtime.settings import Settings
from services.workers.engine import Engines
from services.workers.service import Worker


async def serve_workers(
    settings: Settings, specialties: Iterable[str], stop: asyncio.Event, health: Health | None = None
) -> None:
    """Works on tasks of the named specialties until `stop` is set. Raises what Runtime.run raises, SpecialtyError."""
    from hocket.kafka.aio import open_producer

    known = load_specialties(settings.specialties)
    chosen = _chosen(specialties, known)
    engines = Engines(Models.from_env(), now_ms, cache=ResultCache.from_env())
    try:
        async with open_producer(settings, f"hocket-{settings.instance}") as producer:
            topics, codec = topics_of(settings), codec_of(settings)
            async with lending(
                settings, engines.models, service="worker", topics=topics, codec=codec, producer=producer, clock=now_ms
            ) as governor:
                runtimes = [_runtime(settings, s, known, engines, producer=producer, rate=governor) for s in chosen]
                for runtime in runtimes:
                    if health is not None:
                        health.add(runtime.specialty, partial(getattr, runtime, "joined"))
                beats = Heartbeats(runtimes, producer=producer, codec=codec, topics=topics, clock=now_ms)
                await host(runtimes, beats, stop, listen(runtimes, settings, topics, codec))
    finally:
        await engines.close()


def _chosen(names: Iterable[str], known: dict[str, Specialty]) -> list[Specialty]:
    wanted = list(dict.fromkeys(names))
    if missing := [n for n in wanted if n not in known]:
        raise SpecialtyError(f"there is no specialty {', '.join(missing)} (there are: {', '.join(sorted(known))})")
    return [known[n] for n in wanted]


def _runtime(
    settings: Settings,
    specialty: Specialty,
    known: Mapping[str, Specialty],
    engines: Engines,
    *,
    producer: Producer,
    rate: Rate,
) -> Runtime:
    topics = topics_of(settings)
    me = f"{settings.instance}/{specialty.name}"
    worker = Worker(
        specialty=specialty,
        topics=topics,
        engines=engines,
        blobs=Blobs(settings.blob_store, settings.allowed_uris),
        worker=me,
        now_ms=now_ms,
        rate=rate,
        known=known,
    )
    return Runtime(
        settings=settings,
        topics=topics,
        codec=codec_of(settings),
        topic=topics.tasks(specialty.name),
        group=settings.group(f"worker-{specialty.name}"),
        service="worker",
        worker=me,
        handler=worker.handle,
        on_crash=worker.on_crash,
        on_cancel=worker.on_cancel,
        on_late=worker.on_late,
        producer=producer,
        recall=Recall(worker.outcome_id, partial(outcomes, settings, topics.results, specialty.name)),
        journal=open_journal(settings, topics.tasks(specialty.name)),
    )
