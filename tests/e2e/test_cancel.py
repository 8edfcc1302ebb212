"""`hocket cancel` reaches a running model call and closes its connection; what waits of the request never starts."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from hocket.cli.ask import run_cancel
from hocket.cli.base import Output
from hocket.contracts.records import Result, Task
from hocket.contracts.topics import Topics
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings
from tests.support.kafka import Service, producing, read, running, send
from tests.support.simulated import Reply, SimulatedProvider, prompt_of

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

MOOD = {"label": "neutral", "score": 0.0, "intensity": "low", "language": "en"}


def script(asked: dict[str, Any]) -> Reply:
    return Reply(data=MOOD, delay_s=30.0 if "Slowly" in prompt_of(asked) else 0.0)


def task(request_id: str, task_id: str, instruction: str) -> Task:
    return Task(
        request_id=request_id,
        task_id=task_id,
        specialty="sentiment",
        instruction=instruction,
        text="Fine.",
        strategy="best",
        dispatched_at=now_ms(),
    )


async def test_a_cancelled_request_stops_costing_at_once(
    settings: Settings, topics_ready: Topics, tmp_path: Path
) -> None:
    async with SimulatedProvider(script) as provider:
        worker = Service(
            "services.workers",
            settings,
            tmp_path / "worker.log",
            "--specialty",
            "sentiment",
            HOCKET_CONCURRENCY="1",
            **(provider.env("anthropic") | {"HOCKET_PROVIDERS": "anthropic"}),
        )
        with running(worker):
            async with producing(settings) as producer:
                topic = topics_ready.tasks("sentiment")
                await send(producer, topic, *(task("doomed", f"t{i}", "Slowly.") for i in range(3)))
                async with asyncio.timeout(30):
                    while not provider.log:
                        await asyncio.sleep(0.01)
                began = time.time()
                await asyncio.to_thread(
                    run_cancel, settings, "doomed", reason="enough", now_ms=now_ms(), output=Output.json
                )
                written = time.time()
                async with asyncio.timeout(30):
                    while provider.log[0].ended_at is None:
                        await asyncio.sleep(0.005)
                closed = provider.log[0].ended_at
                await send(producer, topic, task("wanted", "t", "Quickly."))
                done = await read(
                    settings,
                    topics_ready.results,
                    Result,
                    until=lambda r: any(x.request_id == "wanted" for x in r),
                    settle=1,
                )
    assert provider.log[0].outcome == "cancelled", worker.tail()
    assert [prompt for x in provider.log[1:] if "Slowly" in (prompt := prompt_of(x.request))] == []
    assert [r.status for r in done if r.request_id == "wanted"] == ["completed"], worker.tail()
    print(
        f"cancel begun to closed {1000 * (closed - began):.0f} ms; written to closed {1000 * (closed - written):.0f} ms"
    )
    assert closed - written < 10
