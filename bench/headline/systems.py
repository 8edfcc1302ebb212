"""The systems side by side: a monolith, naive parallelism, and Hocket with its levers, all by the real asking code."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.headline.oracle import BenchHooks, verdict, work_of
from bench.headline.workload import Asked, Step
from bench.headline.world import RUNGS, World
from hocket.contracts.records import PlannedTask, Task
from hocket.contracts.specialties import Specialty, load_specialties
from hocket.core.work import Input
from hocket.llm.models import Models
from hocket.llm.tuning import Tuning
from services.planner.service import Planner
from services.workers.engine import Engines, Outcome

DEADLINE_MS = 120_000
CACHE_SECONDS = 3_600
LADDERS = {
    "extraction": ("local", *RUNGS),
    "analysis": ("local", *RUNGS),
    "summarisation": RUNGS,
    "sentiment": RUNGS,
    "research": RUNGS,
    "writing": RUNGS,
    "code": ("frontier", "middle"),
    "synthesis": ("local", "frontier", "middle"),
}
"""What this benchmark's specialty.toml files would say; docs/headline.md tells why they differ from those shipped."""


@dataclass(frozen=True, kw_only=True)
class System:
    """What is switched on. `hocket` False: frontier calls only, no check, no planning call, no Kafka hop.

    `hedging`: the learned percentile of a model's times after which another is asked beside it; None: never.
    """

    name: str
    hocket: bool = True
    parallel: bool = True
    cascade: bool = True
    caching: bool = True
    hedging: float | None = 0.05
    second_opinion: bool = True
    fast_planning: bool = True
    local: bool = True
    skip: bool = True
    shipped: bool = False
    providers: tuple[str, ...] = ("anthropic", "openai")

    @property
    def tuning(self) -> Tuning:
        """What an operator would set."""
        return Tuning(hedge=self.hedging, second_opinion=self.second_opinion)

    @property
    def levers(self) -> str:
        """One letter for each that is on; see SETTINGS of the command."""
        mine = self.hocket
        on = {
            "p": self.parallel,
            "c": mine and self.cascade,
            "k": mine and self.caching,
            "H" if self.hedging == 0.95 else "h": mine and self.hedging is not None,
            "o": mine and self.second_opinion,
            "f": mine and self.fast_planning,
            "l": mine and self.local,
            "s": mine and self.skip,
        }
        return "".join(letter if is_on else "-" for letter, is_on in on.items())


@dataclass(kw_only=True)
class Done:
    """One answered request. `right` has an entry per scored step; `by` an engine (or None) per step."""

    asked: Asked
    millis: float
    right: list[bool]
    by: list[str | None]
    cost_usd: float


def specialties_for(system: System) -> dict[str, Specialty]:
    """The specialties with the ladders that the system's levers leave."""
    found = {}
    for name, specialty in load_specialties().items():
        if name not in LADDERS:
            continue
        ladder = specialty.ladder["balanced"] if system.shipped else LADDERS[name]
        models = tuple(r for r in ladder if r != "local")
        if not system.hocket or not system.cascade:
            models = ("frontier",)
        locals_on = system.skip if name == "synthesis" else system.local
        has_local = system.hocket and locals_on and "local" in ladder
        found[name] = replace(
            specialty,
            ladder={"balanced": (("local",) if has_local else ()) + models},
            # A folder without local.py: an engine that a lever takes away must not come back as the last resort.
            folder=specialty.folder if has_local else Path(__file__).parent,
            cache_seconds=CACHE_SECONDS if system.caching and system.hocket else 0,
        )
    return found


class BenchEngines(Engines):
    """The workers' engines. With `local_ms`, blocking work runs at once and a local engine takes that long instead."""

    def __init__(self, models: Models, now_ms: Callable[[], int], hooks: BenchHooks, local_ms: float | None) -> None:
        super().__init__(models, now_ms)
        self.hooks = hooks
        self._local_ms = local_ms

    async def in_thread(self, work: Callable[[], Any]) -> Any:
        """See Engines."""
        if self._local_ms is None:
            return await super().in_thread(work)
        if getattr(work, "__name__", "") == "_run_local":
            await asyncio.sleep(self._local_ms / 1000)
        return work()


@dataclass(kw_only=True)
class Runner:
    """Runs requests on one system. `hop_s` is what each Kafka hop costs, in the loop's own time."""

    world: World
    system: System
    models: Models
    now_ms: Callable[[], int]
    engines: BenchEngines
    hop_s: float
    specialties: Mapping[str, Specialty] = field(default_factory=dict)
    done: list[Done] = field(default_factory=list)

    async def all(self, asked: Sequence[Asked], scale: float = 1.0) -> list[Done]:
        """All requests, each at its time divided by `scale`; waits for the last answer."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        tasks = []
        for one in asked:
            await asyncio.sleep(max(0.0, begun + one.at_s / scale - loop.time()))
            tasks.append(asyncio.create_task(self._request(one)))
        await asyncio.gather(*tasks)
        return self.done

    async def _request(self, asked: Asked) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        by_id = {s.task_id: s for s in asked.steps}
        needs, spent = {s.task_id: s.needs for s in asked.steps}, 0.0
        await self._hops(1)
        if asked.open and self.system.hocket:
            tasks, spent = await self._planned(asked)
            needs = {t.task_id: t.depends_on for t in tasks}
            by_id |= {t.task_id: _added(t, asked) for t in tasks if t.task_id not in by_id}
        outcomes = await self._tasks({i: by_id[i] for i in needs}, needs)
        await self._hops(1)
        self.done.append(
            Done(
                asked=asked,
                millis=1000 * (loop.time() - started),
                right=[self._is_right(s, outcomes.get(s.task_id)) for s in asked.steps if s.scored],
                by=[_by(o) for o in outcomes.values()],
                cost_usd=spent + sum(u.cost_usd or 0 for o in outcomes.values() for u in o.usage),
            )
        )

    async def _hops(self, number: int) -> None:
        if self.system.hocket:
            await asyncio.sleep(number * self.hop_s)

    async def _planned(self, asked: Asked) -> tuple[tuple[PlannedTask, ...], float]:
        planner = Planner(
            specialties=self.specialties,
            workflows={},
            models=self.models,
            plans_topic="-",
            worker="bench",
            now_ms=self.now_ms,
        )
        task = Task(
            request_id=asked.request_id,
            task_id="plan",
            specialty="planning",
            instruction="Plan the request.",
            text=asked.text,
            strategy="fast" if self.system.fast_planning else "balanced",
            deadline=self.now_ms() + DEADLINE_MS,
            dispatched_at=self.now_ms(),
        )
        await self._hops(2)
        plan = await planner.plan(task)
        return plan.tasks, sum(u.cost_usd or 0 for u in plan.usage)

    async def _tasks(self, steps: Mapping[str, Step], needs: Mapping[str, Sequence[str]]) -> dict[str, Outcome]:
        if not self.system.parallel:
            done: dict[str, Outcome] = {}
            for task_id in steps:
                done[task_id] = await self._task(steps[task_id], needs[task_id], steps, done)
            return done
        running: dict[str, asyncio.Task[Outcome]] = {}

        async def when_ready(task_id: str) -> Outcome:
            before = {d: await running[d] for d in needs[task_id]}
            return await self._task(steps[task_id], needs[task_id], steps, before)

        for task_id in steps:
            running[task_id] = asyncio.create_task(when_ready(task_id))
        return {task_id: await task for task_id, task in running.items()}

    async def _task(
        self, step: Step, needs: Sequence[str], steps: Mapping[str, Step], done: Mapping[str, Outcome]
    ) -> Outcome:
        inputs = []
        for d in needs:
            output = done[d].output
            if output is not None:
                inputs.append(Input(task_id=d, specialty=steps[d].kind, output=output))
        work = work_of(step, tuple(inputs))
        if not self.system.hocket:
            work = replace(work, options={})
        await self._hops(2)
        deadline = self.now_ms() + DEADLINE_MS
        return await self.engines.run(self.specialties[step.kind], work, strategy="balanced", deadline_ms=deadline)

    def _is_right(self, step: Step, outcome: Outcome | None) -> bool:
        if outcome is None or outcome.output is None:
            return False
        return verdict(self.world, step, outcome.output)[1]


def _by(outcome: Outcome) -> str | None:
    """The engine that a task ended with; `cache` if it was asked before; None if it failed."""
    return None if outcome.output is None else "cache" if outcome.cache_hits else outcome.engine


def _added(task: PlannedTask, asked: Asked) -> Step:
    """A task that the plan's compiler added, such as a closing synthesis."""
    case = f"{asked.steps[0].case.partition('.')[0]}.{task.task_id}.{task.specialty}"
    return Step(
        task_id=task.task_id,
        kind=task.specialty,
        case=case,
        instruction=f"{task.instruction} case={case}",
        needs=task.depends_on,
    )
