"""The task records that are sent: all a worker or the planner needs, from the row. Pure."""

from __future__ import annotations

from typing import Any

import orjson

from hocket.contracts.records import Strategy, Task, TaskInput
from hocket.core.context import CONTEXT_BYTES, fit
from services.aggregator.admission import World
from services.aggregator.claimed import by_specialty
from services.aggregator.row import Row, TaskRow

PLANNING = "planning"
"""The specialty name of tasks that ask for a plan."""


def inputs(row: Row, task_ids: tuple[str, ...]) -> tuple[TaskInput, ...]:
    """The outputs that these tasks have."""
    found = []
    for task_id in task_ids:
        output = row.tasks[task_id].output
        if row.tasks[task_id].completed and output is not None:
            found.append(TaskInput(task_id=task_id, output=output))
    return tuple(found)


def work(row: Row, task_id: str, now: int, world: World) -> Task:
    """The task as its worker gets it; the row already counts this dispatch."""
    request, task = row.asked_for, row.tasks[task_id]
    planned = task.planned
    return Task(
        request_id=request.request_id,
        task_id=task_id,
        specialty=task.sent_to or planned.specialty,
        instruction=planned.instruction,
        text=request.text,
        attachments=request.attachments,
        inputs=inputs(row, planned.depends_on),
        constants=request.constants,
        context=context(row, task_id),
        options=planned.options,
        workflow=row.plan.workflow if row.plan else None,
        tenant=request.tenant,
        strategy=_strategy(row, task, now, world),
        priority=planned.priority,
        deadline=request.policy.deadline,
        budget_usd=task.shares[-1] if task.shares else None,
        attempt=task.attempt,
        revision=task.revision,
        dispatched_at=now,
    )


def _strategy(row: Row, task: TaskRow, now: int, world: World) -> Strategy:
    """As the step or the client wants it, but fast when a slow task of that specialty would miss the deadline."""
    wanted = task.planned.strategy or row.asked_for.policy.strategy
    slow = world.fleet.slow_millis(task.sent_to or task.planned.specialty)
    late = slow is not None and row.deadline is not None and now + slow > row.deadline
    return "fast" if late else wanted


def context(row: Row, task_id: str) -> str | None:
    """What is known beside its inputs: the session's earlier results, and those of the tasks that led to its inputs.

    Only what it depends on, however far: the same task sees the same context whatever else ended first.
    """
    direct = row.tasks[task_id].planned.depends_on
    far = [i for i in _ancestors(row, task_id) if i not in direct]
    known = {**row.given, **by_specialty(row, far)}
    return orjson.dumps({"results": fit(known, CONTEXT_BYTES)}).decode() if known else None


def _ancestors(row: Row, task_id: str) -> list[str]:
    found: dict[str, None] = {}
    left = list(row.tasks[task_id].planned.depends_on)
    while left:
        i = left.pop()
        if i in row.tasks and i not in found:
            found[i] = None
            left += row.tasks[i].planned.depends_on
    return list(found)


def planning(row: Row, now: int) -> Task:
    """The question to the planner that `row.planner` stands for: a first plan, or what replaces the failed part."""
    request, asked = row.asked_for, row.planner
    revision = asked.revision if asked is not None else 0
    done = tuple(i for i, t in row.tasks.items() if t.completed) if revision else ()
    known = fit(row.given, CONTEXT_BYTES)
    return Task(
        request_id=request.request_id,
        task_id=PLANNING,
        specialty=PLANNING,
        instruction="Replace the failed tasks." if revision else "Decompose the request into tasks.",
        text=request.text,
        attachments=request.attachments,
        inputs=inputs(row, done),
        constants=request.constants,
        context=orjson.dumps({"results": known}).decode() if known else None,
        options=orjson.dumps({"replan": _failed_part(row)}).decode() if revision else "{}",
        tenant=request.tenant,
        strategy=request.policy.strategy,
        priority=request.policy.priority,
        deadline=request.policy.deadline,
        budget_usd=asked.budget_usd if asked is not None else None,
        attempt=asked.attempt if asked is not None else 1,
        revision=revision,
        dispatched_at=now,
    )


def _failed_part(row: Row) -> dict[str, Any]:
    """What the planner must know to mend the plan: all its tasks, which have failed and why, which are done."""
    failed = []
    for i in row.planner.failed if row.planner is not None else ():
        result = row.tasks[i].result
        error = result.error if result is not None else None
        told = (
            {"kind": error.kind, "message": error.message} if error is not None else {"kind": "failed", "message": ""}
        )
        failed.append({"task_id": i, "error": told})
    return {
        "failed": failed,
        "done": [i for i, t in row.tasks.items() if t.completed],
        "plan": [t.planned.model_dump(mode="json") for t in row.tasks.values()],
    }
