"""Time: the one timer of a request, and what a wake-up finds due. Pure; the row decides by its own data.

A wake-up that is early, late or doubled is harmless: it does what is due at `now`, and the timer is set anew. A timer
is only moved to an earlier moment; one that has become too early wakes the row once more than needed, which costs less
than a record for every task.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from hocket.contracts.records import Error, Result, Timer, Wakeup
from services.aggregator.admission import World
from services.aggregator.bundling import released
from services.aggregator.dispatch import advance, send
from services.aggregator.ending import expire, failed, late
from services.aggregator.events import Arrival, Dispatch, Effect, Remind, Step
from services.aggregator.replanning import refuse
from services.aggregator.row import Row, TaskRow
from services.aggregator.running import MAX_ATTEMPTS, decide
from services.aggregator.tasks import PLANNING, planning

LOOK_AGAIN_MS = 60_000
"""How often a request looks at tasks whose specialty's times are not known, or that have been silent for too long."""
FINISH_SHARE = 0.25
"""Part of a request's time that is kept for what follows optional tasks, while nothing better is known."""

Due = tuple[int, str]


@dataclass(frozen=True, kw_only=True)
class Silent:
    """A task that is out, and when its silence will have lasted too long; None while no copy of it would help."""

    name: str
    lost_at: int | None


def next_due(row: Row, now: int, world: World) -> Due | None:
    """The next moment at which time alone changes the row, and why; None when there is none."""
    if row.phase in ("unborn", "ended"):
        return max(now + 1, (row.ended_at or row.admitted_at) + world.done_marker_ms), "collect"
    moments: list[Due] = [] if row.deadline is None else [(row.deadline, "deadline")]
    moments += _silences(row, now, world)
    if row.phase == "running":
        moments += [(at, f"approval {i}") for i, t in row.tasks.items() if (at := _patience(t)) is not None]
        moments += [(at, f"finish {i}") for i, at in _last_calls(row, world).items() if at > now]
    return min(((max(at, now + 1), why) for at, why in moments), default=None)


def _silences(row: Row, now: int, world: World) -> list[Due]:
    """When each task that is out would be taken for stuck. Without any heartbeats nothing ever is."""
    if not world.fleet.specialties:
        return []
    found = []
    for silent in _out(row, world):
        at = now + LOOK_AGAIN_MS if silent.lost_at is None else silent.lost_at
        found.append((at if at > now else now + LOOK_AGAIN_MS, f"silent {silent.name}"))
    return found


def _out(row: Row, world: World) -> list[Silent]:
    """All that has been dispatched and not come back."""
    rid, fleet = row.asked_for.request_id, world.fleet
    out = [
        (i, t.sent_to or t.planned.specialty, t.dispatched_at or 0)
        for i, t in row.tasks.items()
        if t.awaited and t.bundle is None
    ]
    if row.planner is not None:
        out.append((PLANNING, PLANNING, row.planner.asked_at))
    found = []
    for name, specialty, since in out:
        sign = fleet.sign(rid, name)
        seen = sign is not None and sign >= since
        after = fleet.stuck_after(specialty, seen=seen)
        found.append(Silent(name=name, lost_at=None if after is None else max(since, sign or 0) + int(after)))
    return found


def _patience(task: TaskRow) -> int | None:
    """When an approval that nobody gave is decided; None when it waits for ever."""
    limit = _options(task).get("timeout_ms")
    usable = isinstance(limit, (int, float)) and not isinstance(limit, bool) and 0 <= limit < 1e13
    return (task.dispatched_at or 0) + int(limit) if task.undecided and usable and limit is not None else None


def _options(task: TaskRow) -> dict[str, Any]:
    try:
        found = orjson.loads(task.planned.options)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _last_calls(row: Row, world: World) -> dict[str, int]:
    """Of each task that waits for optional ones only: the moment at which it must do without them.

    That is the deadline less what it and the chain behind it take (p95; where that is not known, FINISH_SHARE of the
    request's time).
    """
    if row.deadline is None:
        return {}
    found = {}
    for i, task in row.tasks.items():
        open_ones = [row.tasks[d] for d in task.planned.depends_on if not row.tasks[d].settled]
        if not task.begun and not task.settled and open_ones and all(t.planned.optional for t in open_ones):
            found[i] = row.deadline - _needed(row, i, world)
    return found


def _needed(row: Row, task_id: str, world: World) -> int:
    """Milliseconds from the dispatch of a task to the end of the longest chain behind it."""
    chain = _longest(row, task_id, world, {})
    known = all(world.fleet.slow_millis(t.planned.specialty) is not None for t in row.tasks.values() if not t.begun)
    share = int(FINISH_SHARE * max(0, (row.deadline or 0) - row.admitted_at))
    return int(chain) if known else max(int(chain), share)


def _longest(row: Row, task_id: str, world: World, seen: dict[str, float]) -> float:
    if task_id not in seen:
        own = world.fleet.slow_millis(row.tasks[task_id].planned.specialty) or 0.0
        behind = [i for i, t in row.tasks.items() if task_id in t.planned.depends_on]
        seen[task_id] = own + max((_longest(row, i, world, seen) for i in behind), default=0.0)
    return seen[task_id]


def on_marker(row: Row | None, event: Arrival, now: int, world: World) -> Step:  # noqa: ARG001 - a move's form
    """The marker of an ended request (or of a command without one) goes when no record of it can come any more."""
    assert row is not None  # noqa: S101 - the table says so
    kept_until = (row.ended_at or row.admitted_at) + world.done_marker_ms
    return (None if now >= kept_until else row), []


def on_wakeup(row: Row | None, event: Arrival, now: int, world: World) -> Step:  # noqa: ARG001 - a move's form
    """Does what is due: the deadline, silent tasks, approvals that nobody gave, optional tasks that lag behind."""
    assert row is not None  # noqa: S101 - the table says so
    if late(row, now):
        return expire(row, now)
    if row.phase == "waiting":
        return row, []
    before, effects = row, list[Effect]()
    for name in _stuck(row, now, world):
        if name == PLANNING:
            attempts = row.planner.attempt if row.planner is not None else 0
            if row.phase == "planning" and attempts >= MAX_ATTEMPTS:
                return failed(row, _silent("the planner"), now)
            row, sent = _planner_again(row, now)
        else:
            row, sent = _task_again(row, name, now, world)
        effects += sent
    row = _without_laggards(_undecided(row, now), now, world)
    if row is before or row.phase != "running":
        return row, effects
    row_after, more = advance(row, now, world)
    return row_after, effects + more


def _stuck(row: Row, now: int, world: World) -> list[str]:
    return [s.name for s in _out(row, world) if s.lost_at is not None and now >= s.lost_at]


def _silent(what: str) -> Error:
    message = f"{what} was asked {MAX_ATTEMPTS} times and gave no sign of life: look at its workers' logs"
    return Error(kind="stuck", message=message)


def _planner_again(row: Row, now: int) -> tuple[Row, list[Effect]]:
    question = row.planner
    if question is None or question.attempt >= MAX_ATTEMPTS:
        return refuse(row, _silent("the planner")), []
    again = row.model_copy(
        update={"planner": question.model_copy(update={"attempt": question.attempt + 1, "asked_at": now})}
    )
    return again, [Dispatch(task=planning(again, now))]


def _task_again(row: Row, task_id: str, now: int, world: World) -> tuple[Row, list[Effect]]:
    row = released(row, task_id)
    task = row.tasks[task_id]
    if task.attempt < MAX_ATTEMPTS:
        return send(row, task_id, now, world, avoid=task.sent_to)
    lost = Result(
        request_id=row.asked_for.request_id,
        task_id=task_id,
        specialty=task.sent_to or task.planned.specialty,
        status="failed",
        error=_silent(task.sent_to or task.planned.specialty),
        worker="aggregator",
        attempt=0,
        revision=task.revision,
        started_at=task.dispatched_at or now,
        ended_at=now,
    )
    return row.with_task(task_id, result=lost), []


def _undecided(row: Row, now: int) -> Row:
    for task_id, task in row.tasks.items():
        limit = _patience(task)
        if limit is not None and now >= limit:
            approved = _options(task).get("on_timeout") == "approve"
            row = decide(row, task_id, approved=approved, by="", reason="nobody decided in time", now=now)
    return row


def _without_laggards(row: Row, now: int, world: World) -> Row:
    for task_id, at in (_last_calls(row, world) if row.phase == "running" else {}).items():
        for d in row.tasks[task_id].planned.depends_on:
            if now >= at and not row.tasks[d].settled:
                row = row.with_task(d, skipped="it lagged behind the request's deadline")
    return row


def reminded(before: Row | None, moved: Step, event: Arrival, now: int, world: World) -> Step:
    """The step with its timer set, moved to an earlier moment, or cleared."""
    after, step_effects = moved
    woken = isinstance(event.record, Wakeup)
    if after is None:
        gone = woken or before is not None
        return None, [*step_effects, _timer(event.key, None)] if gone else step_effects
    if after is before and not woken:
        return after, step_effects
    ended = after.phase == "ended" and (before is None or before.phase != "ended")
    fired = isinstance(event.record, Wakeup) and (after.alarm is None or event.record.due_at >= after.alarm)
    alarm = None if ended or fired else after.alarm
    due = next_due(after, now, world)
    if due is not None and (alarm is None or due[0] < alarm):
        return after.model_copy(update={"alarm": due[0]}), [*step_effects, _timer(event.key, due)]
    if due is None and fired:
        return after.model_copy(update={"alarm": None}), [*step_effects, _timer(event.key, None)]
    return after, step_effects


def _timer(request_id: str, due: Due | None) -> Remind:
    at, why = due if due is not None else (None, "")
    return Remind(timer=Timer(request_id=request_id, due_at=at, reason=why))
