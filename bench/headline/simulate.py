"""One system on virtual time, and what came of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from bench.conditions import quantile
from bench.headline import clock
from bench.headline.oracle import BenchHooks
from bench.headline.provider import Billed, Desk, Within
from bench.headline.systems import BenchEngines, Done, Runner, System, specialties_for
from bench.headline.workload import Asked
from bench.headline.world import World
from hocket.llm.catalogue import Entry
from hocket.llm.models import Models


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one system reached. Costs are what the provider billed; `ledger_usd` is what Hocket's own ledgers say."""

    name: str
    requests: int
    usd: float
    ledger_usd: float
    p50: float
    p95: float
    p99: float
    calls: int
    small_calls: float
    below_frontier: float
    tasks: dict[str, float]
    quality: float
    flawless: float
    unanswered: int


def figures(name: str, done: Sequence[Done], log: Sequence[Billed], entries: Sequence[Entry]) -> Figures:
    """Sums up a run."""
    millis = [d.millis for d in done]
    rungs = Counter(b.rung for b in log)
    rung_of = {e.engine: e.alias for e in entries} | {"local": "local", "cache": "cache"}
    ended = Counter(rung_of.get(by or "", "failed") for d in done for by in d.by)
    return Figures(
        name=name,
        requests=len(done),
        usd=sum(b.cost_usd for b in log) / len(done),
        ledger_usd=sum(d.cost_usd for d in done) / len(done),
        p50=quantile(millis, 0.5),
        p95=quantile(millis, 0.95),
        p99=quantile(millis, 0.99),
        calls=len(log),
        small_calls=rungs["small"] / max(1, len(log)),
        below_frontier=1 - rungs["frontier"] / max(1, len(log)),
        tasks={rung: n / ended.total() for rung, n in ended.items()},
        quality=fmean(fmean(d.right) for d in done),
        flawless=fmean(all(d.right) for d in done),
        unanswered=sum(not d.by or d.by[-1] is None for d in done),
    )


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run's figures and all that they were made of."""

    figures: Figures
    done: list[Done]
    log: list[Billed]


def simulate(world: World, system: System, asked: Sequence[Asked], entries: Sequence[Entry]) -> Run:
    """Runs the workload on the system; takes seconds of real time for hours of virtual time."""

    async def main() -> Run:
        loop = asyncio.get_running_loop()
        desk = Desk(
            world=world,
            entries=entries,
            asked=asked,
            caching=system.caching and system.hocket,
            now_s=loop.time,
        )
        models = Models(
            providers={name: Within(name, desk, clock.now_ms) for name in system.providers},
            entries=entries,
            tuning=system.tuning,
        )
        steps = {s.case: s for a in asked for s in a.steps}
        hooks = BenchHooks(world, steps, checking=system.hocket and system.cascade)
        runner = Runner(
            world=world,
            system=system,
            models=models,
            now_ms=clock.now_ms,
            engines=BenchEngines(models, clock.now_ms, hooks, world["latency"]["local_ms"]),
            hop_s=world["latency"]["hop_ms"] / 1000,
            specialties=specialties_for(system),
        )
        done = await runner.all(asked)
        await runner.engines.close()
        return Run(figures=figures(system.name, done, desk.log, entries), done=done, log=desk.log)

    return clock.run(main())
