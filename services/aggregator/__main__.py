"""Composition root of the aggregator."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Collection

from hocket.contracts.specialties import load_specialties
from hocket.contracts.workflows import load_workflows
from hocket.kafka.admin import TopicsError, check_joined, list_topics
from hocket.kafka.client import codec_of, topics_of
from hocket.runtime.lifecycle import read_settings
from hocket.runtime.logs import setup_logs
from hocket.runtime.settings import Settings
from services.aggregator.admission import World
from services.aggregator.vitals import Vitals, count

log = logging.getLogger(__name__)


async def topics_are_there(settings: Settings, specialties: Collection[str]) -> None:
    """Waits until all topics exist, the joined ones with one partition count; says what is missing.

    Raises KafkaUnreachable when no broker answers for long.
    """
    wanted = topics_of(settings).all(specialties)
    while True:
        try:
            await check_joined(settings)
            found = {t.name for t in await list_topics(settings)}
        except TopicsError as e:
            log.warning("waiting for the topics: %s", e)
        else:
            missing = sorted(set(wanted) - found)
            if not missing:
                return
            log.warning("waiting for the topics: %s are missing. Run `hocket topics apply`", ", ".join(missing))
        await asyncio.sleep(2)


def main() -> None:
    """Runs the aggregator until SIGTERM; exits with 1 when it cannot go on, for its supervisor to restart it."""
    settings = read_settings()
    setup_logs(settings, service="aggregator", instance=settings.instance)
    specialties = load_specialties(settings.specialties)
    world = World(
        specialties=frozenset(specialties),
        workflows=load_workflows(specialties, settings.workflows),
        max_attachment_bytes=settings.max_attachment_bytes,
    )
    with Vitals(settings) as vitals:
        asyncio.run(topics_are_there(settings, specialties))
        from services.aggregator.app import Aggregator

        aggregator = Aggregator(
            settings=settings,
            codec=codec_of(settings),
            world=world,
            state_dir=settings.state_dir / settings.instance,
            count=count,
        )
        vitals.watch(aggregator.partitions)
        try:
            aggregator.application.run()
        except Exception:
            log.exception("the aggregator stops; what was not committed will be done again after the restart")
            sys.exit(1)


if __name__ == "__main__":
    main()
