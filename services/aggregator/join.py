"""The join: `step(row, event, now, world) -> (row, effects)`. Pure; the whole life of a request is decided here.

Laws:
1. Everything that moves a request from one phase to another stands in TABLE; the moves know no Kafka, clock or model.
2. `now` is the broker's append time of the record that is joined, so a replay decides exactly the same.
3. The order between topics is not relied on: a record that comes early, late or twice is harmless.
4. A row that has ended never sends anything again, except for its one timer, and is deleted by it.
5. A move that ends in a phase which its entry does not name raises IllegalMove, and nothing is changed.

The diagram in docs/requests.md is drawn from TABLE (`python -m tests.support.states`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hocket.contracts.records import Control, Error, Grant, Plan, Request, Result, Wakeup
from services.aggregator.admission import World
from services.aggregator.clocking import on_marker, on_wakeup, reminded
from services.aggregator.ending import failed
from services.aggregator.events import (
    Arrival,
    Ask,
    Dispatch,
    Drop,
    Effect,
    Joined,
    Order,
    Remind,
    Reply,
    Send,
    Step,
    Tell,
    address,
)
from services.aggregator.opening import on_grant, on_plan, on_request
from services.aggregator.row import Row
from services.aggregator.running import on_cancel, on_decision, on_early_cancel, on_result
from services.aggregator.tasks import PLANNING

__all__ = [
    "PLANNING", "TABLE", "Arrival", "Ask", "Dispatch", "Drop", "Effect", "IllegalMove", "Joined", "Move", "Order",
    "Remind", "Reply", "Send", "Step", "Tell", "address", "give_up", "phase_of", "step", "word_of",
]  # fmt: skip

ABSENT = "absent"
"""The phase of a request that has no row: not seen yet, or forgotten."""


class IllegalMove(RuntimeError):  # noqa: N818 - named for what it is
    """The join has a defect: a move ended where the table does not let it. The record becomes a dead letter."""


@dataclass(frozen=True, kw_only=True)
class Move:
    """What an event does in a phase, and where that may lead: the phases after it, each with the reason."""

    act: Callable[[Row | None, Arrival, int, World], Step]
    to: Mapping[str, str]


_BEGINS = {
    "waiting": "session or budget asked for",
    "planning": "planner asked",
    "running": "declared workflow: its first tasks dispatched",
    "ended": "refused, or too late",
}
_CANCELLED = Move(act=on_cancel, to={"ended": "answered as cancelled, with what is there"})
_GRANTED = Move(act=on_grant, to=_BEGINS | {"ended": "refused, revoked or too late"})

TABLE: Mapping[tuple[str, str], Move] = {
    (ABSENT, "request"): Move(act=on_request, to=_BEGINS),
    (ABSENT, "cancel"): Move(act=on_early_cancel, to={"unborn": "remembered until the request comes"}),
    ("unborn", "request"): Move(act=on_request, to={"ended": "answered as cancelled"}),
    ("unborn", "wakeup"): Move(act=on_marker, to={"unborn": "too early", ABSENT: "the request never came"}),
    ("waiting", "grant"): _GRANTED,
    ("waiting", "cancel"): _CANCELLED,
    ("waiting", "wakeup"): Move(act=on_wakeup, to={"waiting": "nothing due", "ended": "expired"}),
    ("planning", "plan"): Move(
        act=on_plan,
        to={
            "planning": "not the one that was asked for",
            "running": "sound: its first tasks dispatched",
            "ended": "no plan, or an unsound one: failed",
        },
    ),
    ("planning", "grant"): Move(act=on_grant, to={"planning": "repeated", "ended": "session revoked: cancelled"}),
    ("planning", "cancel"): _CANCELLED,
    ("planning", "wakeup"): Move(
        act=on_wakeup, to={"planning": "a silent planner asked again", "ended": "expired, or the planner stayed silent"}
    ),
    ("running", "result"): Move(
        act=on_result,
        to={
            "running": "what became ready dispatched; a failed task sent again, or the planner asked to replace it",
            "ended": "nothing left to wait for: completed, partial or failed",
        },
    ),
    ("running", "plan"): Move(
        act=on_plan,
        to={"running": "the failed tasks replaced", "ended": "no other way: partial or failed"},
    ),
    ("running", "approve"): Move(
        act=on_decision, to={"running": "the approved go on", "ended": "it was the last step"}
    ),
    ("running", "reject"): Move(act=on_decision, to={"running": "other branches go on", "ended": "nothing is left"}),
    ("running", "grant"): Move(act=on_grant, to={"running": "repeated", "ended": "session revoked: cancelled"}),
    ("running", "cancel"): _CANCELLED,
    ("running", "wakeup"): Move(
        act=on_wakeup,
        to={
            "running": "silent tasks sent again, laggards done without, approvals timed out",
            "ended": "expired, or nothing left to wait for",
        },
    ),
    ("ended", "wakeup"): Move(act=on_marker, to={"ended": "too early", ABSENT: "forgotten"}),
}
"""(phase before, event) -> move. What is not in it changes nothing and is counted."""

_STRAY = {
    "plan": "duplicate_plan",
    "result": "stray_result",
    "grant": "late_grant",
    "approve": "control_without_step",
    "reject": "control_without_step",
    "cancel": "late_control",
    "request": "duplicate_request",
    "wakeup": "stray_wakeup",
}


def word_of(record: Joined) -> str:
    """The event's name in the table."""
    match record:
        case Request():
            return "request"
        case Plan():
            return "plan"
        case Result():
            return "result"
        case Grant():
            return "grant"
        case Wakeup():
            return "wakeup"
        case Control():
            return record.action


def phase_of(row: Row | None) -> str:
    """The row's phase in the table."""
    return ABSENT if row is None else row.phase


def step(row: Row | None, event: Arrival, now: int, world: World) -> Step:
    """The row after the event, and what must be sent. Both belong into one transaction with the event's offset.

    A row of None is to be deleted. Raises IllegalMove (or whatever a defect raises) without any change.
    """
    phase, word = phase_of(row), word_of(event.record)
    move = TABLE.get((phase, word))
    if move is None and isinstance(event.record, Grant) and event.record.account_id.startswith("provider/"):
        return row, []  # a lease for a worker, which reads it itself
    if move is None:
        return reminded(row, (row, [Drop(reason=_stray(phase, word))]), event, now, world)
    after, effects = move.act(row, event, now, world)
    if phase_of(after) not in move.to:
        raise IllegalMove(f"{word} must not lead from {phase} to {phase_of(after)}")
    return reminded(row, (after, effects), event, now, world)


def _stray(phase: str, word: str) -> str:
    if word == "result" and phase == "ended":
        return "late_result"
    return "stray_plan" if word == "plan" and phase == ABSENT else _STRAY[word]


def give_up(row: Row | None, event: Arrival, now: int, world: World | None = None) -> Step:
    """Ends a request whose step crashed, so that its client hears of it; the record itself is dead-lettered."""
    record = event.record
    if row is None and isinstance(record, Request):
        row = Row(phase="planning", request=record, admitted_at=now, trace=event.trace)
    if row is None or row.request is None or row.phase == "ended":
        return row, [Drop(reason="crashed")]
    bare = row.model_copy(update={"plan": None, "tasks": {}, "replaced": (), "replans": ()})
    message = "the aggregator could not process a record of this request; see the dead letters"
    ended = failed(bare, Error(kind="internal", message=message), now)
    return reminded(row, ended, event, now, world or World(specialties=(), workflows={}))
