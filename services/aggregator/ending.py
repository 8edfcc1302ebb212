"""How a request ends: one answer, its accounts closed, what still runs for it stopped. Pure."""

from __future__ import annotations

from hocket.contracts.records import AnswerStatus, Control, Error
from services.aggregator.claimed import given_back
from services.aggregator.events import Effect, Order, Reply, Step
from services.aggregator.receipt import answer
from services.aggregator.row import APPROVAL, Row, TaskRow


def end(row: Row, status: AnswerStatus, error: Error | None, now: int, *, commanded: bool = False) -> Step:
    """The marker and the last effects. `commanded` says that planner and workers have read the command themselves."""
    request = row.asked_for
    reply = Reply(answer=answer(row, request.request_id, status, error, now), topic=request.reply_topic)
    if error is not None and error.kind == "invalid_request":
        reply = Reply(answer=reply.answer, topic=None)  # the named reply topic is what may be wrong
    effects: list[Effect] = [reply, *given_back(row, now)]
    if row.busy and not commanded:
        why = error.message if error is not None else "the request is answered"
        stop = Control(request_id=request.request_id, action="cancel", reason=why, by="aggregator", at=now)
        effects.append(Order(control=stop))
    return row.ended(now), effects


def failed(row: Row, error: Error, now: int) -> Step:
    """The request ends without having come as far as its tasks."""
    return end(row, "failed", error, now)


def late(row: Row, now: int) -> bool:
    """Whether the client no longer waits."""
    return row.deadline is not None and now >= row.deadline


def expire(row: Row, now: int) -> Step:
    """The deadline has passed: answered with what there is, completely when only optional tasks were still out."""
    if row.phase == "running" and _whole(row):
        return end(row, "completed", None, now)
    where = {"waiting": "while it waited for its session or budget", "planning": "while it was planned"}
    when = where.get(row.phase, "before all its tasks had ended")
    message = f"The request's deadline passed {when}. Give it more time."
    return end(row, "expired", Error(kind="deadline", message=message), now)


def conclude(row: Row, now: int) -> Step:
    """All tasks are settled: complete when the output is there and nothing required is missing."""
    if _whole(row):
        return end(row, "completed", None, now)
    if late(row, now):
        return expire(row, now)
    useful = any(t.completed and t.planned.kind != APPROVAL for t in row.tasks.values())
    status: AnswerStatus = "partial" if useful else "failed"
    return end(row, status, _first_error(row), now)


def _whole(row: Row) -> bool:
    final = row.tasks.get(row.plan.output_task) if row.plan is not None else None
    there = final is not None and (final.completed or final.passed_over)
    return there and all(t.completed or t.passed_over or t.planned.optional for t in row.tasks.values())


def _first_error(row: Row) -> Error:
    """The error of the task that failed first: the root of what followed. Required tasks before optional ones."""
    lost = [t for t in row.tasks.values() if t.dead]
    broken = [t for t in lost if t.result is not None and t.result.error is not None]
    required = [t for t in broken if not t.planned.optional]
    untried = [t for t in lost if t.skipped is not None and not t.planned.optional]
    if required or (broken and not untried):
        return _error_of(min(required or broken, key=lambda t: t.result.ended_at if t.result else 0))
    if untried:
        return Error(kind="skipped", message=f"{untried[0].planned.task_id}: {untried[0].skipped}")
    return Error(kind="failed", message="no task produced the answer")


def _error_of(task: TaskRow) -> Error:
    error = task.result.error if task.result is not None else None
    found = error or Error(kind="failed", message="unknown")
    return found.model_copy(update={"message": f"{task.planned.task_id}: {found.message}"})


def cancelled(row: Row, control: Control, now: int) -> Step:
    """Ended by a command that planner and workers have read, too."""
    by = f" by {control.by}" if control.by else ""
    why = f": {control.reason}" if control.reason else ""
    error = Error(kind="cancelled", message=f"cancelled{by}{why}")
    return end(row, "cancelled", error, now, commanded=True)
