"""The records that services write for each other alone; `hocket.contracts.records` has them, too."""

from __future__ import annotations

from pydantic import Field

from hocket.contracts.base import Millis, Record


class Heartbeat(Record):
    """A worker's own account of its health, every second."""

    worker: str
    service: str
    specialty: str | None = None
    started_at: Millis
    at: Millis
    partitions: tuple[str, ...] = ()
    in_flight: int = 0
    queued: int = 0
    completed: int = 0
    failed: int = 0
    mean_millis: float | None = None
    state: str = "running"
    version: str = ""
    queued_by_class: tuple[int, ...] = ()
    per_second: float = 0.0
    error_rate: float | None = None
    p50_millis: float | None = None
    p95_millis: float | None = None
    rate_limited: bool = False
    paused: tuple[str, ...] = ()
    concurrency: int = 0
    expected: dict[str, int] = Field(default_factory=dict)


class Away(Record):
    """Of one partition that its worker does not hold any more: what it still runs, and what it has done since."""

    partition: int
    running: tuple[int, ...] = ()
    done: tuple[int, ...] = ()


class Handover(Record):
    """A worker's word on the calls that it took with it when partitions went to another one; the newest counts."""

    worker: str
    topic: str
    ended: int
    away: tuple[Away, ...] = ()
    at: Millis


class AccountCommand(Record):
    """A command on an account that spans requests: a session, a tenant, a provider key."""

    account_id: str
    asker: str
    command_id: str
    action: str
    amount: float = 0.0
    detail: str = "{}"
    at: Millis


class Grant(Record):
    """The answer to an account command."""

    asker: str
    account_id: str
    command_id: str
    granted: bool
    amount: float = 0.0
    detail: str = "{}"
    expires_at: Millis | None = None
    at: Millis


class Timer(Record):
    """The next moment at which a request must look at itself; the newest per request counts."""

    request_id: str
    due_at: Millis | None = None
    reason: str = ""


class Wakeup(Record):
    """A timer has come due. Late, early or double ones are harmless: the row decides by its own data."""

    request_id: str
    due_at: Millis
    at: Millis
