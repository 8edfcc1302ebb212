"""Mending a plan whose required tasks have failed: when the planner is asked, how its revision is taken in. Pure."""

from __future__ import annotations

from hocket.contracts.records import Error, Plan, Replan
from hocket.core.plan import faults
from services.aggregator.admission import World
from services.aggregator.budget import planning_share
from services.aggregator.ending import late
from services.aggregator.events import Dispatch, Effect
from services.aggregator.row import APPROVAL, Replanning, Row, TaskRow
from services.aggregator.tasks import planning

MAX_REVISIONS = 2
HOPELESS = frozenset({"cancelled", "deadline", "needs_model", "over_budget", "auth", "quota", "crashed_planner"})
"""Kinds of errors that another plan cannot mend."""


def broken(row: Row) -> tuple[str, ...]:
    """The required tasks that have failed for good."""
    return tuple(
        i
        for i, t in row.tasks.items()
        if t.result is not None and not t.completed and not t.planned.optional and t.skipped is None
    )


def mendable(row: Row, now: int) -> bool:
    """Whether the planner should be asked for another way.

    Only a model's plan is revised: a declared workflow is its author's word, and the rules would propose
    the same again.
    """
    lost = broken(row)
    if not lost or row.plan is None or row.plan.source != "llm" or row.planner is not None:
        return False
    if len(row.replans) >= MAX_REVISIONS or any(r.error is not None for r in row.replans) or late(row, now):
        return False
    return all(_may_help(row.tasks[i]) for i in lost)


def _may_help(task: TaskRow) -> bool:
    error = task.result.error if task.result is not None else None
    return task.planned.kind != APPROVAL and error is not None and error.kind not in HOPELESS


def awaited(row: Row) -> frozenset[str]:
    """The failed tasks that a revision may still replace: those the planner was asked about, and those that have failed
    since, when it can be asked once more."""
    if row.planner is None:
        return frozenset()
    lost = broken(row)
    again = len(row.replans) + 1 < MAX_REVISIONS and all(_may_help(row.tasks[i]) for i in lost)
    return frozenset(lost) if again else frozenset(row.planner.failed)


def ask(row: Row, now: int) -> tuple[Row, list[Effect]]:
    """Asks the planner to replace the failed tasks; everything else goes on meanwhile."""
    revision = len(row.replans) + 1
    question = Replanning(revision=revision, failed=broken(row), asked_at=now, budget_usd=planning_share(row))
    asked = row.model_copy(update={"planner": question})
    return asked, [Dispatch(task=planning(asked, now))]


def refuse(row: Row, error: Error, plan: Plan | None = None) -> Row:
    """The row when no better plan came: the failure stands, and the planner is not asked again."""
    question = row.planner
    if question is None:
        raise ValueError("the planner was not asked")
    note = Replan(revision=question.revision, failed=question.failed, error=error, **_who(plan))
    paid = row.plan if row.plan is None or plan is None else _paid(row.plan, plan)
    return row.model_copy(update={"planner": None, "plan": paid, "replans": (*row.replans, note)})


def _who(plan: Plan | None) -> dict[str, object]:
    return {} if plan is None else {"planner": plan.worker, "millis": max(0, plan.ended_at - plan.started_at)}


def _paid(plan: Plan, revision: Plan) -> Plan:
    """The plan with what its revision has cost, as far as is known."""
    return plan.model_copy(
        update={"usage": plan.usage + revision.usage, "lost_runs": plan.lost_runs + revision.lost_runs}
    )


def take(row: Row, plan: Plan, world: World) -> Row:
    """The row with the revision in the place of the failed tasks; an unsound one leaves the failure as it is."""
    if plan.error is not None:
        return refuse(row, plan.error, plan)
    question = row.planner
    if question is None or row.plan is None:
        raise ValueError("the planner was not asked")
    tasks = _merged(row, plan, question.failed)
    output = plan.output_task if plan.output_task in tasks else row.plan.output_task
    again = [i for i in question.failed if i in tasks]
    wrong = [f"{i!r} has failed before and needs a new id" for i in again]
    wrong += faults([t.planned for t in tasks.values()], output, world.specialties, world.plan_limits)
    if wrong:
        message = f"the revision from {plan.worker} cannot run: {'; '.join(wrong)}"
        return refuse(row, Error(kind="invalid_plan", message=message), plan)
    added = tuple(i for i, t in tasks.items() if t.revision == plan.revision)
    note = Replan(revision=plan.revision, failed=question.failed, added=added, **_who(plan))
    paid = _paid(row.plan, plan).model_copy(update={"output_task": output, "revision": plan.revision})
    return row.model_copy(
        update={
            "planner": None,
            "plan": paid,
            "tasks": tasks,
            "replaced": (*row.replaced, *(row.tasks[i] for i in question.failed)),
            "replans": (*row.replans, note),
        }
    )


def _merged(row: Row, plan: Plan, gone: tuple[str, ...]) -> dict[str, TaskRow]:
    """What has begun stays as it is; what has not is as the revision says; the failed are gone."""
    tasks = {i: t for i, t in row.tasks.items() if i not in gone}
    for planned in plan.tasks:
        known = tasks.get(planned.task_id)
        if known is None or not (known.begun or known.settled):
            tasks[planned.task_id] = TaskRow(planned=planned, revision=plan.revision)
    return tasks
