"""What goes into the join and what comes out of it: arrivals and effects, as values. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from hocket.contracts.records import (
    AccountCommand,
    Answer,
    Control,
    Grant,
    Plan,
    Progress,
    Record,
    Request,
    Result,
    Task,
    Timer,
    Wakeup,
)
from services.aggregator.row import Row

Joined = Request | Plan | Result | Control | Grant | Wakeup


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """One joined record: the key it stands under, and its trace context. `cause` is the context that it came with,
    where `trace` is another one."""

    key: str
    record: Joined
    trace: str
    cause: str = ""


@dataclass(frozen=True, kw_only=True)
class Dispatch:
    """Send a task to its specialty's topic (or to the planner)."""

    task: Task


@dataclass(frozen=True, kw_only=True)
class Reply:
    """Send the answer; to `topic` if the request named one."""

    answer: Answer
    topic: str | None


@dataclass(frozen=True, kw_only=True)
class Tell:
    """Tell followers."""

    progress: Progress


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Command an account; the answer comes back as a Grant under the request's key."""

    command: AccountCommand


@dataclass(frozen=True, kw_only=True)
class Remind:
    """Set the request's one timer, or clear it (`due_at` None)."""

    timer: Timer


@dataclass(frozen=True, kw_only=True)
class Order:
    """Command the planner and the workers."""

    control: Control


@dataclass(frozen=True, kw_only=True)
class Drop:
    """Count a record that changed nothing; `reason` is one of a few fixed words."""

    reason: str


Send = Dispatch | Reply | Tell | Ask | Remind | Order
Effect = Send | Drop
Step = tuple[Row | None, list[Effect]]


def address(effect: Send) -> tuple[str, str, Record]:
    """(event id, key, record) of an effect that is sent. The event id is the same in every replay."""
    match effect:
        case Dispatch(task=t):
            return f"{t.request_id}/{t.task_id}/{t.revision}.{t.attempt}", t.request_id, t
        case Reply(answer=a):
            return f"{a.request_id}/answer", a.request_id, a
        case Tell(progress=p):
            return f"{p.request_id}/{p.kind}/{p.task_id or ''}/{p.attempt}", p.request_id, p
        case Ask(command=c):
            return c.command_id, c.account_id, c
        case Remind(timer=r):
            return f"{r.request_id}/timer/{r.due_at}", r.request_id, r
        case Order(control=o):
            return f"{o.request_id}/{o.action}/{o.at}", o.request_id, o
