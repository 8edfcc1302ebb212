"""Composition root of the aggregator."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Collection, Iterable

from hocket.contracts.specialties import Specialty, load_specialties
from hocket.contracts.workflows import load_workflows
from hocket.kafka.admin import KafkaUnreachable, TopicsError, check_joined, list_topics
from hocket.kafka.client import codec_of, topics_of
from hocket.kafka.log import KafkaRefused
from hocket.runtime import tracing
from hocket.runtime.lifecycle import collect_rarely, read_settings, start_tracing
from hocket.runtime.logs import setup_logs
from hocket.runtime.settings import Settings
from services.aggregator.admission import World
from services.aggregator.vitals import Vitals, count

log = logging.getLogger(__name__)


async def topics_are_there(settings: Settings, specialties: Collection[str]) -> None:
    """Waits until all topics exist, the joined ones with one partition count; says what is missing.

    Raises KafkaUnreachable when no broker answers for long, KafkaRefused when none lets us in.
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


def local_first(specialties: Iterable[Specialty]) -> dict[str, frozenset[str]]:
    """For each strategy, the specialties whose ladder begins with their local engine."""
    found: dict[str, frozenset[str]] = {}
    for s in specialties:
        for strategy, rungs in s.ladder.items():
            if s.has_local and rungs[:1] == ("local",):
                found[strategy] = found.get(strategy, frozenset()) | {s.name}
    return found


def main() -> None:
    """Runs the aggregator until SIGTERM; exits with 1 when it cannot go on, for its supervisor to restart it."""
    settings = read_settings()
    setup_logs(settings, service="aggregator", instance=settings.instance)
    # A container's first process is spared signals that it has no handler for. Quix takes SIGTERM over when it runs.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    specialties = load_specialties(settings.specialties)
    world = World(
        specialties=frozenset(specialties),
        workflows=load_workflows(specialties, settings.workflows),
        max_attachment_bytes=settings.max_attachment_bytes,
        tenant_caps=settings.tenant_daily_usd,
        session_ttl_s=settings.session_ttl,
        done_marker_ms=settings.done_marker * 1000,
        local=local_first(specialties.values()) if settings.bundles else {},
    )
    start_tracing("aggregator", settings)
    with Vitals(settings) as vitals:
        try:
            asyncio.run(topics_are_there(settings, specialties))
        except (KafkaUnreachable, KafkaRefused) as e:
            log.critical("the aggregator stops: %s", e)
            sys.exit(1)
        try:
            _join(settings, world, vitals)
        except Exception:
            log.exception("the aggregator stops; what was not committed will be done again after the restart")
            sys.exit(1)
        finally:
            tracing.stop()


def _join(settings: Settings, world: World, vitals: Vitals) -> None:
    """Runs the join, the alarm clock and the watch until SIGTERM. Raises when one of them cannot go on."""
    from services.aggregator.alarm import Alarm
    from services.aggregator.app import Aggregator
    from services.aggregator.fleet_watch import FleetWatch

    codec = codec_of(settings)
    watch = FleetWatch(settings, codec)
    aggregator = Aggregator(
        settings=settings,
        codec=codec,
        world=world,
        state_dir=settings.state_dir / settings.instance,
        count=count,
        fleet=watch.view,
    )
    alarm = Alarm(settings, codec, owned=aggregator.owned, on_crash=aggregator.application.stop)
    vitals.watch(aggregator.partitions, aggregator.totals, aggregator.moving)
    collect_rarely()
    with watch.following(aggregator.owned), alarm:
        aggregator.application.run()
    if alarm.crashed:
        raise RuntimeError("the alarm clock crashed, see above")


if __name__ == "__main__":
    main()
