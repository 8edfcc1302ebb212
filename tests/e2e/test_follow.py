"""Followers of streamed text lose nothing and read nothing twice: the short form of `python -m bench.follow_faults`."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from hocket.contracts.records import Progress
from hocket.contracts.topics import Topics
from hocket.local.broker import EmbeddedBroker
from hocket.runtime.settings import Settings
from tests.support.kafka import read
from tests.support.streams import NOTHING, Verdict, kill_worker, open_rig, streaming

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]


def assert_whole(verdict: Verdict, readers: int) -> None:
    print(verdict)
    assert (verdict.readers, verdict.lost, verdict.repeated, verdict.mended) == (readers, 0, 0, 0)
    assert verdict.characters > 1_000 * readers


async def test_text_is_followed_live_at_a_bounded_rate(
    broker: EmbeddedBroker, settings: Settings, topics_ready: Topics, tmp_path: Path
) -> None:
    async with open_rig(broker, settings, tmp_path) as rig:
        reader = await rig.follow("mine")
        verdict = rig.verdict([reader])
    told = await read(settings, topics_ready.progress, Progress, until=lambda _: False, timeout=2)
    mine = [p for p in told if p.request_id == "mine" and p.task_id == "speech"]
    seconds = Counter(int(p.at / 1000) for p in mine)
    assert_whole(verdict, 1)
    assert reader.lines > 10, "it comes piece by piece"
    assert max(seconds.values()) <= 10
    assert [p.kind for p in mine if p.kind != "text"] == ["assigned", "completed"]


async def test_a_client_that_is_killed_goes_on_where_it_was(
    broker: EmbeddedBroker, settings: Settings, topics_ready: Topics, tmp_path: Path
) -> None:
    async with open_rig(broker, settings, tmp_path, words=600) as rig:
        reader = await rig.follow_killed("mine", random.Random(1), kills=3)
        verdict = rig.verdict([reader])
    assert_whole(verdict, 1)


async def test_a_killed_worker_costs_followers_nothing(
    broker: EmbeddedBroker, settings: Settings, topics_ready: Topics, tmp_path: Path
) -> None:
    total = NOTHING
    async with open_rig(broker, settings, tmp_path) as rig:
        for number in range(3):
            total += await streaming(rig, f"w{number}", 3, lambda: kill_worker(rig), after=0.5)
    assert_whole(total, 9)
