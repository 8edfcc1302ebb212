"""How a running request goes on: what is skipped, what is dispatched, when nothing is left to wait for. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from hocket.contracts.records import Output, Progress, Result
from hocket.core.condition import holds, tasks_read
from services.aggregator.admission import World
from services.aggregator.budget import rest, share
from services.aggregator.bundling import bundled, counted, released
from services.aggregator.ending import conclude, expire, late
from services.aggregator.events import Dispatch, Effect, Step, Tell
from services.aggregator.replanning import ask, awaited, mendable
from services.aggregator.row import APPROVAL, Row, TaskRow
from services.aggregator.tasks import work

SYNTHESIS = "synthesis"


def advance(row: Row, now: int, world: World) -> Step:
    """Asks for another plan, skips what can no longer run, dispatches what is ready, answers when all is settled."""
    effects: list[Effect] = []
    if mendable(row, now):
        row, effects = ask(row, now)
    row = settle(row, now, world)
    if row.planner is None and all(t.settled for t in row.tasks.values()):
        return conclude(row, now)
    if late(row, now):
        return expire(row, now)
    for task_id in [i for i, t in row.tasks.items() if _ready(row, t)]:
        row, sent = send(row, task_id, now, world, alone=False)
        effects += sent
    return row, effects


def send(
    row: Row,
    task_id: str,
    now: int,
    world: World,
    avoid: str | None = None,
    *,
    with_the_rest: bool = False,
    alone: bool = True,
) -> tuple[Row, list[Effect]]:
    """Dispatches a task, or puts an approval before its person. `avoid` is a specialty where it has failed;
    `with_the_rest` gives it all that is left of the request's cap, not a share; unless `alone` it may be the first of
    a bundle."""
    planned = row.tasks[task_id].planned
    if planned.kind == APPROVAL:
        ask_for = Progress(
            request_id=row.asked_for.request_id,
            task_id=task_id,
            kind="other",
            revision=row.tasks[task_id].revision,
            text=f"waits for approval: {planned.instruction}",
            at=now,
        )
        return row.with_task(task_id, dispatched_at=now), [Tell(progress=ask_for)]
    task = row.tasks[task_id]
    part = rest(row) if with_the_rest else share(row, task_id, world)
    sent = row.with_task(
        task_id,
        dispatched_at=now,
        attempt=task.attempt + 1,
        sent_to=world.fleet.choose(planned.specialty, avoid),
        shares=task.shares if part is None else (*task.shares, part),
    )
    task_sent = work(sent, task_id, now, world)
    if not alone:
        sent, task_sent = bundled(sent, task_sent, now, world)
    return sent, [Dispatch(task=task_sent)]


def reported(row: Row, told: Result, now: int, world: World) -> Row:
    """The row with a task's result and those of the steps done behind it, each as if it came in its turn: what would
    not be dispatched any more when those before it are there does not count."""
    row = released(row, told.task_id).with_task(told.task_id, result=told.model_copy(update={"bundle": ()}))
    for step in told.bundle if told.status == "completed" and not late(row, now) else ():
        row = settle(row, now, world)
        task = row.tasks.get(step.task_id)
        if task is None or not _ready(row, task) or step.attempt != task.attempt + 1:
            break
        row = counted(row, told, step, now)
    return row


def _ready(row: Row, task: TaskRow) -> bool:
    """Whether it need wait no longer. A failed dependency that the planner is about to replace is waited for."""
    mending = awaited(row)
    needs = task.planned.depends_on
    return not task.begun and not task.settled and all(row.tasks[d].settled and d not in mending for d in needs)


def settle(row: Row, now: int, world: World) -> Row:
    """Settles every task that need not, or cannot, be dispatched any more; one may settle the next."""
    changed = True
    while changed:
        changed = False
        for task_id, task in row.tasks.items():
            found = {} if task.begun or task.settled else _verdict(row, task_id, now, world)
            if found:
                row, changed = row.with_task(task_id, **found), True
    return row


def _verdict(row: Row, task_id: str, now: int, world: World) -> dict[str, Any]:
    """What is to be noted of a task that will not be dispatched; nothing for one that waits or is ready."""
    task = row.tasks[task_id]
    in_vain = _in_vain(row, task_id)
    if in_vain is not None or not _ready(row, task):
        return in_vain or {}
    if not holds(task.planned.condition, _readable(row, task)):
        return {"skipped": "its condition does not hold", "passed_over": True}
    only = _only_input(row, task_id)
    if only is not None:
        return {"skipped": f"the output of {only} already is the answer", "stand_in": only}
    return _unaffordable(row, task, now, world)


def _in_vain(row: Row, task_id: str) -> dict[str, Any] | None:
    """Why the task need not even wait for its dependencies; None when it should."""
    task = row.tasks[task_id]
    refused = _declined_by(row, task)
    if refused is not None:
        return {"skipped": f"{refused} was rejected", "passed_over": True}
    cause = blocked_by(row, task)
    if cause is not None:
        return {"skipped": f"it needs {cause}, which has no output"}
    if _out_of_reach(row):
        return {"skipped": "the answer was already out of reach"}
    return {"skipped": "nothing needs it any more"} if _useless(row, task_id) else None


def _unaffordable(row: Row, task: TaskRow, now: int, world: World) -> dict[str, Any]:
    if task.planned.kind == APPROVAL:
        return {}
    specialty = world.fleet.choose(task.planned.specialty)
    if not world.fleet.can_meet(specialty, row.deadline, now, row.asked_for.request_id) and not late(row, now):
        return {"skipped": "it could not have ended before the deadline"}
    left = rest(row)
    return {"skipped": "the request's budget is spent"} if left is not None and left <= 0 else {}


def blocked_by(row: Row, task: TaskRow) -> str | None:
    """The required dependency that will never have an output, if there is one.

    A failed one does not count while the planner looks for another way.
    """
    mending = awaited(row)
    for d in task.planned.depends_on:
        dependency = row.tasks[d]
        if dependency.dead and not dependency.planned.optional and d not in mending:
            return d
    return None


def _declined_by(row: Row, task: TaskRow) -> str | None:
    """The approval whose refusal the plan provides for, in a branch that is not this task."""
    reads = tasks_read(task.planned.condition)
    for d in task.planned.depends_on:
        approval = row.tasks[d]
        if d in reads or approval.planned.optional or approval.planned.kind != APPROVAL or not approval.completed:
            continue
        if (record_of(approval.output) or {}).get("decision") == "rejected":
            return d
    return None


def _out_of_reach(row: Row) -> bool:
    final = row.tasks.get(row.plan.output_task) if row.plan is not None else None
    return final is not None and final.dead and final.planned.task_id not in awaited(row)


def _useless(row: Row, task_id: str) -> bool:
    """Whether it is optional and all tasks that would have used it are skipped."""
    users = [t for t in row.tasks.values() if task_id in t.planned.depends_on]
    return row.tasks[task_id].planned.optional and bool(users) and all(t.skipped is not None for t in users)


def _readable(row: Row, task: TaskRow) -> dict[str, Mapping[str, Any] | None]:
    """The outputs that the task's condition reads, as records. What was moved to the blob store has only its text."""
    reads = tasks_read(task.planned.condition)
    return {i: record_of(row.tasks[i].output) for i in reads if i in row.tasks}


def record_of(output: Output | None) -> Mapping[str, Any] | None:
    """An output as its specialty's record; None when there is none."""
    if output is None:
        return None
    if output.data is None:
        return {"text": output.text}
    try:
        found = orjson.loads(output.data)
    except orjson.JSONDecodeError:
        return {"text": output.text}
    return found if isinstance(found, dict) else {"text": output.text}


def _only_input(row: Row, task_id: str) -> str | None:
    """The one task whose output a closing synthesis would merely repeat; None when there is something to join."""
    task = row.tasks[task_id]
    closing = row.plan is not None and row.plan.output_task == task_id and task.planned.specialty == SYNTHESIS
    if not closing or task.planned.options != "{}":
        return None
    there = [d for d in task.planned.depends_on if row.tasks[d].completed and row.tasks[d].planned.kind != APPROVAL]
    return there[0] if len(there) == 1 else None


def backlog(row: Row | None) -> dict[str, int]:
    """Tasks by specialty that will be dispatched as soon as what is out now has come back: what to scale for next."""
    found: dict[str, int] = {}
    if row is None or row.phase != "running":
        return found
    for task in row.tasks.values():
        if task.begun or task.settled or task.planned.kind == APPROVAL:
            continue
        if all(row.tasks[d].settled or row.tasks[d].begun for d in task.planned.depends_on):
            found[task.planned.specialty] = found.get(task.planned.specialty, 0) + 1
    return found
