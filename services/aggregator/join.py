"""The join: `step(row, event, now, world) -> (row, effects)`. Pure; the whole life of a request is decided here.

Laws:
1. Everything that moves a request from one phase to another is in this file; it knows no Kafka, clock or model.
2. `now` is the broker's append time of the record that is joined, so a replay decides exactly the same.
3. The order between topics is not relied on: a record that comes early, late or twice is harmless.
4. A row that has ended never sends anything again.

Transitions (phase before, event -> what happens -> phase after):

    -         request   admitted, a declared workflow expanded            -> running
    -         request   admitted, the planner asked                       -> planning
    -         request   refused (invalid, unknown workflow, too large)    -> ended
    -         cancel    remembered until the request comes                -> unborn
    unborn    request   answered as cancelled                             -> ended
    planning  plan      sound: its roots dispatched                       -> running
    planning  plan      failed or unsound: answered as failed             -> ended
    running   result    first for its task: what became ready dispatched  -> running
    running   result    nothing left to wait for: answered                -> ended
    planning  cancel    answered as cancelled                             -> ended
    running   cancel    answered as cancelled, with what is there         -> ended
    any       other     dropped and counted                               -> same
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hocket.contracts.records import (
    Answer,
    AnswerStatus,
    Control,
    Error,
    Plan,
    PlannedTask,
    Progress,
    Record,
    Request,
    Result,
    Task,
    TaskInput,
)
from hocket.contracts.workflows import Workflow, expand
from hocket.core.plan import faults
from services.aggregator.admission import World, refusal
from services.aggregator.receipt import answer
from services.aggregator.row import Row, TaskRow

PLANNING = "planning"
"""The specialty name of tasks that ask for a plan."""


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """One joined record: the key it stands under, and its trace context."""

    key: str
    record: Request | Plan | Result | Control
    trace: str


@dataclass(frozen=True, kw_only=True)
class Dispatch:
    """Send a task to its specialty's topic (or to the planner)."""

    task: Task


@dataclass(frozen=True, kw_only=True)
class Reply:
    """Send the answer; to `topic` if the request named one."""

    answer: Answer
    topic: str | None


@dataclass(frozen=True, kw_only=True)
class Tell:
    """Tell followers."""

    progress: Progress


@dataclass(frozen=True, kw_only=True)
class Drop:
    """Count a record that changed nothing; `reason` is one of a few fixed words."""

    reason: str


Send = Dispatch | Reply | Tell
Effect = Send | Drop
Step = tuple[Row | None, list[Effect]]


def step(row: Row | None, event: Arrival, now: int, world: World) -> Step:
    """The row after the event, and what must be sent. Both belong into one transaction with the event's offset."""
    match event.record:
        case Request() as request:
            return _on_request(row, request, event.trace, now, world)
        case Plan() as plan:
            return _on_plan(row, plan, now, world)
        case Result() as result:
            return _on_result(row, result, now)
        case Control() as control:
            return _on_control(row, control, now)


def _on_request(row: Row | None, request: Request, trace: str, now: int, world: World) -> Step:
    if row is not None and row.phase != "unborn":
        return row, [Drop(reason="duplicate_request")]
    born = Row(phase="planning", request=request, admitted_at=now, trace=trace)
    if row is not None and row.cancel is not None:
        return _cancelled(born, row.cancel, now)
    wrong = refusal(request, world)
    if wrong is not None:
        return _end(born, "failed", wrong, now)
    if request.workflow is None:
        return born, [Dispatch(task=_planning_task(request, now))]
    workflow = world.workflows[request.workflow]
    tasks = expand(workflow, request.policy.priority)
    return _accept(born, _declared_plan(request, workflow, tasks, now), now)


def _declared_plan(request: Request, workflow: Workflow, tasks: tuple[PlannedTask, ...], now: int) -> Plan:
    return Plan(
        request_id=request.request_id,
        source="workflow",
        workflow=workflow.name,
        tasks=tasks,
        output_task=workflow.output,
        worker="aggregator",
        started_at=now,
        ended_at=now,
    )


def _planning_task(request: Request, now: int) -> Task:
    return Task(
        request_id=request.request_id,
        task_id=PLANNING,
        specialty=PLANNING,
        instruction="Decompose the request into tasks.",
        text=request.text,
        attachments=request.attachments,
        constants=request.constants,
        tenant=request.tenant,
        strategy=request.policy.strategy,
        priority=request.policy.priority,
        deadline=request.policy.deadline,
        dispatched_at=now,
    )


def _on_plan(row: Row | None, plan: Plan, now: int, world: World) -> Step:
    if row is None or row.phase != "planning":
        return row, [Drop(reason="stray_plan" if row is None else "duplicate_plan")]
    if plan.error is not None:
        return _end(row.model_copy(update={"plan": plan}), "failed", plan.error, now)
    wrong = faults(plan.tasks, plan.output_task, world.specialties, world.plan_limits)
    if wrong:
        error = Error(kind="invalid_plan", message=f"the plan from {plan.worker} cannot run: {'; '.join(wrong)}")
        return _end(row.model_copy(update={"plan": plan}), "failed", error, now)
    return _accept(row, plan, now)


def _accept(row: Row, plan: Plan, now: int) -> Step:
    tasks = {t.task_id: TaskRow(planned=t) for t in plan.tasks}
    running = row.model_copy(update={"phase": "running", "plan": plan, "tasks": tasks})
    planned = Progress(request_id=plan.request_id, kind="planned", worker=plan.worker, tasks=plan.tasks, at=now)
    row_after, effects = _advance(running, now)
    return row_after, [Tell(progress=planned), *effects]


def _on_result(row: Row | None, result: Result, now: int) -> Step:
    if row is None or row.phase != "running" or result.task_id not in row.tasks:
        return row, [Drop(reason="late_result" if row is not None and row.phase == "ended" else "stray_result")]
    task = row.tasks[result.task_id]
    if task.settled or task.dispatched_at is None:
        more = row.model_copy(update={"duplicates": row.duplicates + 1})
        return more, [Drop(reason="duplicate_result")]
    tasks = row.tasks | {result.task_id: task.model_copy(update={"result": result})}
    return _advance(row.model_copy(update={"tasks": tasks}), now)


def _on_control(row: Row | None, control: Control, now: int) -> Step:
    if control.action != "cancel":
        return row, [Drop(reason="control_without_step")]
    if row is None:
        return Row(phase="unborn", cancel=control, admitted_at=now), []
    if row.phase in ("ended", "unborn"):
        return row, [Drop(reason="late_control")]
    return _cancelled(row, control, now)


def _cancelled(row: Row, control: Control, now: int) -> Step:
    by = f" by {control.by}" if control.by else ""
    why = f": {control.reason}" if control.reason else ""
    return _end(row, "cancelled", Error(kind="cancelled", message=f"cancelled{by}{why}"), now)


def _advance(row: Row, now: int) -> Step:
    """Skips what can no longer run, dispatches what is ready, answers when nothing is left to wait for."""
    tasks = _skip_unreachable(row)
    ready = [i for i, t in tasks.items() if _ready(t, tasks)]
    effects: list[Effect] = [Dispatch(task=_task(row, tasks, i, now)) for i in ready]
    tasks |= {i: tasks[i].model_copy(update={"dispatched_at": now}) for i in ready}
    moved = row.model_copy(update={"tasks": tasks})
    if all(t.settled for t in tasks.values()):
        return _conclude(moved, now)
    return moved, effects


def _blocked_by(task: TaskRow, tasks: Mapping[str, TaskRow]) -> str | None:
    """The required dependency that will never have an output, if there is one."""
    for d in task.planned.depends_on:
        dead = tasks[d].settled and not tasks[d].completed
        if dead and not tasks[d].planned.optional:
            return d
    return None


def _skip_unreachable(row: Row) -> dict[str, TaskRow]:
    """Marks tasks whose required dependencies failed and, once the answer is out of reach, all that has not begun."""
    tasks = dict(row.tasks)
    changed = True
    while changed:
        changed = False
        for task_id, task in tasks.items():
            cause = None if task.settled or task.dispatched_at is not None else _blocked_by(task, tasks)
            if cause is not None:
                tasks[task_id] = task.model_copy(update={"skipped": f"it needs {cause}, which has no output"})
                changed = True
    final = tasks[row.plan.output_task] if row.plan else None
    if final is not None and final.settled and not final.completed:
        for task_id, task in tasks.items():
            if not task.settled and task.dispatched_at is None:
                tasks[task_id] = task.model_copy(update={"skipped": "the answer was already out of reach"})
    return tasks


def _ready(task: TaskRow, tasks: Mapping[str, TaskRow]) -> bool:
    waiting = task.dispatched_at is None and not task.settled
    return waiting and all(tasks[d].settled for d in task.planned.depends_on)


def _task(row: Row, tasks: Mapping[str, TaskRow], task_id: str, now: int) -> Task:
    request, planned = row.request, tasks[task_id].planned
    if request is None:
        raise ValueError("a running row always has its request")
    inputs = tuple(
        TaskInput(task_id=d, output=r.output)
        for d in planned.depends_on
        if (r := tasks[d].result) is not None and r.output is not None
    )
    return Task(
        request_id=request.request_id,
        task_id=task_id,
        specialty=planned.specialty,
        instruction=planned.instruction,
        text=request.text,
        attachments=request.attachments,
        inputs=inputs,
        constants=request.constants,
        options=planned.options,
        workflow=row.plan.workflow if row.plan else None,
        tenant=request.tenant,
        strategy=request.policy.strategy,
        priority=planned.priority,
        deadline=request.policy.deadline,
        revision=row.plan.revision if row.plan else 0,
        dispatched_at=now,
    )


def _conclude(row: Row, now: int) -> Step:
    """All tasks are settled: complete when the output is there and nothing required failed."""
    final = row.tasks[row.plan.output_task] if row.plan else None
    required_failed = [i for i, t in row.tasks.items() if not t.completed and not t.planned.optional]
    if final is not None and final.completed and not required_failed:
        return _end(row, "completed", None, now)
    status: AnswerStatus = "partial" if any(t.completed for t in row.tasks.values()) else "failed"
    return _end(row, status, _first_error(row), now)


def _first_error(row: Row) -> Error:
    """The error of the task that failed first: the root of what followed."""
    failed = [t.result for t in row.tasks.values() if t.result is not None and t.result.error is not None]
    if not failed:
        return Error(kind="failed", message="no task produced the answer")
    first = min(failed, key=lambda r: r.ended_at)
    error = first.error or Error(kind="failed", message="unknown")
    return error.model_copy(update={"message": f"{first.task_id}: {error.message}"})


def _end(row: Row, status: AnswerStatus, error: Error | None, now: int) -> Step:
    request = row.request
    if request is None:
        raise ValueError("only an admitted request can be answered")
    reply = Reply(answer=answer(row, request.request_id, status, error, now), topic=request.reply_topic)
    if error is not None and error.kind == "invalid_request":
        reply = Reply(answer=reply.answer, topic=None)  # the named reply topic is what may be wrong
    return row.ended(now), [reply]


def give_up(row: Row | None, event: Arrival, now: int) -> Step:
    """Ends a request whose step crashed, so that its client hears of it; the record itself is dead-lettered."""
    record = event.record
    if row is None and isinstance(record, Request):
        row = Row(phase="planning", request=record, admitted_at=now, trace=event.trace)
    if row is None or row.request is None or row.phase == "ended":
        return row, [Drop(reason="crashed")]
    bare = row.model_copy(update={"plan": None, "tasks": {}})
    message = "the aggregator could not process a record of this request; see the dead letters"
    return _end(bare, "failed", Error(kind="internal", message=message), now)


def address(effect: Send) -> tuple[str, str, Record]:
    """(event id, request id, record) of an effect that is sent. The event id is the same in every replay."""
    match effect:
        case Dispatch(task=t):
            return f"{t.request_id}/{t.task_id}/{t.revision}.{t.attempt}", t.request_id, t
        case Reply(answer=a):
            return f"{a.request_id}/answer", a.request_id, a
        case Tell(progress=p):
            return f"{p.request_id}/{p.kind}/{p.task_id or ''}", p.request_id, p
