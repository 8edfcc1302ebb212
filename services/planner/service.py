"""Plans one request: by a model when one is configured, else by the rules of the declared workflows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hocket.contracts.records import Error, Plan, PlanSource, Progress, Request, Task
from hocket.contracts.specialties import Specialty
from hocket.contracts.workflows import Workflow, best_match, expand
from hocket.core.compile import Compiled, compile_plan
from hocket.core.estimate import Estimate
from hocket.core.plan import PlanLimits
from hocket.core.revise import Question, compile_revision, read_question
from hocket.core.single import single_task
from hocket.core.traces import Attributes
from hocket.kafka.runtime import Delivery, Outgoing
from hocket.llm.asking import Asker, Found, Sleep
from hocket.llm.base import ModelError
from hocket.llm.models import SET_A_KEY, Models
from hocket.llm.purse import Purse, Rate
from hocket.runtime import tracing
from services.planner.decompose import planning_call

PLANNING = "planning"
"""What the aggregator calls the planner's task, and the last part of its topic."""
RUNGS: Mapping[str, tuple[str, ...]] = {
    "fast": ("small", "middle", "frontier"),
    "balanced": ("frontier", "middle"),
    "best": ("frontier", "middle"),
}
"""Who plans, by the request's strategy. Nothing of the answer begins before the plan is there: `fast` gives up some of
its quality for that time."""
CHEAPEST = "small"
"""Plans otherwise only when the request has a cap whose share for planning does not pay for the others."""


@dataclass(kw_only=True)
class Planner:
    """Turns planning tasks into plans. Safe for any number of tasks at once; holds no state of a request."""

    specialties: Mapping[str, Specialty]
    workflows: Mapping[str, Workflow]
    models: Models
    plans_topic: str
    worker: str
    now_ms: Callable[[], int]
    limits: PlanLimits = field(default_factory=PlanLimits)
    sleep: Sleep = asyncio.sleep
    progress_topic: str | None = None
    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    rate: Rate | None = None

    async def handle(self, task: Task, delivery: Delivery) -> Sequence[Outgoing]:
        """The runtime's handler: one plan, or the reason why there is none, for every planning task.

        Followers are told at once that planning is under way.
        """
        if self.progress_topic is not None:
            begun = Progress(
                request_id=task.request_id,
                task_id=task.task_id,
                kind="assigned",
                attempt=task.attempt,
                worker=self.worker,
                at=self.now_ms(),
            )
            event_id = f"{task.request_id}/planning/{task.revision}.{task.attempt}/assigned"
            delivery.emit(Outgoing(topic=self.progress_topic, key=task.request_id, record=begun, event_id=event_id))
        with tracing.within(tracing.step("plan", "internal", _about(task))) as span:
            plan = await self.plan(task)
            span.set({"hocket.plan.source": plan.source, "hocket.plan.tasks": len(plan.tasks)})
            if plan.error is not None:
                span.failed(plan.error.kind, plan.error.message)
        return [self.outgoing(plan)]

    def on_crash(self, task: Task, delivery: Delivery, error: Exception) -> Sequence[Outgoing]:  # noqa: ARG002
        """What the request gets when planning it crashed."""
        message = f"The planner failed on this request ({type(error).__name__}); its dead letter tells why."
        started = self.now_ms()
        return [self.outgoing(self._plan(task, started, error=Error(kind="crashed", message=message)))]

    def on_cancel(self, task: Task, delivery: Delivery) -> Sequence[Outgoing]:  # noqa: ARG002 - the hook's form
        """What the request gets when its cancellation ended its planning, or kept it from being started."""
        error = Error(kind="cancelled", message="The request was cancelled.")
        return [self.outgoing(self._plan(task, self.now_ms(), error=error))]

    def outgoing(self, plan: Plan) -> Outgoing:
        """The plan as a record to send."""
        return Outgoing(topic=self.plans_topic, key=plan.request_id, record=plan, event_id=self.outcome_id(plan))

    @staticmethod
    def outcome_id(of: Task | Plan) -> str:
        """The id of the record with the plan."""
        return f"{of.request_id}/plan/{of.revision}"

    async def plan(self, task: Task) -> Plan:
        """The plan for a request. Failures of models are in the plan, none is raised; waits to the deadline at most."""
        started = self.now_ms()
        asked = read_question(task.options) if task.revision else None
        if task.revision and (asked is None or not self.models):
            return self._plan(task, started, source="llm", error=_cannot_replan(asked))
        if not self.models:
            return self._by_rules(task, started) or self._plan(task, started, error=self._needs_model())
        single = single_task(task, self.specialties) if asked is None else None
        if single is not None:
            return self._plan(task, started, tasks=(single,), output_task=single.task_id)
        asker = self._asker(task)
        rungs = RUNGS[task.strategy]
        call = planning_call(task, self.specialties, self.limits, asked)
        compiled = Compiled()

        def check(draft: dict[str, Any]) -> Sequence[str]:
            nonlocal compiled
            compiled = self._compiled(task, draft, asked)
            return compiled.faults

        found = await asker.climb(
            rungs if task.budget_usd is None or CHEAPEST in rungs else (*rungs, CHEAPEST),
            call,
            check,
            # A plan that stays unsound is no better from a smaller model.
            final={"malformed"} if rungs[0] == "frontier" else (),
        )
        used: dict[str, Any] = {"usage": tuple(asker.ledger.usage)}
        if isinstance(found, Found):
            plan = self._plan(task, started, source="llm", tasks=compiled.tasks, output_task=compiled.output_task)
            return plan.model_copy(update=used)
        instead = self._by_rules(task, started)
        plan = instead or self._plan(task, started, source="llm", error=self._failed(found))
        return plan.model_copy(update=used)

    def _asker(self, task: Task) -> Asker:
        return Asker(
            models=self.models,
            now_ms=self.now_ms,
            deadline_ms=task.deadline,
            strategy=task.strategy,
            gate=Purse(task.budget_usd, self.rate),
            sleep=self.sleep,
        )

    def _compiled(self, task: Task, draft: object, asked: Question | None) -> Compiled:
        known = list(self.specialties)
        if asked is not None:
            return compile_revision(
                draft, asked, known, revision=task.revision, priority=task.priority, limits=self.limits
            )
        left = None if task.deadline is None else max(0, task.deadline - self.now_ms())
        return compile_plan(
            draft, known, priority=task.priority, limits=self.limits, estimates=self.estimates, max_millis=left
        )

    def _by_rules(self, task: Task, started: int) -> Plan | None:
        request = Request(
            request_id=task.request_id, text=task.text, attachments=task.attachments, submitted_at=task.dispatched_at
        )
        # A replan has seen the rules' plan fail; they would only propose it again.
        workflow = best_match(list(self.workflows.values()), request) if task.revision == 0 else None
        if workflow is None:
            return None
        tasks = expand(workflow, task.priority)
        return self._plan(task, started, workflow=workflow.name, tasks=tasks, output_task=workflow.output)

    def _plan(self, task: Task, started: int, *, source: PlanSource = "local", **fields: Any) -> Plan:
        return Plan(
            request_id=task.request_id,
            revision=task.revision,
            source=source,
            worker=self.worker,
            started_at=started,
            ended_at=max(started, self.now_ms()),
            **fields,
        )

    def _needs_model(self) -> Error:
        names = ", ".join(w.name for w in self.workflows.values() if runs_locally(w, self.specialties))
        instead = f", or name a workflow that runs without one ({names})" if names else ""
        mend = SET_A_KEY[0].lower() + SET_A_KEY[1:-1]
        return Error(kind="needs_model", message=f"This open request needs a model to plan it: {mend}{instead}.")

    def _failed(self, error: ModelError | None) -> Error:
        if error is None:
            names = " or ".join(RUNGS["balanced"])
            message = f"No {names} model is in the catalogue for the configured providers (HOCKET_MODELS)."
            return Error(kind="needs_model", message=message)
        if error.kind == "malformed":
            return Error(kind="invalid_plan", message=f"The plan was refused: {error.message}")
        return Error(kind=error.kind, message=error.message, retryable=error.retryable)


def _about(task: Task) -> Attributes:
    return {
        "gen_ai.operation.name": "plan",
        "gen_ai.agent.name": PLANNING,
        "gen_ai.conversation.id": task.request_id,
        "hocket.request.length": len(task.text),
    }


def _cannot_replan(asked: Question | None) -> Error:
    if asked is None:
        message = "The planner was asked for a revision without being told what has failed."
    else:
        message = (
            f"{', '.join(asked.failed)} failed, and another way can only be planned by a model: none is configured."
        )
    return Error(kind="cannot_replan", message=message)


def runs_locally(workflow: Workflow, specialties: Mapping[str, Specialty]) -> bool:
    """Whether every task that the workflow needs has an engine that needs no model."""
    needed = [specialties.get(s.specialty) for s in workflow.tasks if not s.optional and s.approve is None]
    return all(s is not None and s.has_local and "local" in s.ladder["balanced"] for s in needed)
