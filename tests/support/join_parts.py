"""Records and a request's record-by-record transcript, for the tests of the join's parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hocket.contracts.records import (
    Control,
    Error,
    Grant,
    Output,
    Plan,
    PlannedTask,
    Policy,
    Request,
    Result,
    Usage,
    Wakeup,
)
from services.aggregator.admission import World
from services.aggregator.fleet import Fleet, SpecialtyView
from services.aggregator.join import Arrival, Ask, Dispatch, Drop, Effect, Order, Remind, Reply, Tell, step
from services.aggregator.row import Row

SPECIALTIES = frozenset({"research", "research-far", "writing", "synthesis", "approval"})
PLAIN = World(specialties=SPECIALTIES, workflows={})


def fleet(p50: float = 100, p95: float = 200, *, queue: int = 0, **more: Any) -> Fleet:
    """All specialties at one speed."""
    view = SpecialtyView(p50_millis=p50, p95_millis=p95, workers=1, queue=queue)
    return Fleet(specialties=dict.fromkeys((*SPECIALTIES, "planning"), view), **more)


def request(policy: dict[str, Any] | None = None, **changes: Any) -> Request:
    """An open request."""
    fields = {"request_id": "r", "text": "x", "submitted_at": 0, "policy": Policy(**(policy or {}))}
    return Request(**(fields | changes))


def task(task_id: str, *needs: str, specialty: str = "research", **changes: Any) -> PlannedTask:
    """A planned task; an approval's specialty is its kind."""
    specialty = "approval" if changes.get("kind") == "approval" else specialty
    return PlannedTask(task_id=task_id, specialty=specialty, instruction="-", depends_on=needs, **changes)


def plan(*tasks: PlannedTask, **changes: Any) -> Plan:
    """A model's plan whose last task is the output."""
    fields = {
        "request_id": "r",
        "source": "llm",
        "tasks": tasks,
        "output_task": tasks[-1].task_id if tasks else "",
        "worker": "p",
        "started_at": 10,
        "ended_at": 30,
    }
    return Plan(**(fields | changes))


def done(task_id: str, data: str = "{}", *, cost: float | None = 0.0, attempt: int = 1, **changes: Any) -> Result:
    """A completed task."""
    fields = {
        "request_id": "r",
        "task_id": task_id,
        "specialty": "research",
        "status": "completed",
        "output": Output(specialty="research", text=f"text of {task_id}", data=data),
        "usage": (Usage(provider="p", model="m", cost_usd=cost),),
        "worker": f"w{attempt}",
        "attempt": attempt,
        "started_at": 1,
        "ended_at": 2,
    }
    return Result(**(fields | changes))


def broke(task_id: str, *, kind: str = "broke", retryable: bool = False, **changes: Any) -> Result:
    """A failed task."""
    error = Error(kind=kind, message=f"{task_id} broke", retryable=retryable)
    return done(task_id, **changes).model_copy(update={"status": "failed", "output": None, "error": error})


def wake(due_at: int, at: int | None = None) -> Wakeup:
    """The alarm clock rings."""
    return Wakeup(request_id="r", due_at=due_at, at=due_at if at is None else at)


def command(action: Any, task_id: str | None = None, **changes: Any) -> Control:
    """A client's command."""
    return Control(request_id="r", action=action, task_id=task_id, at=0, **changes)


def grant(
    command_id: str,
    *,
    granted: bool = True,
    detail: str = "{}",
    account: str = "session/default/s",
    amount: float = 0.0,
) -> Grant:
    """An account's word."""
    return Grant(
        asker="r",
        account_id=account,
        command_id=command_id,
        granted=granted,
        amount=amount,
        detail=detail,
        at=0,
    )


@dataclass
class Talk:
    """A request as a transcript: `talk(now, record)` joins a record and keeps what it sent."""

    world: World = PLAIN
    row: Row | None = None
    sent: list[Effect] = field(default_factory=list)

    def __call__(self, now: int, record: Any) -> Talk:
        row, self.sent = step(self.row, Arrival(key="r", record=record, trace="t"), now, self.world)
        self.row = Row.model_validate_json(row.model_dump_json(exclude_defaults=True)) if row is not None else None
        return self

    def all(self, kind: type[Any]) -> list[Any]:
        return [e for e in self.sent if isinstance(e, kind)]

    @property
    def dispatched(self) -> list[str]:
        """`task` or `task#attempt` of what the last record sent out."""
        tasks = [d.task for d in self.all(Dispatch)]
        return [t.task_id if t.attempt == 1 else f"{t.task_id}#{t.attempt}" for t in tasks]

    @property
    def tasks(self) -> list[Any]:
        return [d.task for d in self.all(Dispatch)]

    @property
    def answer(self) -> Any:
        [reply] = self.all(Reply)
        return reply.answer

    @property
    def due(self) -> list[int | None]:
        return [r.timer.due_at for r in self.all(Remind)]

    @property
    def asked(self) -> list[Any]:
        return [a.command for a in self.all(Ask)]

    @property
    def orders(self) -> list[str]:
        return [o.control.action for o in self.all(Order)]

    @property
    def told(self) -> list[Any]:
        return [t.progress for t in self.all(Tell)]

    @property
    def dropped(self) -> list[str]:
        return [d.reason for d in self.all(Drop)]


def running(*tasks: PlannedTask, world: World = PLAIN, now: int = 100, source: str = "llm", **changes: Any) -> Talk:
    """A request whose plan has just been joined."""
    return Talk(world=world)(now - 50, request(**changes))(now, plan(*tasks, source=source))
