"""Worker processes as deployed, with the real local engines."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from hocket.contracts.records import Heartbeat, Progress, Result, Task
from hocket.contracts.topics import Topics
from hocket.local.process import free_ports
from hocket.runtime.settings import Settings
from tests.support.kafka import Service, producing, read, running, send

pytestmark = pytest.mark.kafka


def wait_for(url: str, status: int, seconds: float = 90) -> bytes:
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                found, body = answer.status, answer.read()
        except urllib.error.HTTPError as e:
            found, body = e.code, b""
            e.close()
        except OSError:
            found, body = 0, b""
        if found == status:
            return body
        assert time.monotonic() < end, f"{url} says {found}"
        time.sleep(0.1)


def task(request_id: str, specialty: str, **more: Any) -> Task:
    return Task(
        request_id=request_id,
        task_id="mood",
        specialty=specialty,
        instruction="How does the writer feel?",
        text="This is wonderful, I love it. Thank you!",
        dispatched_at=int(time.time() * 1000),
        **more,
    )


async def test_a_worker_process_does_real_work_and_ends_in_good_order(
    settings: Settings, topics_ready: Topics, tmp_path: Path
):
    [port] = free_ports(1)
    worker = Service(
        "services.workers",
        settings,
        tmp_path / "worker.log",
        "--specialty",
        "sentiment",
        "--specialty",
        "summarisation",
        HOCKET_INSTANCE="w1",
        HOCKET_HTTP_PORT=str(port),
    )
    with running(worker):
        async with producing(settings) as producer:
            for one in (task("r0", "sentiment"), task("r1", "summarisation", options="not JSON")):
                await send(producer, topics_ready.tasks(one.specialty), one)
        results = await read(settings, topics_ready.results, Result, until=lambda r: len(r) == 2)
        told = await read(settings, topics_ready.progress, Progress, until=lambda p: len(p) == 4)
        beats = await read(settings, topics_ready.heartbeats, Heartbeat, until=lambda b: any(x.completed for x in b))
        assert json.loads(wait_for(f"http://127.0.0.1:{port}/ready", 200))["checks"] == {
            "sentiment": True,
            "summarisation": True,
        }
        page = wait_for(f"http://127.0.0.1:{port}/metrics", 200).decode()
        assert worker.stop() == 0, worker.tail()
    by_specialty = {r.specialty: r for r in results}
    mood = by_specialty["sentiment"]
    assert (mood.status, mood.engine, mood.worker) == ("completed", "local", "w1/sentiment"), worker.tail()
    assert mood.output is not None
    assert "positive" in (mood.output.data or "")
    failed = by_specialty["summarisation"]
    assert failed.error is not None, worker.tail()
    assert (failed.status, failed.error.kind) == ("failed", "bad_input")
    assert {p.kind for p in told if p.request_id == "r0"} == {"assigned", "completed"}
    assert {b.worker for b in beats} == {"w1/sentiment", "w1/summarisation"}
    assert 'hocket_tasks_completed_total{specialty="sentiment"} 1.0' in page


def test_a_specialty_that_does_not_exist_is_named(settings: Settings, tmp_path: Path):
    worker = Service("services.workers", settings, tmp_path / "w.log", "--specialty", "alchemy")
    with running(worker):
        assert worker.process is not None
        assert worker.process.wait(30) == 1
    assert "there is no specialty alchemy" in worker.tail()


def test_it_must_be_told_what_to_work_on(settings: Settings, tmp_path: Path):
    worker = Service("services.workers", settings, tmp_path / "w.log", HOCKET_SPECIALTY="")
    with running(worker):
        assert worker.process is not None
        assert worker.process.wait(30) == 2
    assert "--specialty NAME" in worker.tail()
