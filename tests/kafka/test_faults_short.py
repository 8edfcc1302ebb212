"""The short form of the fault suite (`make faults` is the long one): the same faults, the same oracle, a minute in
all.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest

from hocket.core.donemap import DoneMap
from hocket.kafka.desk import MAX_DELIVERIES
from hocket.local.broker import EmbeddedBroker
from tests.support import faults
from tests.support.ground import fresh, open_ground
from tests.support.oracle import Call, Hit, Verdict, judge, read_ledger

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def assert_nothing_lost(verdict: Verdict) -> None:
    """Nothing is lost, and only what the fault hit is called again."""
    print(verdict)
    assert verdict.lost == 0, verdict
    assert verdict.extra_elsewhere == 0, verdict


def assert_nothing_repeated(verdict: Verdict) -> None:
    """A planned change: nobody died, so nothing is called again."""
    assert_nothing_lost(verdict)
    assert verdict.extra == 0, verdict


async def test_kill_9_loses_nothing_and_the_work_goes_on_elsewhere(broker: EmbeddedBroker, tmp_path: Path):
    settings = fresh(broker.bootstrap, tmp_path, concurrency=32)
    async with open_ground(settings, tmp_path) as ground:
        tasks = faults.load(700, (0.3, 1.0), random.Random(1))
        await faults.kills(ground, tasks, every=8, rest=0.5)
        verdict = await ground.verdict()
    assert_nothing_lost(verdict)
    assert max(verdict.recoveries) <= 30, "how soon is for bench.runtime_recovery to say; here, that it is soon at all"


async def test_what_had_ended_when_its_worker_was_killed_is_not_called_again(
    own_broker: EmbeddedBroker, tmp_path: Path
):
    """The broker stands still, so no outcome can leave the process before it dies; it comes back on the same disk."""
    settings = fresh(own_broker.bootstrap, tmp_path, concurrency=32)
    async with open_ground(settings, tmp_path) as ground:
        ground.start("a")
        await ground.until_joined(1)
        await ground.put(*faults.load(100, (1.0, 1.0), random.Random(6)))
        async with asyncio.timeout(60):
            while len(read_ledger(ground.ledger)) < settings.concurrency:
                await asyncio.sleep(0.05)
        os.kill(own_broker.pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(60):
                while any(call.end is None for call in read_ledger(ground.ledger)):
                    await asyncio.sleep(0.1)
            ground.workers["a"].kill()
        finally:
            os.kill(own_broker.pid, signal.SIGCONT)
        ground.start("a")
        assert await ground.until_done(faults.PATIENCE_S)
        verdict = await ground.verdict()
    assert_nothing_repeated(verdict)
    assert max(ground.results.values()) == 1, "none of the outcomes is there twice"


async def test_a_pause_beyond_the_session_timeout_and_a_task_that_kills_its_worker(
    broker: EmbeddedBroker, tmp_path: Path
):
    """Side by side, on topics of their own: both mostly wait."""

    async def paused() -> Verdict:
        async with open_ground(fresh(broker.bootstrap, tmp_path, concurrency=16), tmp_path) as ground:
            tasks = faults.load(400, (0.3, 1.0), random.Random(2))
            await faults.pauses(ground, tasks, times=1)
            return await ground.verdict()

    async def poisoned() -> tuple[Verdict, int, list[tuple[str, str]]]:
        async with open_ground(fresh(broker.bootstrap, tmp_path, concurrency=8, partitions=2), tmp_path) as ground:
            tasks = faults.load(60, (0.05, 0.2), random.Random(3))
            died = await faults.poison(ground, tasks, "victim", after=0.3, deaths=MAX_DELIVERIES + 2)
            letters = [(d.kind, (d.key or b"").decode()) for d in await ground.dead_letters()]
            return await ground.verdict(), died, letters

    pause, (poison, died, letters) = await asyncio.gather(paused(), poisoned())
    assert_nothing_lost(pause)
    assert_nothing_lost(poison)
    assert died == MAX_DELIVERIES
    assert [key for _, key in letters] == ["killer"]


async def test_a_killed_broker_holds_the_work_up_and_loses_nothing(own_broker: EmbeddedBroker, tmp_path: Path):
    async with open_ground(fresh(own_broker.bootstrap, tmp_path, concurrency=16), tmp_path) as ground:
        tasks = faults.load(400, (0.3, 1.0), random.Random(4))
        await faults.broker_restarts(ground, tasks, own_broker, times=1)
        verdict = await ground.verdict()
    assert_nothing_lost(verdict)


async def test_joining_and_leaving_in_turns_loses_nothing(broker: EmbeddedBroker, tmp_path: Path):
    async with open_ground(fresh(broker.bootstrap, tmp_path, concurrency=64), tmp_path) as ground:
        tasks = faults.load(400, (2.0, 3.0), random.Random(5))
        changes = await faults.storm(ground, tasks, every=2, seconds=10)
        verdict = await ground.verdict()
    assert changes >= 3
    assert_nothing_repeated(verdict)


async def test_a_rolling_restart_of_busy_workers_repeats_no_call(broker: EmbeddedBroker, tmp_path: Path):
    async with open_ground(fresh(broker.bootstrap, tmp_path, concurrency=16), tmp_path) as ground:
        tasks = faults.load(700, (0.5, 2.0), random.Random(6))
        await faults.rolling(ground, tasks, rounds=1)
        verdict = await ground.verdict()
    assert_nothing_repeated(verdict)


def test_the_oracle_sees_what_is_lost_and_what_is_paid_twice(tmp_path: Path):
    calls = [
        Call(task="a", pid=1, partition=0, offset=0, start=1.0, end=2.0),
        Call(task="b", pid=1, partition=0, offset=1, start=1.0),
        Call(task="b", pid=2, partition=0, offset=1, start=5.0, end=6.0),
        Call(task="c", pid=2, partition=0, offset=2, start=5.0, end=6.0),
        Call(task="c", pid=2, partition=0, offset=2, start=7.0, end=8.0),
    ]
    verdict = judge("abcd", ["a", "b", "c", "c", "foreign"], calls, [Hit(at=1.5, pid=1), Hit(at=9.0, pid=2)])
    assert (verdict.tasks, verdict.lost, verdict.results, verdict.calls, verdict.extra) == (4, 1, 4, 5, 2)
    assert verdict.in_flight_at_hits == 2
    assert verdict.recoveries == [3.5]
    assert verdict.extra_elsewhere == 1
    torn = tmp_path / "ledger"
    torn.write_text("S a 1 0 7 1000000000\nS b 1 0 8 1000000000\nE a 1 0 7 2000000000\n")
    assert [(c.offset, c.end) for c in read_ledger(torn)] == [(7, 2.0), (8, None)]


def test_the_oracle_excuses_what_the_group_did_not_know_and_nothing_else():
    calls = [
        Call(task="known", pid=1, partition=0, offset=4, start=1.0, end=2.0),
        Call(task="known", pid=2, partition=0, offset=4, start=5.0, end=6.0),
        Call(task="above", pid=1, partition=0, offset=6, start=1.0, end=2.0),
        Call(task="above", pid=2, partition=0, offset=6, start=5.0, end=6.0),
        Call(task="untold", pid=1, partition=0, offset=5, start=1.0, end=2.9),
        Call(task="untold", pid=2, partition=0, offset=5, start=5.0, end=6.0),
    ]
    told = {0: DoneMap(base=5, top=7, open={5: None})}
    verdict = judge(["known", "above", "untold"], [], calls, [Hit(at=3.0, pid=1, committed=told)])
    assert (verdict.in_flight_at_hits, verdict.uncommitted, verdict.extra_elsewhere) == (0, 1, 2)
    assert verdict.uncommitted_s == pytest.approx(0.1)
