"""The aggregator as a process on a real broker: exactly one answer, whatever happens."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from hocket.contracts.records import Answer, Attachment, DeadLetter, Record, Task
from hocket.contracts.specialties import load_specialties
from hocket.contracts.topics import Topics
from hocket.kafka.admin import apply_topics
from hocket.runtime.settings import Settings
from tests.support.kafka import CODEC, ScriptedWorkers, Service, echo, producing, read, request, running, send
from tests.support.plans import diamond

pytestmark = pytest.mark.kafka


def aggregator(settings: Settings, folder: Path, name: str = "a0") -> Service:
    return Service("services.aggregator", settings, folder / f"{name}.log", HOCKET_INSTANCE=name)


def work(task: Task) -> Record | None:
    return diamond(task) if task.specialty == "planning" else echo(task)


SPECIALTIES = ("planning", "extraction", "synthesis")


async def test_a_request_is_planned_worked_and_answered_once(
    settings: Settings, topics_ready: Topics, tmp_path: Path
) -> None:
    with running(aggregator(settings, tmp_path)):
        async with ScriptedWorkers(settings, SPECIALTIES, work), producing(settings) as producer:
            await send(producer, topics_ready.requests, request(1), request(1), request(2))
            answers = await read(settings, topics_ready.answers, Answer, until=lambda a: len(a) >= 2, settle=1)
    assert sorted((a.request_id, a.status, a.content) for a in answers) == [
        ("r1", "completed", "z(t0,t1,t2)"),
        ("r2", "completed", "z(t0,t1,t2)"),
    ]


async def test_bad_input_harms_only_itself(settings: Settings, topics_ready: Topics, tmp_path: Path) -> None:
    topics = topics_ready
    wrong_type = CODEC.encode(diamond(echo_task()), topics.plans)
    with running(aggregator(settings, tmp_path)):
        async with ScriptedWorkers(settings, SPECIALTIES, work), producing(settings) as producer:
            await producer.send_and_wait(topics.requests, b"not avro at all", key=b"x", headers=[("who", b"me")])
            await producer.send_and_wait(topics.requests, wrong_type, key=b"y")
            await producer.send_and_wait(topics.requests, None, key=b"z")
            await producer.send_and_wait(topics.results, b"\x00\x00\x00\x00\x07x", key=None)
            big = Attachment(name="big.bin", media_type="x/y", uri="file:///nowhere", size=10**9)
            await send(producer, topics.requests, request("big", attachments=(big,)), request("good"))
            answers = await read(settings, topics.answers, Answer, until=lambda a: len(a) >= 2)
            letters = await read(settings, topics.dead_letters, DeadLetter, until=lambda d: len(d) >= 4)
    status = {a.request_id: a.status for a in answers}
    assert status == {"rbig": "failed", "rgood": "completed"}
    by_value = {d.value: d for d in letters}
    assert by_value[b"not avro at all"].headers == {"who": b"me"}
    assert "expected a Request record, found hocket.Plan" in by_value[wrong_type].reason
    assert by_value[None].key == b"z"
    assert "HOCKET_REGISTRY_URL" in by_value[b"\x00\x00\x00\x00\x07x"].reason


def echo_task() -> Task:
    return Task(request_id="q", task_id="t", specialty="planning", instruction="-", dispatched_at=1)


async def test_a_record_in_a_wrong_partition_gets_the_right_answer(
    settings: Settings, topics_ready: Topics, tmp_path: Path
) -> None:
    topics = topics_ready
    async with producing(settings) as producer:
        for number in range(4):
            value = CODEC.encode(request(number), topics.requests)
            await producer.send_and_wait(topics.requests, value, key=f"r{number}".encode(), partition=number)
        await producer.send_and_wait(topics.requests, CODEC.encode(request("nokey"), topics.requests))
    with running(aggregator(settings, tmp_path)):
        async with ScriptedWorkers(settings, SPECIALTIES, work):
            answers = await read(settings, topics.answers, Answer, until=lambda a: len(a) >= 5, settle=1)
    assert Counter(a.request_id for a in answers) == Counter(["r0", "r1", "r2", "r3", "rnokey"])
    assert {a.status for a in answers} == {"completed"}


async def test_it_waits_for_its_topics_and_says_what_is_missing(
    broker: object, settings: Settings, tmp_path: Path
) -> None:
    service = aggregator(settings, tmp_path)
    with running(service):
        await eventually(lambda: "hocket topics apply" in service.tail())
        topics = Topics(settings.prefix)
        await apply_topics(settings, load_specialties())
        async with ScriptedWorkers(settings, SPECIALTIES, work), producing(settings) as producer:
            await send(producer, topics.requests, request(1))
            [answer] = await read(settings, topics.answers, Answer, until=bool)
    assert answer.status == "completed"


async def eventually(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.1)


async def test_a_hop_is_quick_though_other_topics_are_idle(
    settings: Settings, topics_ready: Topics, tmp_path: Path
) -> None:
    """Guards the time-alignment override: without it, idle topics cost every hop 1.5 s."""
    with running(aggregator(settings, tmp_path)):
        async with ScriptedWorkers(settings, SPECIALTIES, work) as workers, producing(settings) as producer:
            await send(producer, topics_ready.requests, request("warm"))
            await read(settings, topics_ready.answers, Answer, until=lambda a: len(a) >= 1)
            times = []
            for number in range(20):
                before, began = len(workers.seen), time.monotonic()
                await send(producer, topics_ready.requests, request(number))
                while len(workers.seen) == before:
                    await asyncio.sleep(0.002)
                times.append(time.monotonic() - began)
    assert statistics.median(times) < 0.5, times


@pytest.mark.slow
async def test_three_aggregators_two_killed_in_turn_under_load(
    settings: Settings, topics_ready: Topics, tmp_path: Path
) -> None:
    """30 requests/s for 20 s; nothing lost, nothing answered or dispatched twice."""
    total, rate = 600, 30
    services = [aggregator(settings, tmp_path, f"a{i}") for i in range(3)]
    rng = random.Random(7)
    with running(*services):
        async with ScriptedWorkers(settings, SPECIALTIES, work) as workers, producing(settings) as producer:
            began = time.monotonic()
            killer = asyncio.create_task(kill_in_turn(services, rng))
            for number in range(total):
                await send(producer, topics_ready.requests, request(number))
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            await killer
            answers = await read(
                settings, topics_ready.answers, Answer, until=lambda a: len(a) >= total, timeout=40, settle=2
            )
    counted = Counter(a.request_id for a in answers)
    assert len(counted) == total, f"lost {total - len(counted)}"
    assert set(counted.values()) == {1}, [i for i, n in counted.items() if n > 1]
    assert {a.content for a in answers} == {"z(t0,t1,t2)"}
    dispatched = Counter((t.request_id, t.task_id) for t in workers.seen)
    assert len(dispatched) == total * 5
    assert set(dispatched.values()) == {1}


async def kill_in_turn(services: list[Service], rng: random.Random) -> None:
    await asyncio.sleep(5)
    for victim in services[:2]:
        victim.kill()
        await asyncio.sleep(rng.uniform(0.5, 2))
        victim.start()
        await asyncio.sleep(5)


async def test_looking_at_what_it_holds_before_it_runs_makes_no_client(
    settings: Settings, topics_ready: Topics, tmp_path: Path
) -> None:
    """Quix makes its client when it is first asked for. Asked by the health page and the join at once, it made two, and
    the join polled the one that was not subscribed: an aggregator that was up and never got a partition."""
    from services.aggregator.admission import World
    from services.aggregator.app import Aggregator

    assert topics_ready.requests.startswith(settings.prefix)
    specialties = frozenset(load_specialties())
    made = await asyncio.to_thread(
        lambda: Aggregator(
            settings=settings,
            codec=CODEC,
            world=World(specialties=specialties, workflows={}),
            state_dir=tmp_path,
            count=lambda _event, _label: None,
        )
    )
    assert (made.partitions(), made.owned()) == ([], frozenset())
    assert not made.application._consumer.consumer_exists
