"""The watch on the fleet, on a real broker."""

from __future__ import annotations

import asyncio
import time

import pytest

from hocket.contracts.records import Heartbeat, Progress
from hocket.contracts.topics import Topics
from hocket.kafka.client import partition_of
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings
from services.aggregator.fleet_watch import FleetWatch
from tests.support.kafka import CODEC, producing

pytestmark = pytest.mark.kafka


async def test_heartbeats_and_signs_of_life_are_seen(settings: Settings, topics_ready: Topics) -> None:
    """Heartbeats of all, signs of those tasks whose rows are held here; both are kept at the time they were read."""
    watch, begin = FleetWatch(settings, CODEC), now_ms()
    mine = frozenset({partition_of(b"r1", settings.partitions)})
    other = next(f"r{n}" for n in range(2, 99) if partition_of(f"r{n}".encode(), settings.partitions) not in mine)
    with watch.following(lambda: mine):
        async with producing(settings) as producer:
            end = time.monotonic() + 20
            while not (watch.view().specialties and watch.view().signs):
                assert time.monotonic() < end
                beat = Heartbeat(worker="w", service="worker", specialty="code", started_at=1, at=1, queued=3)
                await producer.send(topics_ready.heartbeats, CODEC.encode(beat, topics_ready.heartbeats), key=b"w")
                for request_id in ("r1", other):
                    told = Progress(request_id=request_id, task_id="t", kind="text", worker="w", text="x", at=1)
                    value = CODEC.encode(told, topics_ready.progress)
                    await producer.send(topics_ready.progress, value, key=request_id.encode())
                await asyncio.sleep(0.3)
    view = watch.view()
    assert (view.specialties["code"].workers, view.specialties["code"].queue) == (1, 3)
    assert set(view.signs) == {"r1/t"}
    assert begin <= view.signs["r1/t"] <= now_ms()
