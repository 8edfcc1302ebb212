"""`hocket cost` measures what the newest requests really used."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from hocket.cli.base import Output
from hocket.cli.cost import DAYS, run_cost
from hocket.contracts.records import Plan, Result, Usage
from hocket.contracts.topics import Topics
from hocket.runtime.settings import Settings
from tests.support.kafka import producing, send

pytestmark = pytest.mark.kafka


async def test_the_newest_requests_are_measured(
    settings: Settings, topics_ready: Topics, capsys: pytest.CaptureFixture[str]
) -> None:
    def result(number: int, cost: float) -> Result:
        used = Usage(provider="p", model="m", input_tokens=10, output_tokens=5, cost_usd=cost)
        fields: dict[str, Any] = {"started_at": 1, "ended_at": 2, "worker": "w", "status": "completed"}
        return Result(request_id=f"r{number}", task_id="t", specialty="writing", usage=(used,), **fields)

    async with producing(settings) as producer:
        for number in range(8):
            await send(producer, topics_ready.results, result(number, 9.0 if number < 4 else 0.01))
        plan_usage = Usage(provider="p", model="big", cost_usd=0.04)
        plan = Plan(request_id="r7", source="llm", usage=(plan_usage,), worker="p", started_at=1, ended_at=2)
        await send(producer, topics_ready.plans, plan)
    await asyncio.to_thread(run_cost, settings, per_day=100, last=4, workload=None, output=Output.json)
    told = json.loads(capsys.readouterr().out)
    assert told["measured_requests"] == 4
    assert {x["specialty"]: x["usd"] for x in told["lines"]} == {
        "writing": pytest.approx(0.01 * 100 * DAYS),
        "planning": pytest.approx(0.01 * 100 * DAYS),
    }
