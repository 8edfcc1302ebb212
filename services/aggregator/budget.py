"""A request's cap, split into shares: what its tasks may spend at most, never the same rest twice. Pure.

`cap = spent + held + rest` at every moment. A dispatched task holds its share until its result is there; what it
did not spend is then part of the rest again. A call whose price is unknown counts as its task's whole share.
"""

from __future__ import annotations

from collections.abc import Iterable

from hocket.contracts.records import Usage
from services.aggregator.admission import World
from services.aggregator.row import APPROVAL, Row, TaskRow

PLANNING_SHARE = 0.2
"""Part of the rest that a planning call may spend."""


def known_cost(usage: Iterable[Usage]) -> float:
    """The sum of the known prices, in US dollars."""
    return sum(u.cost_usd for u in usage if u.cost_usd is not None)


def spent(row: Row) -> float:
    """What the request has cost; where a price is unknown, what its task was allowed to cost."""
    planning = row.plan.usage if row.plan is not None else ()
    return known_cost(planning) + sum(_spent_on(t) for t in row.all_tasks)


def _spent_on(task: TaskRow) -> float:
    total = 0.0
    for result in (*task.past, *((task.result,) if task.result is not None else ())):
        known = known_cost(result.usage)
        unknown = any(u.cost_usd is None for u in result.usage)
        total += max(known, _share_of(task, result.attempt)) if unknown else known
    return total


def _share_of(task: TaskRow, attempt: int) -> float:
    return task.shares[attempt - 1] if 0 < attempt <= len(task.shares) else 0.0


def held(row: Row) -> float:
    """The shares of all that is out and has not come back."""
    back = {i: {r.attempt for r in t.past} | ({t.result.attempt} if t.result else set()) for i, t in row.tasks.items()}
    out = (_share_of(t, a) for i, t in row.tasks.items() for a in range(1, len(t.shares) + 1) if a not in back[i])
    planner = row.planner.budget_usd if row.planner is not None else None
    return sum(out) + (planner or 0.0)


def rest(row: Row) -> float | None:
    """What is neither spent nor held; None without a cap."""
    cap = row.cap_usd
    return None if cap is None else max(0.0, cap - spent(row) - held(row))


def planning_share(row: Row) -> float | None:
    """What a planning call may spend now; None without a cap."""
    left = rest(row)
    return None if left is None else left * PLANNING_SHARE


def share(row: Row, task_id: str, world: World) -> float | None:
    """What the task may spend if it is dispatched now; None without a cap.

    The rest is split over this task and all that are still to be dispatched, by what their specialties usually cost (in
    equal parts when that is not known of all), so that parallel tasks get parts and the last one is not left without.
    """
    left = rest(row)
    if left is None:
        return None
    waiting = {i: t for i, t in row.tasks.items() if i == task_id or not (t.begun or t.settled)}
    weights = _weights(waiting, world)
    total = sum(weights.values())
    return left * weights[task_id] / total if total > 0 else left


def _weights(tasks: dict[str, TaskRow], world: World) -> dict[str, float]:
    paid = {i: t.planned.specialty for i, t in tasks.items() if t.planned.kind != APPROVAL}
    known = all(world.task_cost_usd.get(s, 0.0) > 0 for s in paid.values())
    return {i: (world.task_cost_usd[paid[i]] if known else 1.0) if i in paid else 0.0 for i in tasks}
