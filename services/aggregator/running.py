"""What results and commands do to a request that is under way. Pure."""

from __future__ import annotations

import orjson

from hocket.contracts.records import Control, Error, Output, Progress, Result
from hocket.core.condition import tasks_read
from services.aggregator.admission import World
from services.aggregator.budget import rest
from services.aggregator.bundling import released
from services.aggregator.dispatch import advance, reported, send
from services.aggregator.ending import cancelled, late
from services.aggregator.events import Arrival, Drop, Step, Tell
from services.aggregator.row import APPROVAL, Row, TaskRow

MAX_ATTEMPTS = 2
"""Dispatches of one task: the first, and one more after a failure that may pass or when it is stuck."""
_DUST_USD = 1e-9
MAX_PAST = 8
"""Results of one task that are kept for their cost, beside the one that counts."""


def on_result(row: Row | None, event: Arrival, now: int, world: World) -> Step:
    """A result counts when it is the first for its task; a failure that may pass sends the task out once more."""
    result = event.record
    assert row is not None and isinstance(result, Result)  # noqa: S101, PT018 - the table says so
    task = row.tasks.get(result.task_id)
    if task is None:
        return row, [Drop(reason="stray_result")]
    if not task.begun or task.planned.kind == APPROVAL:
        return _counted(row), [Drop(reason="duplicate_result")]
    result = result if result.attempt else result.model_copy(update={"attempt": task.attempt})
    if task.settled or any(_same(result, known) for known in task.past):
        return _surplus(row, task, result)
    if result.status != "completed" and result.attempt < task.attempt:
        noted = row.with_task(result.task_id, past=_kept(task, result))
        return noted, [Drop(reason="stale_result")]
    if result.status == "failed" and _may_pass(row, task, result, now):
        again = released(row, result.task_id).with_task(result.task_id, past=_kept(task, result))
        return send(again, result.task_id, now, world, avoid=task.sent_to)
    return _taken(row, task, result, now, world)


def _taken(row: Row, task: TaskRow, result: Result, now: int, world: World) -> Step:
    short = _relieved(row, task, result)
    if short is None or late(row, now):
        return advance(reported(row, result, now, world), now, world)
    short, sent = send(short, result.task_id, now, world, with_the_rest=True)
    short, more = advance(short, now, world)
    return short, [*sent, *more]


def _relieved(row: Row, task: TaskRow, result: Result) -> Row | None:
    """The row of a required task whose share was too small, when more can be had for it: optional tasks that have not
    begun are done without, and it may spend all that is left. None when there is no more than it had."""
    over = result.error is not None and result.error.kind == "over_budget" and bool(task.shares)
    if not over or task.planned.optional or task.attempt >= MAX_ATTEMPTS:
        return None
    again = released(row, result.task_id).with_task(result.task_id, past=_kept(task, result))
    for i in [i for i, t in again.tasks.items() if t.planned.optional and not t.begun and not t.settled]:
        again = again.with_task(i, skipped="done without, because the request's budget is short")
    return again if (rest(again) or 0.0) > task.shares[-1] + _DUST_USD else None


def _may_pass(row: Row, task: TaskRow, result: Result, now: int) -> bool:
    retryable = result.error is not None and result.error.retryable
    return retryable and task.attempt < MAX_ATTEMPTS and not late(row, now)


def _surplus(row: Row, task: TaskRow, result: Result) -> Step:
    """A result that nobody waits for any more: dropped; but if it is another run's, that run was paid for."""
    known = [*task.past, *([task.result] if task.result is not None else [])]
    if not any(_same(result, k) for k in known):
        row = row.with_task(result.task_id, past=_kept(task, result))
    return _counted(row), [Drop(reason="duplicate_result")]


def _counted(row: Row) -> Row:
    return row.model_copy(update={"duplicates": row.duplicates + 1})


def _kept(task: TaskRow, result: Result) -> tuple[Result, ...]:
    bare = result.model_copy(update={"output": None, "bundle": ()})
    return (*task.past, bare) if len(task.past) < MAX_PAST else task.past


def _same(a: Result, b: Result) -> bool:
    """Whether two records tell of one run."""
    return (a.worker, a.started_at, a.ended_at, a.attempt) == (b.worker, b.started_at, b.ended_at, b.attempt)


def on_early_cancel(row: Row | None, event: Arrival, now: int, world: World) -> Step:  # noqa: ARG001 - a move's form
    """A cancellation that overtook its request."""
    control = event.record
    assert isinstance(control, Control)  # noqa: S101 - the table says so
    return Row(phase="unborn", cancel=control, admitted_at=now), []


def on_cancel(row: Row | None, event: Arrival, now: int, world: World) -> Step:  # noqa: ARG001 - a move's form
    """The client wants no answer any more; it gets what there is."""
    control = event.record
    assert row is not None and isinstance(control, Control)  # noqa: S101, PT018 - the table says so
    return cancelled(row, control, now)


def on_decision(row: Row | None, event: Arrival, now: int, world: World) -> Step:
    """A person's word on an approval. Without a task's name it means the only one that waits."""
    control = event.record
    assert row is not None and isinstance(control, Control)  # noqa: S101, PT018 - the table says so
    waiting = [i for i, t in row.tasks.items() if t.undecided]
    meant = [i for i in waiting if control.task_id in (i, None)]
    if len(meant) != 1:
        return row, [Drop(reason="control_without_step")]
    decided = decide(row, meant[0], approved=control.action == "approve", by=control.by, reason=control.reason, now=now)
    after, effects = advance(decided, now, world)
    return after, [decision_told(decided, meant[0], now), *effects]


def decision_told(row: Row, task_id: str, now: int) -> Tell:
    """What followers hear of a decided approval."""
    task = row.tasks[task_id]
    result = task.result
    words = result.output.text if result is not None and result.output is not None else ""
    return Tell(
        progress=Progress(
            request_id=row.asked_for.request_id,
            task_id=task_id,
            kind="completed" if task.completed else "failed",
            revision=task.revision,
            text=words,
            at=now,
        )
    )


def decide(row: Row, task_id: str, *, approved: bool, by: str, reason: str, now: int) -> Row:
    """The row with an approval's result. A refusal fails the step, unless the plan has a condition that reads it."""
    task = row.tasks[task_id]
    decision = "approved" if approved else "rejected"
    words = f"{decision}{f' by {by}' if by else ''}{f': {reason}' if reason else ''}"
    data = orjson.dumps({"decision": decision, "by": by, "reason": reason}).decode()
    provided = any(task_id in tasks_read(t.planned.condition) for t in row.tasks.values())
    error = None if approved or provided else Error(kind="rejected", message=words)
    result = Result(
        request_id=row.asked_for.request_id,
        task_id=task_id,
        specialty=task.planned.specialty,
        status="completed" if error is None else "failed",
        output=Output(specialty=task.planned.specialty, text=words, data=data, size=len(data.encode())),
        error=error,
        worker=by or "a person",
        revision=task.revision,
        started_at=task.dispatched_at or now,
        ended_at=now,
    )
    return row.with_task(task_id, result=result)
