"""How a request begins: admitted, its accounts granted, planned. Pure."""

from __future__ import annotations

from hocket.contracts.records import Error, Grant, Plan, PlannedTask, Progress, Request
from hocket.contracts.workflows import Workflow, expand
from hocket.core.plan import faults
from services.aggregator.admission import World, refusal
from services.aggregator.budget import planning_share
from services.aggregator.claimed import due, texts, told
from services.aggregator.dispatch import advance
from services.aggregator.ending import cancelled, end, expire, failed, late
from services.aggregator.events import Arrival, Ask, Dispatch, Drop, Step, Tell
from services.aggregator.replanning import take
from services.aggregator.row import Replanning, Row, TaskRow
from services.aggregator.tasks import planning


def on_request(row: Row | None, event: Arrival, now: int, world: World) -> Step:
    """A request that is new, or whose cancellation came first."""
    request = event.record
    assert isinstance(request, Request)  # noqa: S101 - the table says so
    alarm = row.alarm if row is not None else None
    born = Row(phase="planning", request=request, admitted_at=now, trace=event.trace, alarm=alarm)
    if row is not None and row.cancel is not None:
        return cancelled(born, row.cancel, now)
    wrong = refusal(request, world)
    return failed(born, wrong, now) if wrong is not None else _proceed(born, now, world)


def _proceed(row: Row, now: int, world: World) -> Step:
    """Asks for the next account; when there is none left to ask for, begins."""
    if late(row, now):
        return expire(row, now)
    command = due(row, world, now)
    if command is None:
        return _begin(row, now, world)
    waiting = {"phase": "waiting", "asked": (*row.asked, command), "waits_for": command.command_id}
    return row.model_copy(update=waiting), [Ask(command=command)]


def _begin(row: Row, now: int, world: World) -> Step:
    request = row.asked_for
    begun = row.model_copy(update={"phase": "planning", "waits_for": None})
    if request.workflow is None:
        question = Replanning(asked_at=now, budget_usd=planning_share(begun))
        asked = begun.model_copy(update={"planner": question})
        return asked, [Dispatch(task=planning(asked, now))]
    workflow = world.workflows.get(request.workflow)
    if workflow is None:  # taken away while the request waited
        message = f"there is no workflow {request.workflow!r} any more"
        return failed(begun, Error(kind="unknown_workflow", message=message), now)
    tasks = expand(workflow, request.policy.priority)
    return _accept(begun, _declared_plan(request, workflow, tasks, now), now, world)


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


def on_grant(row: Row | None, event: Arrival, now: int, world: World) -> Step:
    """An account's word: what was asked for, or that the session was taken away."""
    grant = event.record
    assert row is not None and isinstance(grant, Grant)  # noqa: S101, PT018 - the table says so
    detail = told(grant)
    reason = detail.get("reason")
    if detail.get("revoked") is True:
        why = f": {reason}" if isinstance(reason, str) else ""
        return end(row, "cancelled", Error(kind="cancelled", message=f"its session was taken away{why}"), now)
    if row.phase != "waiting" or grant.command_id != row.waits_for:
        return row, [Drop(reason="late_grant")]
    if not grant.granted:
        return _refused(row, grant, reason if isinstance(reason, str) else "no reason given", now)
    context = detail.get("context", detail)
    context = context if isinstance(context, dict) else {}
    constants = {**texts(context.get("constants")), **row.asked_for.constants}
    request = row.asked_for.model_copy(update={"constants": constants})
    given = {**row.given, **texts(context.get("results"))}
    money = {"granted_usd": grant.amount} if grant.account_id.startswith("tenant/") else {}
    return _proceed(row.model_copy(update={"request": request, "given": given, **money}), now, world)


def _refused(row: Row, grant: Grant, reason: str, now: int) -> Step:
    asked = tuple(c for c in row.asked if c.command_id != grant.command_id)  # nothing was given, nothing to give back
    row = row.model_copy(update={"asked": asked})
    if grant.account_id.startswith("session/"):
        message = f"The session {row.asked_for.session_id!r} was not free: {reason}"
        return failed(row, Error(kind="session_busy", message=message, retryable=True), now)
    message = f"The budget of tenant {row.asked_for.tenant!r} does not allow it: {reason}"
    return failed(row, Error(kind="over_budget", message=message), now)


def on_plan(row: Row | None, event: Arrival, now: int, world: World) -> Step:
    """The first plan, or the revision that was asked for."""
    plan = event.record
    assert row is not None and isinstance(plan, Plan)  # noqa: S101, PT018 - the table says so
    if row.planner is None or plan.revision != row.planner.revision:
        return row, [Drop(reason="duplicate_plan")]
    if row.phase == "planning":
        return _first_plan(row.model_copy(update={"planner": None}), plan, now, world)
    mended = take(row, plan, world)
    row_after, effects = advance(mended, now, world)
    if mended.replans[-1].error is not None:
        return row_after, effects
    return row_after, [_planned(mended, plan, now), *effects]


def _first_plan(row: Row, plan: Plan, now: int, world: World) -> Step:
    known = row.model_copy(update={"plan": plan})
    if plan.error is not None:
        return expire(known, now) if late(row, now) else failed(known, plan.error, now)
    wrong = faults(plan.tasks, plan.output_task, world.specialties, world.plan_limits)
    if wrong:
        error = Error(kind="invalid_plan", message=f"the plan from {plan.worker} cannot run: {'; '.join(wrong)}")
        return failed(known, error, now)
    return _accept(row, plan, now, world)


def _accept(row: Row, plan: Plan, now: int, world: World) -> Step:
    tasks = {t.task_id: TaskRow(planned=t, revision=plan.revision) for t in plan.tasks}
    kept = plan.model_copy(update={"tasks": ()})  # they stand in the row already
    running = row.model_copy(update={"phase": "running", "plan": kept, "tasks": tasks})
    row_after, effects = advance(running, now, world)
    return row_after, [_planned(running, plan, now), *effects]


def _planned(row: Row, plan: Plan, now: int) -> Tell:
    tasks = tuple(t.planned for t in row.tasks.values())
    revision = plan.revision + 1
    return Tell(
        progress=Progress(
            request_id=plan.request_id, kind="planned", worker=plan.worker, tasks=tasks, attempt=revision, at=now
        )
    )
