"""What a follower knows of a request, from its progress records. Pure: `after` gives the next view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from hocket.contracts.records import Answer, PlannedTask, Progress
from hocket.core.plan import layers
from hocket.core.transcript import Change

PLANNING = "planning"
_TEXT_KEPT = 200


@dataclass(frozen=True, kw_only=True)
class TaskView:
    """One task as its follower sees it; `state` is pending, assigned, completed, failed or skipped.

    `dispatch` is the revision and attempt that the state is of; `asked` tells that an approval waits for its person.
    """

    planned: PlannedTask
    state: str = "pending"
    worker: str | None = None
    text: str = ""
    dispatch: tuple[int, int] = (0, 0)
    asked: bool = False
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

    def said(self, change: Change) -> View:
        """The view once a task's text has changed; the last words of it are kept."""
        known = self.tasks.get(change.task_id) or _unplanned(change.task_id)
        text = ("" if change.start == 0 else known.text) + change.text
        return replace(self, tasks={**self.tasks, change.task_id: replace(known, text=text[-_TEXT_KEPT:])})

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
    known = task or _unplanned(event.task_id or "")
    dispatch = (event.revision, event.attempt)
    if dispatch < known.dispatch:
        return known
    match event.kind:
        case "assigned" if known.state not in ("completed", "failed") or dispatch > known.dispatch:
            return replace(
                known,
                state="assigned",
                worker=event.worker,
                started_at=event.at,
                ended_at=None,
                dispatch=dispatch,
                text=known.text if dispatch == known.dispatch else "",
            )
        case "completed" | "failed":
            return replace(
                known, state=event.kind, worker=event.worker, ended_at=event.at, text=event.text, dispatch=dispatch
            )
        case "other":
            return replace(known, text=event.text, asked=True)
        case _:
            return known


def _unplanned(task_id: str) -> TaskView:
    return TaskView(planned=PlannedTask(task_id=task_id, specialty="", instruction=""))


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


class TextLines:
    """Streamed text as whole lines `task| text`, for people who read a pipe."""

    def __init__(self) -> None:
        self._open: dict[str, str] = {}
        self._chars: dict[str, int] = {}

    def after(self, event: Progress | Answer, changes: Sequence[Change]) -> list[str]:
        """The lines that are complete now: by their end, or by the end of their task."""
        found = [line for change in changes for line in self._changed(change)]
        if isinstance(event, Answer):
            return found + self.rest()
        if event.kind in ("completed", "failed") and event.task_id is not None:
            found += self._ended(event.task_id)
        return found

    def rest(self) -> list[str]:
        """What has no line end yet: nobody listens on, and who goes on by the token is not told it again."""
        return [line for task_id in tuple(self._open) for line in self._ended(task_id)]

    def _changed(self, change: Change) -> list[str]:
        known = self._chars.get(change.task_id, 0)
        again = change.start != known and known > 0
        *whole, rest = (("" if again else self._open.get(change.task_id, "")) + change.text).split("\n")
        self._open[change.task_id] = rest
        self._chars[change.task_id] = change.start + len(change.text)
        anew = [f"{change.task_id}: begun anew from character {change.start}"] if again else []
        return anew + [f"{change.task_id}| {text}" for text in whole]

    def _ended(self, task_id: str) -> list[str]:
        rest = self._open.pop(task_id, "")
        return [f"{task_id}| {rest}"] if rest else []


def line(event: Progress | Answer) -> str | None:
    """The event as one plain line, for logs and pipes; None when it says nothing worth a line."""
    if isinstance(event, Answer):
        return f"answer: {event.status}"
    match event.kind:
        case "planned":
            return "plan: " + ", ".join(f"{t.task_id} ({t.specialty})" for t in event.tasks)
        case "assigned" | "completed" | "failed":
            more = f": {event.text}" if event.text else ""
            again = f" (attempt {event.attempt})" if event.kind == "assigned" and event.attempt > 1 else ""
            return f"{event.task_id}: {event.kind}{again}{more}"
        case "other" if event.text:
            return f"{event.task_id}: {event.text}"
        case _:
            return None


def document(event: Progress | Answer, changes: Sequence[Change], token: str) -> dict[str, Any]:
    """The event as one JSON object: what `hocket follow -o json` prints, a line each.

    `token` goes on after it. `texts` says how streamed text changes: the task's text is what it was up to its `from`-th
    character, and then `text`.
    """
    found: dict[str, Any] = {"kind": event.kind if isinstance(event, Progress) else "answer"}
    if isinstance(event, Answer):
        found["answer"] = event.model_dump(mode="json")
    elif event.kind == "planned":
        found["tasks"] = [
            {"task": t.task_id, "specialty": t.specialty, "depends_on": list(t.depends_on)} for t in event.tasks
        ]
    else:
        found |= {"task": event.task_id, "worker": event.worker, "attempt": event.attempt, "revision": event.revision}
        if event.text and event.kind != "text":
            found["message"] = event.text
    if changes:
        found["texts"] = [{"task": c.task_id, "from": c.start, "text": c.text} for c in changes]
    return found | {"token": token}
