"""What a follower knows of a request, from its progress records. Pure: `after` gives the next view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from hocket.contracts.records import Answer, PlannedTask, Progress
from hocket.core.plan import layers

PLANNING = "planning"
_TEXT_KEPT = 200


@dataclass(frozen=True, kw_only=True)
class TaskView:
    """One task as its follower sees it; `state` is pending, assigned, completed, failed or skipped."""

    planned: PlannedTask
    state: str = "pending"
    worker: str | None = None
    text: str = ""
    started_at: int | None = None
    ended_at: int | None = None


@dataclass(frozen=True, kw_only=True)
class View:
    """A request as its follower sees it."""

    request_id: str
    planner: str | None = None
    tasks: Mapping[str, TaskView] = field(default_factory=lambda: MappingProxyType({}))
    answer: Answer | None = None

    def after(self, event: Progress | Answer) -> View:
        """The view once the event is known. Events may come late, twice or not at all."""
        if isinstance(event, Answer):
            return replace(self, answer=event, tasks=_settled(self.tasks, event))
        if event.kind == "planned":
            known = self.tasks
            tasks = {t.task_id: replace(known.get(t.task_id) or TaskView(planned=t), planned=t) for t in event.tasks}
            return replace(self, tasks=tasks)
        if event.task_id is None:
            return self
        if event.task_id == PLANNING and event.task_id not in self.tasks:
            return replace(self, planner=event.worker or self.planner)
        return replace(self, tasks={**self.tasks, event.task_id: _moved(self.tasks.get(event.task_id), event)})

    def parents(self) -> dict[str, str | None]:
        """Under which task each one is shown: its dependency that runs last, None for the roots. In plan order."""
        plan = [t.planned for t in self.tasks.values()]
        depth = {i: n for n, wave in enumerate(layers(plan)) for i in wave}
        ordered = sorted(plan, key=lambda t: depth.get(t.task_id, 0))
        return {
            t.task_id: max((d for d in t.depends_on if d in depth), key=lambda d: depth[d], default=None)
            for t in ordered
        }


def _moved(task: TaskView | None, event: Progress) -> TaskView:
    # The plan may come after a first word from a worker: topics have no common order, and neither do producers.
    known = task or TaskView(planned=PlannedTask(task_id=event.task_id or "", specialty="", instruction=""))
    match event.kind:
        case "assigned" if known.state not in ("completed", "failed"):
            return replace(known, state="assigned", worker=event.worker, started_at=event.at)
        case "completed" | "failed":
            return replace(known, state=event.kind, worker=event.worker, ended_at=event.at, text=event.text)
        case "text":
            return replace(known, text=(known.text + event.text)[-_TEXT_KEPT:])
        case _:
            return known


def _settled(tasks: Mapping[str, TaskView], answer: Answer) -> dict[str, TaskView]:
    """The receipt has the last word on every task's state."""
    found = {}
    for t in answer.receipt.tasks:
        planned = PlannedTask(task_id=t.task_id, specialty=t.specialty, instruction="", depends_on=t.depends_on)
        known = tasks.get(t.task_id) or TaskView(planned=planned)
        found[t.task_id] = replace(
            known, state=t.state, worker=t.worker or known.worker, started_at=t.started_at, ended_at=t.ended_at
        )
    return found


def line(event: Progress | Answer) -> str | None:
    """The event as one plain line, for logs and pipes; None when it says nothing worth a line."""
    if isinstance(event, Answer):
        return f"answer: {event.status}"
    match event.kind:
        case "planned":
            return "plan: " + ", ".join(f"{t.task_id} ({t.specialty})" for t in event.tasks)
        case "assigned" | "completed" | "failed":
            more = f": {event.text}" if event.kind == "failed" and event.text else ""
            return f"{event.task_id}: {event.kind}{more}"
        case _:
            return None
