"""The answer and its receipt, from a row. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from hocket.contracts.records import (
    Answer,
    AnswerStatus,
    Error,
    LeftOut,
    Receipt,
    Result,
    TaskInput,
    TaskReceipt,
    TaskState,
    Usage,
)
from hocket.core.plan import critical_path
from services.aggregator.budget import held, spent
from services.aggregator.row import APPROVAL, Row, TaskRow


def total_cost(usage: Iterable[Usage]) -> float | None:
    """The sum of what calls cost, in US dollars; None as soon as one price is unknown."""
    total = 0.0
    for u in usage:
        if u.cost_usd is None:
            return None
        total += u.cost_usd
    return total


def task_state(task: TaskRow) -> TaskState:
    """Where a task stands."""
    if task.result is not None:
        return "completed" if task.completed else "failed"
    if task.skipped is not None:
        return "skipped"
    return "assigned" if task.dispatched_at is not None else "pending"


def task_receipt(task: TaskRow) -> TaskReceipt:
    """What became of one task."""
    planned, result = task.planned, task.result
    base = TaskReceipt(
        task_id=planned.task_id,
        specialty=planned.specialty,
        state=task_state(task),
        depends_on=planned.depends_on,
        optional=planned.optional,
        dispatched_at=task.dispatched_at,
        cost_usd=total_cost(task.usage),
        calls=len(task.usage),
        retries=sum(max(1, len(r.attempts)) for r in task.past),
        dispatches=task.attempt,
        revision=task.revision,
        estimated_calls=sum(u.estimated for u in task.usage),
        lost_runs=_lost_runs([*task.past, *([result] if result is not None else ())]),
        budget_usd=task.shares[-1] if task.shares else None,
        bundled_with=task.bundle,
    )
    if result is None:
        why = Error(kind="skipped", message=task.skipped) if task.skipped is not None else None
        return base.model_copy(update={"error": why})
    return base.model_copy(
        update={
            "worker": result.worker,
            "engine": result.engine,
            "why": result.why,
            "started_at": result.started_at,
            "ended_at": result.ended_at,
            "retries": base.retries + max(0, len(result.attempts) - 1),
            "cache_hits": result.cache_hits,
            "prompt_version": result.prompt_version,
            "error": result.error,
        }
    )


def _lost_runs(results: Iterable[Result]) -> int:
    """Runs of a task that were lost with their workers. One that was taken for lost and came back is not: its result is
    among the others of its dispatch."""
    by_dispatch: dict[int, list[int]] = {}
    for r in results:
        by_dispatch.setdefault(r.attempt, []).append(r.lost_runs)
    return sum(max(0, max(lost) - (len(lost) - 1)) for lost in by_dispatch.values())


def _all_usage(row: Row) -> list[Usage]:
    usage = list(row.plan.usage) if row.plan else []
    return usage + [u for t in row.all_tasks for u in t.usage]


def _all_receipts(row: Row) -> tuple[TaskReceipt, ...]:
    """Of the plan's tasks, and before them of those that a revision replaced."""
    by = {i: r.revision for r in row.replans if r.error is None for i in r.failed}
    gone = [task_receipt(t).model_copy(update={"replaced_by": by.get(t.planned.task_id)}) for t in row.replaced]
    return (*gone, *(task_receipt(t) for t in row.tasks.values()))


def _left_out(row: Row) -> tuple[LeftOut, ...]:
    found = []
    for task_id, task in row.tasks.items():
        if task.completed or task.passed_over:
            continue
        error = task.result.error if task.result is not None else None
        why = error.message if error else task.skipped or "the request ended before it did"
        found.append(LeftOut(what=task_id, why=why))
    return tuple(found)


def receipt(row: Row, now: int) -> Receipt:
    """What was done for the request up to now."""
    usage = _all_usage(row)
    plan = row.plan
    tasks = _all_receipts(row)
    ended = {i: t.result.ended_at for i, t in row.tasks.items() if t.result is not None}
    planned = [t.planned for t in row.tasks.values()]
    by_planner = plan is not None and plan.source != "workflow"
    return Receipt(
        source=plan.source if plan else "local",
        workflow=plan.workflow if plan else None,
        revision=plan.revision if plan else 0,
        planner=plan.worker if plan and by_planner else None,
        plan_millis=max(0, plan.ended_at - plan.started_at) if plan and by_planner else None,
        tasks=tasks,
        critical_path=tuple(critical_path(planned, ended, plan.output_task)) if plan else (),
        cost_usd=total_cost(usage),
        calls=len(usage),
        input_tokens=sum(u.input_tokens for u in usage),
        output_tokens=sum(u.output_tokens for u in usage),
        duplicates=row.duplicates,
        lost_runs=(plan.lost_runs if plan else 0) + sum(t.lost_runs for t in tasks),
        left_out=_left_out(row),
        submitted_at=row.request.submitted_at if row.request else None,
        admitted_at=row.admitted_at,
        answered_at=now,
        replans=row.replans,
        max_cost_usd=row.cap_usd,
        spent_usd=spent(row) if row.cap_usd is not None else None,
        reserved_usd=held(row) if row.cap_usd is not None else None,
    )


def _content(row: Row, status: AnswerStatus) -> str:
    """The output task's text; without it, what the last completed tasks of each branch have to say."""
    done = {i: t for i, t in row.tasks.items() if t.completed and t.output is not None}
    final = row.tasks.get(row.plan.output_task) if row.plan else None
    if final is not None and final.completed:
        source = row.tasks[final.stand_in] if final.stand_in is not None else final
        return _text(source)
    if status not in ("partial", "expired", "completed"):
        return ""
    used = {d for t in done.values() for d in t.planned.depends_on}
    said = {i: t for i, t in done.items() if i not in used and t.planned.kind != APPROVAL}
    return "\n\n".join(f"{i}:\n{_text(t)}" for i, t in said.items())


def _text(task: TaskRow) -> str:
    return task.output.text if task.output is not None else ""


def answer(row: Row, request_id: str, status: AnswerStatus, error: Error | None, now: int) -> Answer:
    """The terminal answer to the row's request."""
    outputs = tuple(
        TaskInput(task_id=i, output=t.result.output)
        for i, t in row.tasks.items()
        if t.result is not None and t.completed and t.result.output is not None
    )
    return Answer(
        request_id=request_id,
        tenant=row.request.tenant if row.request else "default",
        status=status,
        content=_content(row, status),
        outputs=outputs,
        error=error,
        receipt=receipt(row, now),
    )
