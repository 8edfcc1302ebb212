"""A seeded world around the pure join: workers answer in any order, twice, late; transactions abort; commands overtake.

The oracle recomputes each answer from the plan and the planned outcomes, without the join's code.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import Any

import pytest

from hocket.contracts.records import Control, Error, Output, Plan, PlannedTask, Request, Result
from services.aggregator.admission import World
from services.aggregator.join import Arrival, Dispatch, Reply, step
from services.aggregator.row import Row

SEEDS = int(os.environ.get("HOCKET_SEEDS", "400"))
WORLD = World(specialties={"s"}, workflows={})


def random_plan(rng: random.Random, rid: str) -> Plan:
    names = [f"t{i}" for i in range(rng.randint(1, 7))]
    tasks = [
        PlannedTask(
            task_id=name,
            specialty="s",
            instruction="-",
            depends_on=tuple(rng.sample(names[:i], rng.randint(0, min(i, 3)))),
            optional=rng.random() < 0.3 and i < len(names) - 1,
        )
        for i, name in enumerate(names)
    ]
    return Plan(
        request_id=rid, source="llm", tasks=tuple(tasks), output_task=names[-1], worker="p", started_at=0, ended_at=0
    )


def expected_complete(plan: Plan, good: dict[str, bool]) -> bool:
    """The oracle: does every required task complete when each runs as soon as its dependencies are settled?"""
    done: dict[str, bool] = {}
    for task in plan.tasks:  # listed in topological order
        needed = [d for d in task.depends_on if not next(t for t in plan.tasks if t.task_id == d).optional]
        done[task.task_id] = good[task.task_id] and all(done[d] for d in needed)
    return done[plan.output_task] and all(done[t.task_id] or t.optional for t in plan.tasks)


class Cluster:
    """One request's life: an inbox of records in flight, a committed row, effects that count only when committed."""

    def __init__(self, rng: random.Random, rid: str) -> None:
        self.rng, self.rid = rng, rid
        self.plan = random_plan(rng, rid)
        self.good = {t.task_id: rng.random() < 0.8 for t in self.plan.tasks}
        self.inbox: list[Any] = [Request(request_id=rid, text="x", submitted_at=0)]
        self.row: Row | None = None
        self.now = 0
        self.replies: list[Reply] = []
        self.dispatches: Counter[str] = Counter()
        self.cancelled = rng.random() < 0.1
        if self.cancelled:
            self.inbox.append(Control(request_id=rid, action="cancel", at=0))

    def run(self) -> None:
        while self.inbox:
            record = self.inbox.pop(self.rng.randrange(len(self.inbox)))
            self.now += 1
            row, effects = step(self.row, Arrival(key=self.rid, record=record, trace=""), self.now, WORLD)
            if self.rng.random() < 0.15:  # the transaction aborts: nothing happened, the record comes again
                self.inbox.append(record)
                continue
            if self.rng.random() < 0.15:  # at-least-once producers: the record stands in the log twice
                self.inbox.append(record)
            self.row = Row.model_validate_json(row.model_dump_json(exclude_defaults=True)) if row else None
            for effect in effects:
                self.perform(effect)

    def perform(self, effect: Any) -> None:
        if isinstance(effect, Reply):
            self.replies.append(effect)
        if isinstance(effect, Dispatch):
            self.dispatches[effect.task.task_id] += 1
            self.inbox.append(self.plan if effect.task.specialty == "planning" else self.work(effect.task.task_id))

    def work(self, task_id: str) -> Result:
        good = self.good[task_id]
        return Result(
            request_id=self.rid,
            task_id=task_id,
            specialty="s",
            status="completed" if good else "failed",
            output=Output(specialty="s", text=task_id, data="{}") if good else None,
            error=None if good else Error(kind="x", message="broke"),
            worker="w",
            started_at=self.now,
            ended_at=self.now,
        )


@pytest.mark.parametrize("block", range(4))
def test_every_request_ends_in_exactly_one_right_answer(block: int) -> None:
    ends: Counter[str] = Counter()
    for seed in range(block * SEEDS, (block + 1) * SEEDS):
        world = Cluster(random.Random(seed), f"r{seed}")
        world.run()
        assert len(world.replies) == 1, f"seed {seed}: {len(world.replies)} answers"
        assert world.row is not None and world.row.phase == "ended", f"seed {seed}: the row leaks"
        assert max(world.dispatches.values(), default=0) <= 1, f"seed {seed}: a task went out twice"
        answer = world.replies[0].answer
        ends[answer.status] += 1
        if world.cancelled and answer.status == "cancelled":
            continue
        complete = expected_complete(world.plan, world.good)
        assert (answer.status == "completed") == complete, f"seed {seed}: {answer.status}"
        if complete:
            assert answer.content == world.plan.output_task
        done = {t.task_id for t in answer.receipt.tasks if t.state == "completed"}
        assert done == {o.task_id for o in answer.outputs}
        assert answer.status != "failed" or not done
    assert {"completed", "partial", "failed", "cancelled"} <= set(ends), ends
