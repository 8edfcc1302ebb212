"""The records that cross topics, as frozen pydantic models.

`schemas/*.avsc` is the contract and carries the meaning of every field; a test holds these models against it in both
directions. Times are integers: milliseconds since the epoch, UTC. An optional field that is not set is None, never "".
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hocket.contracts.base import Millis as Millis
from hocket.contracts.base import Record as Record
from hocket.contracts.internal import AccountCommand as AccountCommand
from hocket.contracts.internal import Away as Away
from hocket.contracts.internal import Grant as Grant
from hocket.contracts.internal import Handover as Handover
from hocket.contracts.internal import Heartbeat as Heartbeat
from hocket.contracts.internal import Timer as Timer
from hocket.contracts.internal import Wakeup as Wakeup


class Attachment(Record):
    """A document that travels with a request: inline, or by reference (claim check) when it is large."""

    name: str
    media_type: str
    data: bytes | None = None
    uri: str | None = None
    size: int = 0
    sha256: str | None = None


Strategy = Literal["fast", "balanced", "best"]
OnBusy = Literal["reject", "enqueue", "replace"]


class Policy(Record):
    """What the client asks for beside the work itself."""

    strategy: Strategy = "balanced"
    max_cost_usd: float | None = None
    deadline: Millis | None = None
    priority: int = 5
    on_busy: OnBusy = "reject"


class Request(Record):
    """What a client asks for. Sending the same request_id again is the same request."""

    request_id: str
    tenant: str = "default"
    session_id: str | None = None
    constants: dict[str, str] = Field(default_factory=dict)
    text: str = ""
    attachments: tuple[Attachment, ...] = ()
    workflow: str | None = None
    reply_topic: str | None = None
    policy: Policy = Field(default_factory=Policy)
    submitted_at: Millis


PlanSource = Literal["llm", "workflow", "local"]
TaskKind = Literal["work", "approval"]


class PlannedTask(Record):
    """One node of a plan."""

    task_id: str
    specialty: str
    instruction: str
    depends_on: tuple[str, ...] = ()
    priority: int = 5
    optional: bool = False
    options: str = "{}"
    strategy: Strategy | None = None
    condition: str | None = None
    kind: TaskKind = "work"


class Usage(Record):
    """One model call and what it cost."""

    provider: str
    model: str
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    millis: int = 0
    cache_write_tokens: int = 0
    estimated: bool = False


class Error(Record):
    """Why something failed, in words that say who must act and how."""

    kind: str
    message: str
    retryable: bool = False


class Plan(Record):
    """A request split into tasks, or the reason why that failed."""

    request_id: str
    revision: int = 0
    source: PlanSource
    workflow: str | None = None
    tasks: tuple[PlannedTask, ...] = ()
    output_task: str = ""
    usage: tuple[Usage, ...] = ()
    lost_runs: int = 0
    error: Error | None = None
    worker: str
    started_at: Millis
    ended_at: Millis


class Output(Record):
    """What a task produced, as its specialty's own output record."""

    specialty: str
    text: str = ""
    data: str | None = None
    uri: str | None = None
    size: int = 0
    sha256: str | None = None


class TaskInput(Record):
    """The output of a task that this one depends on."""

    task_id: str
    output: Output


class BundledStep(Record):
    """A task that the worker of an earlier one may do right behind it, with its local engine."""

    task_id: str
    specialty: str
    instruction: str
    depends_on: tuple[str, ...] = ()
    inputs: tuple[TaskInput, ...] = ()
    context: str | None = None
    options: str = "{}"
    strategy: Strategy = "balanced"
    attempt: int = 1
    revision: int = 0


class Task(Record):
    """Everything a worker needs for one task, and nothing else."""

    request_id: str
    task_id: str
    specialty: str
    instruction: str
    text: str = ""
    attachments: tuple[Attachment, ...] = ()
    inputs: tuple[TaskInput, ...] = ()
    constants: dict[str, str] = Field(default_factory=dict)
    context: str | None = None
    options: str = "{}"
    workflow: str | None = None
    tenant: str = "default"
    strategy: Strategy = "balanced"
    priority: int = 5
    deadline: Millis | None = None
    budget_usd: float | None = None
    attempt: int = 1
    revision: int = 0
    dispatched_at: Millis
    bundle: tuple[BundledStep, ...] = ()


ResultStatus = Literal["completed", "failed", "cancelled"]


class Attempt(Record):
    """One try at a task, by one engine."""

    number: int
    engine: str
    outcome: str
    message: str | None = None
    started_at: Millis
    ended_at: Millis


class BundledResult(Record):
    """A step of a bundle that was done; those that were not are left out."""

    task_id: str
    specialty: str
    output: Output
    attempts: tuple[Attempt, ...] = ()
    engine: str | None = None
    why: str | None = None
    prompt_version: str | None = None
    attempt: int = 0
    revision: int = 0
    started_at: Millis
    ended_at: Millis


class Result(Record):
    """How one task ended."""

    request_id: str
    task_id: str
    specialty: str
    status: ResultStatus
    output: Output | None = None
    error: Error | None = None
    usage: tuple[Usage, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    worker: str
    engine: str | None = None
    why: str | None = None
    prompt_version: str | None = None
    cache_hits: int = 0
    lost_runs: int = 0
    attempt: int = 0
    revision: int = 0
    started_at: Millis
    ended_at: Millis
    bundle: tuple[BundledResult, ...] = ()


AnswerStatus = Literal["completed", "partial", "failed", "cancelled", "expired"]
TaskState = Literal["pending", "assigned", "completed", "failed", "skipped"]


class TaskReceipt(Record):
    """What became of one task."""

    task_id: str
    specialty: str
    state: TaskState = "pending"
    depends_on: tuple[str, ...] = ()
    optional: bool = False
    worker: str | None = None
    engine: str | None = None
    why: str | None = None
    dispatched_at: Millis | None = None
    started_at: Millis | None = None
    ended_at: Millis | None = None
    cost_usd: float | None = None
    calls: int = 0
    retries: int = 0
    cache_hits: int = 0
    lost_runs: int = 0
    error: Error | None = None
    dispatches: int = 0
    revision: int = 0
    replaced_by: int | None = None
    estimated_calls: int = 0
    prompt_version: str | None = None
    budget_usd: float | None = None
    bundled_with: str | None = None


class LeftOut(Record):
    """Something the answer had to do without."""

    what: str
    why: str


class Replan(Record):
    """One revision of the plan, asked for because required tasks had failed."""

    revision: int
    failed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    planner: str | None = None
    millis: int | None = None
    error: Error | None = None


class Receipt(Record):
    """What was done for a request, by whom, how long it took and what it cost."""

    source: PlanSource = "local"
    workflow: str | None = None
    revision: int = 0
    planner: str | None = None
    plan_millis: int | None = None
    tasks: tuple[TaskReceipt, ...] = ()
    critical_path: tuple[str, ...] = ()
    cost_usd: float | None = None
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    duplicates: int = 0
    lost_runs: int = 0
    left_out: tuple[LeftOut, ...] = ()
    submitted_at: Millis | None = None
    admitted_at: Millis
    answered_at: Millis
    replans: tuple[Replan, ...] = ()
    max_cost_usd: float | None = None
    spent_usd: float | None = None
    reserved_usd: float | None = None


class Answer(Record):
    """The one terminal answer to a request, with its receipt."""

    request_id: str
    tenant: str = "default"
    status: AnswerStatus
    content: str = ""
    outputs: tuple[TaskInput, ...] = ()
    error: Error | None = None
    receipt: Receipt


ControlAction = Literal["cancel", "approve", "reject"]


class Control(Record):
    """A command to a request that is under way; broadcast to planner and workers, joined by the aggregator."""

    request_id: str
    action: ControlAction
    task_id: str | None = None
    reason: str = ""
    by: str = ""
    at: Millis


ProgressKind = Literal["planned", "assigned", "completed", "failed", "text", "other"]


class Progress(Record):
    """Something that a follower of a request may want to see at once. Losing one harms nothing."""

    request_id: str
    task_id: str | None = None
    kind: ProgressKind
    attempt: int = 1
    worker: str | None = None
    tasks: tuple[PlannedTask, ...] = ()
    text: str = ""
    revision: int = 0
    run: str = ""
    start: int = 0
    at: Millis


class DeadLetter(Record):
    """A record that could not be processed, kept with everything needed to fix and replay it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None = None
    value: bytes | None = None
    headers: dict[str, bytes] = Field(default_factory=dict)
    kind: str
    reason: str
    service: str
    timestamp: Millis | None = None
    at: Millis
