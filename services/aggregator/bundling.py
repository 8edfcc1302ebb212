"""Bundles: chains of simple tasks that one worker does in one go, when the aggregator itself is the bottleneck. Pure.

A bundle is a task with the steps that follow it (docs/decisions/0009). Its worker does the task as ever, then each step
with that specialty's local engine, stops at the first that needs more, and reports all at once. What was not done goes
the ordinary way, so a bundle can fail nothing; it can only save the aggregator a dispatch and a result for each step.
"""

from __future__ import annotations

from hocket.contracts.records import BundledResult, BundledStep, Result, Task
from services.aggregator.admission import World
from services.aggregator.row import APPROVAL, Row, TaskRow
from services.aggregator.tasks import context, inputs

MAX_STEPS = 5
"""Steps behind a bundle's first task."""
INPUT_BYTES = 64 * 1024
"""What they may be given of earlier outputs, together; more, or what lies in the blob store, goes the ordinary way."""
HEAVY = frozenset({"extraction"})
"""Reading scans takes 600 MB in a process of its own: only pods that are given them do it."""
BUSY_MS = 1_000
"""A specialty whose queue is longer than this is a bottleneck of its own: it gets no work of others on top."""
_SYNTHESIS = "synthesis"


def bundled(row: Row, task: Task, now: int, world: World) -> tuple[Row, Task]:
    """The row and the task that is dispatched, with the steps that its worker may do behind it; often none."""
    steps = _chain(row, task.task_id, world) if _wanted(row, task, world) else ()
    for i in steps:
        row = row.with_task(i, dispatched_at=now, attempt=row.tasks[i].attempt + 1, bundle=task.task_id)
    return row, task.model_copy(update={"bundle": tuple(_step(row, i) for i in steps)}) if steps else task


def _wanted(row: Row, task: Task, world: World) -> bool:
    if not world.pressed or row.planner is not None:
        return False
    view = world.fleet.alive(task.specialty)
    return view is None or view.wait_millis <= BUSY_MS


def _chain(row: Row, task_id: str, world: World) -> tuple[str, ...]:
    chain, room = [task_id], INPUT_BYTES
    while len(chain) <= MAX_STEPS:
        users = [i for i, t in row.tasks.items() if chain[-1] in t.planned.depends_on]
        if row.tasks[chain[-1]].planned.optional:
            break  # what follows it may have to do without it before it is done
        if len(users) != 1 or not _simple(row, users[0], chain, world):
            break
        room -= _weight(row, users[0])
        if room < 0:
            break
        chain.append(users[0])
    return tuple(chain[1:])


def _simple(row: Row, task_id: str, chain: list[str], world: World) -> bool:
    """Whether nothing but the chain keeps the task from being done, by a local engine, wherever the chain is done."""
    task = row.tasks[task_id]
    planned = task.planned
    if task.begun or task.settled or planned.kind == APPROVAL or planned.condition is not None:
        return False
    wanted = planned.strategy or row.asked_for.policy.strategy
    local = planned.specialty in world.local.get(wanted, ()) and planned.specialty not in HEAVY
    needs = [row.tasks[d] for d in planned.depends_on if d not in chain]
    there = all(t.settled and not (t.dead and not t.planned.optional) for t in needs)
    return local and there and not _merely_repeats(row, task, needs)


def _merely_repeats(row: Row, task: TaskRow, needs: list[TaskRow]) -> bool:
    """Whether it is a closing synthesis that may turn out to have one input only, and is then left out."""
    closing = row.plan is not None and row.plan.output_task == task.planned.task_id
    plain = task.planned.specialty == _SYNTHESIS and task.planned.options == "{}"
    return closing and plain and not any(t.completed and t.planned.kind != APPROVAL for t in needs)


def _weight(row: Row, task_id: str) -> int:
    found = 0
    for given in inputs(row, row.tasks[task_id].planned.depends_on):
        if given.output.data is None:
            return INPUT_BYTES + 1
        found += len(given.output.data) + len(given.output.text)
    return found


def _step(row: Row, task_id: str) -> BundledStep:
    task = row.tasks[task_id]
    planned = task.planned
    return BundledStep(
        task_id=task_id,
        specialty=planned.specialty,
        instruction=planned.instruction,
        depends_on=planned.depends_on,
        inputs=inputs(row, planned.depends_on),
        context=context(row, task_id),
        options=planned.options,
        strategy=planned.strategy or row.asked_for.policy.strategy,
        attempt=task.attempt,
        revision=task.revision,
    )


def released(row: Row, task_id: str) -> Row:
    """The row in which the steps behind the task wait for their turn again, as if they had not been sent with it."""
    for i, t in row.tasks.items():
        if t.bundle == task_id and t.result is None:
            row = row.with_task(i, dispatched_at=None, attempt=t.attempt - 1, bundle=None)
    return row


def counted(row: Row, told: Result, step: BundledResult, now: int) -> Row:
    """The row with the result of a step that was done behind the task which `told` is of."""
    result = Result(
        request_id=told.request_id,
        task_id=step.task_id,
        specialty=step.specialty,
        status="completed",
        output=step.output,
        attempts=step.attempts,
        worker=told.worker,
        engine=step.engine,
        why=step.why,
        prompt_version=step.prompt_version,
        attempt=step.attempt,
        revision=step.revision,
        started_at=step.started_at,
        ended_at=step.ended_at,
    )
    task = row.tasks[step.task_id]
    began = told.started_at if task.dispatched_at is None else task.dispatched_at
    return row.with_task(
        step.task_id, dispatched_at=min(began, now), attempt=step.attempt, bundle=told.task_id, result=result
    )
