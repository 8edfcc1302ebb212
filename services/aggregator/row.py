"""The row of one request: all its state, in one place. Pure values; stored as JSON in the aggregator's table."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hocket.contracts.records import Control, Millis, Plan, PlannedTask, Record, Request, Result

Phase = Literal["unborn", "planning", "running", "ended"]
"""unborn: a command arrived before its request. ended: answered; kept so that a late record cannot start it again."""


class TaskRow(Record):
    """One task of the plan: what was asked, when it went out, what came back."""

    planned: PlannedTask
    dispatched_at: Millis | None = None
    result: Result | None = None
    skipped: str | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing more is expected of it."""
        return self.result is not None or self.skipped is not None

    @property
    def completed(self) -> bool:
        """Whether its output is there."""
        return self.result is not None and self.result.status == "completed"


class Row(Record):
    """Everything known about a request. `trace` is its trace context; `duplicates` counts dropped second results."""

    phase: Phase
    request: Request | None = None
    admitted_at: Millis = 0
    trace: str = ""
    plan: Plan | None = None
    tasks: dict[str, TaskRow] = Field(default_factory=dict)
    duplicates: int = 0
    cancel: Control | None = None
    ended_at: Millis | None = None

    def ended(self, now: int) -> Row:
        """The marker that stays after the answer: enough to recognise late records, nothing more."""
        return Row(phase="ended", admitted_at=self.admitted_at, ended_at=now, trace=self.trace)
