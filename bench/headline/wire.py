"""The same systems on real parts: both SDKs over loopback against the simulated provider, on a real clock, sped up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bench.headline.oracle import BenchHooks, warm
from bench.headline.provider import Desk, Planned
from bench.headline.simulate import Figures, figures
from bench.headline.systems import BenchEngines, Runner, System, specialties_for
from bench.headline.workload import Asked
from bench.headline.world import World
from hocket.llm.anthropic import Anthropic
from hocket.llm.catalogue import Entry
from hocket.llm.models import Models, _biller
from hocket.llm.openai import OpenAI
from hocket.llm.tuning import Tuning
from hocket.llm.vitals import Vitals
from hocket.llm.wire import Endpoint
from hocket.runtime import clock
from tests.support.simulated import Reply, SimulatedProvider, prompt_of


def _prefix_chars(request: dict[str, Any]) -> int:
    if request["api"] == "anthropic":
        tool = request["tools"][0]["input_schema"]
        return sum(len(b["text"]) for b in request["system"]) + len(json.dumps(tool))
    system = next(m["content"] for m in request["messages"] if m["role"] == "system")
    if "response_format" in request:
        return len(system) + len(json.dumps(request["response_format"]["json_schema"]["schema"]))
    return len(system) + len(json.dumps(request["tools"][0]["function"]["parameters"]))


def _reply(world: World, planned: Planned, speed: float) -> Reply:
    delay = planned.after_ms / 1000 / speed
    match planned.failure:
        case "rate_limited":
            rest = str(round(world["errors"]["retry_after_ms"] / speed))
            return Reply(status=429, code="rate_limit_error", headers={"retry-after-ms": rest}, delay_s=delay)
        case "overloaded":
            return Reply(status=529, code="overloaded_error", delay_s=delay)
        case "dropped":
            return Reply(drop=True, delay_s=delay)
    tokens = planned.tokens
    return Reply(
        data=planned.data,
        delay_s=delay,
        input_tokens=tokens.input,
        cached_tokens=tokens.cached,
        output_tokens=tokens.output,
    )


class Billing:
    """The provider's script: how each call goes, billed when it has ended, by whoever ended it."""

    def __init__(self, desk: Desk, world: World, speed: float) -> None:
        self._desk, self._world, self._speed = desk, world, speed

    async def __call__(self, request: dict[str, Any]) -> Reply:
        planned = self._desk.plan(request["model"], _prefix_chars(request), prompt_of(request))
        reply = _reply(self._world, planned, self._speed)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            await asyncio.sleep(reply.delay_s)
        except asyncio.CancelledError:
            self._desk.bill(planned, "cancelled", min(1.0, (loop.time() - begun) / max(reply.delay_s, 1e-9)))
            raise
        self._desk.bill(planned, planned.failure or "done", 0.0 if planned.failure == "dropped" else 1.0)
        return Reply(**{**vars(reply), "delay_s": 0.0})


def _models(system: System, entries: Sequence[Entry], env: dict[str, str], speed: float) -> Models:
    types = {"anthropic": Anthropic, "openai": OpenAI}
    endpoints = {
        name: Endpoint(key=env[f"{name.upper()}_API_KEY"], base_url=env[f"{name.upper()}_BASE_URL"], allow_real=False)
        for name in system.providers
    }
    schedule_ms = tuple(max(1, round(ms / speed)) for ms in Tuning().schedule_ms)
    tuning = replace(system.tuning, schedule_ms=schedule_ms)
    providers = {n: types[n](e, bill=_biller(n, entries), now_ms=clock.now_ms) for n, e in endpoints.items()}
    return Models(providers=providers, entries=entries, tuning=tuning, vitals=Vitals(rules=tuning.rules))


async def on_the_wire(
    world: World, system: System, asked: Sequence[Asked], entries: Sequence[Entry], *, speed: float, rate: float
) -> Figures:
    """Runs the workload through the SDKs. `speed` divides the provider's times; `rate` is requests per real second.

    Times in the figures are multiplied back by `speed`, the machine's own work included.
    """
    loop = asyncio.get_running_loop()
    desk = Desk(world=world, entries=entries, asked=asked, caching=system.caching and system.hocket, now_s=loop.time)
    async with SimulatedProvider(Billing(desk, world, speed)) as provider:
        models = _models(system, entries, provider.env(), speed)
        for entry in entries:
            await models.ready(entry)
        steps = {s.case: s for a in asked for s in a.steps}
        hooks = BenchHooks(world, steps, checking=system.hocket and system.cascade)
        specialties = specialties_for(system)
        warm(hooks, specialties, steps.values())
        runner = Runner(
            world=world,
            system=system,
            models=models,
            now_ms=clock.now_ms,
            engines=BenchEngines(models, clock.now_ms, hooks, world["latency"]["local_ms"] / speed),
            hop_s=world["latency"]["hop_ms"] / 1000 / speed,
            specialties=specialties,
        )
        per_second = len(asked) / asked[-1].at_s
        done = await runner.all(asked, scale=rate / per_second)
        await runner.engines.close()
    for one in done:
        one.millis *= speed
    return figures(f"{system.name} (SDKs)", done, desk.log, entries)
