"""The row of one request: all its state, in one place. Pure values; stored as JSON in the aggregator's table."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hocket.contracts.records import (
    AccountCommand,
    Control,
    Millis,
    Output,
    Plan,
    PlannedTask,
    Record,
    Replan,
    Request,
    Result,
    Usage,
)

Phase = Literal["unborn", "waiting", "planning", "running", "ended"]
"""unborn: a command arrived before its request. waiting: for an account (session, tenant's budget). ended: answered;
kept as a marker so that a late record cannot start it again."""

APPROVAL = "approval"
"""The kind of a task that a person decides."""


class TaskRow(Record):
    """One task of the plan: what was asked, when it went out, what came back.

    `attempt` counts its dispatches; `sent_to` is the specialty it went to when that is a variant; `past` are results
    that did not settle it (earlier dispatches, or too late), without their outputs: they were paid for. `shares` are
    what each dispatch might spend, in US dollars, when the request has a cap. `passed_over` means that its condition
    did not hold; `stand_in` names the task whose output serves as its own. `bundle` names the task it was sent with.
    """

    planned: PlannedTask
    dispatched_at: Millis | None = None
    attempt: int = 0
    revision: int = 0
    sent_to: str | None = None
    shares: tuple[float, ...] = ()
    result: Result | None = None
    past: tuple[Result, ...] = ()
    skipped: str | None = None
    passed_over: bool = False
    stand_in: str | None = None
    bundle: str | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing more is expected of it."""
        return self.result is not None or self.skipped is not None

    @property
    def begun(self) -> bool:
        """Whether it was dispatched, or put before a person."""
        return self.dispatched_at is not None

    @property
    def in_flight(self) -> bool:
        """Whether a worker may be at it: some dispatch of it has not come back, needed or not."""
        back = {r.attempt for r in self.past} | ({self.result.attempt} if self.result is not None else set())
        return any(n not in back for n in range(1, self.attempt + 1))

    @property
    def awaited(self) -> bool:
        """Whether a worker's result is still needed."""
        return self.in_flight and not self.settled

    @property
    def undecided(self) -> bool:
        """Whether it waits for a person."""
        return self.begun and not self.settled and self.planned.kind == APPROVAL

    @property
    def completed(self) -> bool:
        """Whether its output is there."""
        return self.stand_in is not None or (self.result is not None and self.result.status == "completed")

    @property
    def dead(self) -> bool:
        """Whether it never will have an output that was promised."""
        return self.settled and not self.completed and not self.passed_over

    @property
    def output(self) -> Output | None:
        """Its own output, if it has one."""
        return self.result.output if self.result is not None else None

    @property
    def usage(self) -> tuple[Usage, ...]:
        """Every model call that was made for it."""
        last = self.result.usage if self.result is not None else ()
        return (*(u for r in self.past for u in r.usage), *last)


class Replanning(Record):
    """A question to the planner that is not answered yet: the plan's first revision is 0."""

    revision: int = 0
    failed: tuple[str, ...] = ()
    asked_at: Millis
    attempt: int = 1
    budget_usd: float | None = None


class Row(Record):
    """Everything known about a request.

    `trace` is its trace context; `duplicates` counts dropped second results; `asked` are the account commands that the
    end must close; `waits_for` is the id of the one that is not answered; `given` are the session's earlier results by
    specialty; `planner` is the open question to the planner; `replaced` are failed tasks that a revision took out of
    the plan; `alarm` is when the pending timer is due; `granted_usd` is what its tenant's daily budget has given it.
    """

    phase: Phase
    request: Request | None = None
    admitted_at: Millis = 0
    trace: str = ""
    plan: Plan | None = None
    tasks: dict[str, TaskRow] = Field(default_factory=dict)
    duplicates: int = 0
    cancel: Control | None = None
    ended_at: Millis | None = None
    asked: tuple[AccountCommand, ...] = ()
    waits_for: str | None = None
    given: dict[str, str] = Field(default_factory=dict)
    planner: Replanning | None = None
    replans: tuple[Replan, ...] = ()
    replaced: tuple[TaskRow, ...] = ()
    alarm: Millis | None = None
    granted_usd: float | None = None

    def ended(self, now: int) -> Row:
        """The marker that stays after the answer: enough to recognise late records, nothing more."""
        return Row(phase="ended", admitted_at=self.admitted_at, ended_at=now, trace=self.trace, alarm=self.alarm)

    @property
    def asked_for(self) -> Request:
        """Its request. Raises ValueError for a row that has none: unborn, or ended."""
        if self.request is None:
            raise ValueError(f"a row that is {self.phase} has no request")
        return self.request

    @property
    def deadline(self) -> int | None:
        """When the client stops waiting; None when it never does."""
        return self.request.policy.deadline if self.request is not None else None

    @property
    def cap_usd(self) -> float | None:
        """What it may cost: its own cap, else what its tenant's day has given it; None without either."""
        own = self.request.policy.max_cost_usd if self.request is not None else None
        return self.granted_usd if own is None else own

    @property
    def all_tasks(self) -> tuple[TaskRow, ...]:
        """Those of the plan and those that were replaced."""
        return (*self.replaced, *self.tasks.values())

    @property
    def busy(self) -> bool:
        """Whether a worker or the planner may be at work for it."""
        return self.planner is not None or any(t.in_flight for t in self.all_tasks)

    def with_task(self, task_id: str, **changes: object) -> Row:
        """The row with one of its tasks changed."""
        changed = self.tasks[task_id].model_copy(update=changes)
        return self.model_copy(update={"tasks": {**self.tasks, task_id: changed}})
