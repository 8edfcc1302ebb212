"""The commands of the person whom a request waits for: approve and reject."""

from __future__ import annotations

import asyncio
from typing import Literal

from hocket.cli.base import CliError, Output, print_json, user
from hocket.cli.exchange import Exchange, connect
from hocket.cli.follow import TaskView, View
from hocket.contracts.records import Control, Progress
from hocket.runtime.settings import Settings

CONFIRM_SECONDS = 5.0
Decision = Literal["approve", "reject"]


def objection(view: View, task_id: str) -> str | None:
    """Why nothing waits for a decision on the step, by what is known of the request; None when it may well wait.

    Progress is kept for a day, and a step may wait for longer: of what nothing is known, nothing is claimed. Pure.
    """
    if view.answer is not None:
        return f"{view.request_id} has ended ({view.answer.status}): nothing waits any more"
    if not view.tasks:
        return None
    task = view.tasks.get(task_id)
    if task is None or task.planned.kind != "approval":
        what = "no step" if task is None else "no approval"
        return f"{view.request_id} has {what} {task_id!r}. {_waiting(view)}"
    if task.state in ("completed", "failed"):
        return f"{task_id} of {view.request_id} is decided already: {task.text}"
    if not task.asked:
        return f"{task_id} of {view.request_id} does not wait yet: {_before(view, task)}. {_waiting(view)}"
    return None


def _waiting(view: View) -> str:
    found = [i for i, t in view.tasks.items() if t.planned.kind == "approval" and t.asked and t.state == "pending"]
    return f"Waiting: {', '.join(found)}" if found else "Nothing of it waits for a decision"


def _before(view: View, task: TaskView) -> str:
    left = [d for d in task.planned.depends_on if (t := view.tasks.get(d)) is not None and t.state != "completed"]
    return f"it comes after {', '.join(left)}" if left else "it comes next"


async def decide(settings: Settings, command: Control) -> bool:
    """Writes the decision; whether the request took it. Raises CliError when nothing waits for it."""
    task_id = command.task_id or ""
    async with connect(settings) as exchange:
        view = await _known(exchange, View(request_id=command.request_id))
        if (said := objection(view, task_id)) is not None:
            raise CliError(said, kind="nothing_waits", request_id=command.request_id)
        place = await exchange.place(command.request_id)
        await exchange.send(
            command, event_id=f"{command.request_id}/{command.action}/{task_id}/{command.at}", at_ms=command.at
        )
        async for heard in exchange.follow(place, seconds=CONFIRM_SECONDS):
            event = heard.record
            if not isinstance(event, Progress):
                return True  # it was the last step
            if event.task_id == task_id and event.kind in ("completed", "failed"):
                return True
    return False


async def _known(exchange: Exchange, view: View) -> View:
    """What stands in the topics of the request now."""
    place = await exchange.place(view.request_id, replay=True)
    async for heard in exchange.follow(place, seconds=0):
        view = view.after(heard.record)
    return view


def run_decision(
    settings: Settings, request_id: str, task_id: str, action: Decision, *, reason: str, now_ms: int, output: Output
) -> None:
    """`hocket approve` and `hocket reject`. Raises CliError when nothing waits, or nobody confirms it."""
    command = Control(request_id=request_id, action=action, task_id=task_id, reason=reason, by=user(), at=now_ms)
    if not asyncio.run(decide(settings, command)):
        raise CliError(
            f"sent, but within {CONFIRM_SECONDS:.0f} s nothing tells that {request_id} waited for it. Look at "
            f"`hocket result {request_id}`, and whether the aggregator runs (`hocket doctor`)",
            kind="not_confirmed",
            request_id=request_id,
        )
    if output is Output.json:
        print_json(command.model_dump(mode="json"))
    else:
        print(f"{task_id} of {request_id}: {'approved' if action == 'approve' else 'rejected'}")
