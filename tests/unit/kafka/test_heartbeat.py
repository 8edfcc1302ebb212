from __future__ import annotations

import asyncio

import pytest
from prometheus_client import generate_latest

from hocket.contracts.codec import Codec
from hocket.contracts.records import Heartbeat
from hocket.contracts.topics import Topics
from hocket.kafka.heartbeat import Heartbeats, host
from hocket.kafka.runtime import Runtime, StreamPoisonedError
from hocket.runtime import metrics
from hocket.runtime.settings import Settings
from hocket.testing.log import FakeLog

TOPICS = Topics("t-")
CODEC = Codec()


def runtime(log: FakeLog, specialty: str) -> Runtime:
    async def handle(*_: object) -> list[object]:
        return []

    topic = TOPICS.tasks(specialty)
    return Runtime(
        settings=Settings(grace_seconds=1),
        topics=TOPICS,
        codec=CODEC,
        topic=topic,
        group=specialty,
        service="planner" if specialty == "planning" else "worker",
        worker=f"host/{specialty}",
        handler=handle,  # type: ignore[arg-type]
        on_crash=lambda *_: [],
        producer=log.producer(),
        consumer=log.consumer(topic, specialty),
        clock=lambda: 5,
    )


def beats_of(log: FakeLog) -> list[Heartbeat]:
    return [CODEC.decode(r.value, Heartbeat) for r in log.records(TOPICS.heartbeats)]


async def test_every_runtime_reports_itself_until_it_has_drained():
    log, stop = FakeLog(partitions=2), asyncio.Event()
    runtimes = [runtime(log, "writing"), runtime(log, "planning")]
    heartbeats = Heartbeats(runtimes, producer=log.producer(), codec=CODEC, topics=TOPICS, clock=lambda: 5)
    hosted = asyncio.create_task(host(runtimes, heartbeats, stop))
    async with asyncio.timeout(30):
        while not all(r.joined for r in runtimes):
            await asyncio.sleep(0.01)
        await heartbeats.beat()
    stop.set()
    await hosted
    by_worker = {b.worker: b for b in beats_of(log) if b.state == "running" and b.partitions}
    assert set(by_worker) == {"host/writing", "host/planning"}
    writing = by_worker["host/writing"]
    assert (writing.service, writing.specialty) == ("worker", "writing")
    assert writing.partitions == ("t-tasks-writing/0", "t-tasks-writing/1")
    assert by_worker["host/planning"].specialty is None
    assert {r.key for r in log.records(TOPICS.heartbeats)} == {b"host/writing", b"host/planning"}
    assert "draining" in {b.state for b in beats_of(log)}


async def test_when_one_runtime_fails_all_stop_and_its_error_is_raised():
    log = FakeLog(partitions=1)
    for i in range(100):
        log.append(TOPICS.tasks("writing"), b"k", b"rubbish %d" % i)
    runtimes = [runtime(log, "writing"), runtime(log, "planning")]
    heartbeats = Heartbeats(runtimes, producer=log.producer(), codec=CODEC, topics=TOPICS, clock=lambda: 5)
    with pytest.raises(StreamPoisonedError):
        await host(runtimes, heartbeats, asyncio.Event())
    assert log.group("planning").members == []
    assert log.group("writing").members == []


async def test_a_beat_tells_what_was_done_lately_and_prometheus_the_same() -> None:
    log, now = FakeLog(partitions=1), 0
    mine = runtime(log, "tallied")
    heartbeats = Heartbeats([mine], producer=log.producer(), codec=CODEC, topics=TOPICS, clock=lambda: now)
    await heartbeats.beat()
    for seconds in (0.02, 0.04, 0.04, 9.0):
        metrics.SECONDS.labels("tallied").observe(seconds)
    metrics.RATE_LIMITED.labels("openai/m").inc()
    now = 2_000
    await heartbeats.beat()
    quiet, busy = beats_of(log)
    assert (quiet.p50_millis, quiet.rate_limited) == (None, False)
    assert busy.p50_millis is not None and 20 <= busy.p50_millis <= 50
    assert busy.p95_millis is not None and 7_500 <= busy.p95_millis <= 10_000
    assert busy.rate_limited
    shown = generate_latest().decode()
    assert f'hocket_task_p95_seconds{{specialty="tallied"}} {busy.p95_millis / 1000}' in shown
    assert 'hocket_worker_rate_limited{specialty="tallied"} 1.0' in shown
    assert 'hocket_task_error_rate{specialty="tallied"} NaN' in shown
