"""One task of a specialty: fetch what it refers to, run an engine, report the result."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import structlog

from hocket.contracts.claims import Blobs, ClaimError, fits, held_inline, shrink_result
from hocket.contracts.records import Error, Output, Progress, ProgressKind, Result, Task, Usage
from hocket.contracts.specialties import Specialty
from hocket.contracts.topics import Topics
from hocket.core.coalesce import Piece
from hocket.core.traces import Attributes
from hocket.core.work import BadInput, Document, Input, Work
from hocket.kafka.log import KafkaRefused, TooLarge
from hocket.kafka.runtime import Delivery, Outgoing
from hocket.llm.gate import Gate
from hocket.llm.purse import Purse, Rate
from hocket.runtime import tracing
from services.workers.bundle import Bundle, RunsLocally
from services.workers.engine import Outcome
from services.workers.telling import Telling

log = structlog.get_logger(__name__)
_SLACK_S = 0.25
"""Engines know the deadline and end by it, with an account of what it cost; after this they are cut off."""


class Runs(RunsLocally, Protocol):
    """What a worker asks of its engines; see services.workers.engine.Engines."""

    async def run(
        self,
        specialty: Specialty,
        work: Work,
        *,
        strategy: str,
        deadline_ms: int | None,
        gate: Gate,
        on_text: Callable[[str], None],
    ) -> Outcome:
        """Runs a task, every call to a model behind the gate; failures are in the Outcome.

        `on_text` is called in the event loop with the readable text piece by piece, and with an empty piece whenever
        a reply begins anew and what came before is void.
        """


def work_of(task: Task, blobs: Blobs) -> Work:
    """The task as engines see it. Blocks on the blob store. Raises ClaimError, BadInput."""
    try:
        options = json.loads(task.options)
        inputs = tuple(
            Input(task_id=i.task_id, specialty=i.output.specialty, output=json.loads(blobs.output(i.output)))
            for i in task.inputs
        )
    except ValueError as e:
        raise BadInput(f"The options or an input of task {task.task_id} are not JSON: {e}") from e
    if not isinstance(options, dict):
        raise BadInput(f"The options of task {task.task_id} must be a JSON object.")
    return Work(
        task_id=task.task_id,
        specialty=task.specialty,
        instruction=task.instruction,
        text=task.text,
        documents=tuple(
            Document(name=a.name, media_type=a.media_type, data=blobs.attachment(a)) for a in task.attachments
        ),
        inputs=inputs,
        constants=task.constants,
        earlier=_earlier(task),
        options=options,
        workflow=task.workflow,
    )


def _earlier(task: Task) -> Mapping[str, str]:
    try:
        context: Any = json.loads(task.context or "{}")
    except ValueError as e:
        raise BadInput(f"The context of task {task.task_id} is not JSON: {e}") from e
    results = context.get("results", {}) if isinstance(context, dict) else {}
    return {k: v for k, v in results.items() if isinstance(v, str)} if isinstance(results, dict) else {}


class Worker:
    """The handler of one specialty. Safe for any number of tasks at once; holds no state of a request."""

    def __init__(
        self,
        *,
        specialty: Specialty,
        topics: Topics,
        engines: Runs,
        blobs: Blobs,
        worker: str,
        now_ms: Callable[[], int],
        rate: Rate | None = None,
        known: Mapping[str, Specialty] | None = None,
    ) -> None:
        self._rate = rate
        self._specialty = specialty
        self._version = specialty.version
        self._topics = topics
        self._engines = engines
        self._blobs = blobs
        self._worker = worker
        self._now_ms = now_ms
        # Nothing of a bundled step stands in the blob store, so looking at one never blocks.
        look = partial(work_of, blobs=blobs)
        self._bundle = Bundle(engines=engines, known=known or {}, look=look, now_ms=now_ms)
        self._purses = WeakKeyDictionary[Delivery, Purse]()
        """Of the tasks under way: whatever ends one, what its calls have cost stands in its result."""

    async def handle(self, task: Task, delivery: Delivery) -> Sequence[Outgoing]:
        """The runtime's handler: one Result for every task. All streamed text is safe before the result is sent."""
        with tracing.within(tracing.step("worker_task", "internal", _about(task))) as span:
            result, told = await self._worked(task, delivery)
            span.set({"hocket.engine": result.engine, "hocket.why": result.why})
            if result.error is not None:
                span.failed(result.error.kind, result.error.message)
        if result.status == "completed":
            self._tell(task, delivery, "completed", **told)
        else:
            self._failed(task, delivery, result.error)
        if task.bundle:
            steps = await self._bundle.run(task, result, lambda step: self._tell(step, delivery, "completed"))
            result = result.model_copy(update={"bundle": tuple(steps)})
        return [self._outgoing(task, result)]

    async def _worked(self, task: Task, delivery: Delivery) -> tuple[Result, dict[str, Any]]:
        """The result, and what followers are told of its text."""
        started = self._now_ms()
        self._tell(task, delivery, "assigned")
        async with Telling(lambda piece: self._say(task, delivery, started, piece)) as telling:
            outcome = await self._outcome(task, delivery, telling)
            if outcome.error is None:
                telling.settle(outcome.text)
        result = self._result(task, started, outcome)
        if not fits(result):
            try:
                result = await asyncio.to_thread(shrink_result, result, self._blobs.put)
            except ClaimError as e:
                result = self._result(task, started, Outcome(error=_error(e), usage=outcome.usage))
        return result, _whole(started, telling)

    def on_crash(self, task: Task, delivery: Delivery, error: Exception) -> Sequence[Outgoing]:
        """What the request gets when `handle` crashed or its result is too large to be sent."""
        message = f"Worker {self._worker} failed on this task ({type(error).__name__}); its dead letter tells why."
        told = Error(kind="crashed", message=message)
        if isinstance(error, TooLarge):
            told = Error(kind=error.kind, message=f"The result cannot be sent: {error}. Ask for less at once.")
        self._failed(task, delivery, told)
        outcome = Outcome(error=told, usage=self._paid(delivery))
        return [self._outgoing(task, self._result(task, delivery.received_at_ms, outcome))]

    def on_cancel(self, task: Task, delivery: Delivery) -> Sequence[Outgoing]:
        """What the request gets for a task that its cancellation ended, or kept from being started."""
        told = Error(kind="cancelled", message="The request was cancelled.")
        outcome = Outcome(error=told, usage=self._paid(delivery))
        result = self._result(task, delivery.received_at_ms, outcome).model_copy(update={"status": "cancelled"})
        self._failed(task, delivery, told)
        return [self._outgoing(task, result)]

    def on_late(self, task: Task, delivery: Delivery) -> Sequence[Outgoing]:
        """What the request gets for a task whose deadline passed while it waited."""
        told = _late("before it was started")
        self._failed(task, delivery, told)
        return [self._outgoing(task, self._result(task, delivery.received_at_ms, Outcome(error=told)))]

    def _paid(self, delivery: Delivery) -> tuple[Usage, ...]:
        purse = self._purses.get(delivery)
        return tuple(purse.paid) if purse is not None else ()

    async def _outcome(self, task: Task, delivery: Delivery, telling: Telling) -> Outcome:
        if task.specialty != self._specialty.name:
            message = f"A task for {task.specialty} stood in the topic of {self._specialty.name}: mend its producer."
            return Outcome(error=Error(kind="misrouted", message=message))
        left = None if task.deadline is None else (task.deadline - self._now_ms()) / 1000
        if left is not None and left <= 0:
            return Outcome(error=_late("before it was started"))
        scope = asyncio.timeout(None if left is None else left + _SLACK_S)
        try:
            async with scope:
                return self._in_time(task, await self._run(task, delivery, telling))
        except TimeoutError:
            if not scope.expired():
                raise
            return Outcome(error=_late("while it ran"), usage=self._paid(delivery))

    async def _run(self, task: Task, delivery: Delivery, telling: Telling) -> Outcome:
        try:
            # A thread is a tenth of a millisecond of CPU: only for what may have to be fetched.
            direct = held_inline(task)
            work = work_of(task, self._blobs) if direct else await asyncio.to_thread(work_of, task, self._blobs)
        except ClaimError as e:
            return Outcome(error=_error(e))
        except BadInput as e:
            return Outcome(error=Error(kind="bad_input", message=str(e)))
        gate = self._purses[delivery] = Purse(task.budget_usd, self._rate)
        return await self._engines.run(
            self._specialty,
            work,
            strategy=task.strategy,
            deadline_ms=task.deadline,
            gate=gate,
            on_text=telling.add,
        )

    def _in_time(self, task: Task, outcome: Outcome) -> Outcome:
        """Past the deadline, a failure is the deadline's, whatever the engine called it; its cost stays on it."""
        if outcome.error is None or task.deadline is None or self._now_ms() < task.deadline:
            return outcome
        return Outcome(error=_late("while it ran"), usage=outcome.usage, attempts=outcome.attempts)

    def _result(self, task: Task, started: int, outcome: Outcome) -> Result:
        output = None
        if outcome.error is None:
            data = json.dumps(outcome.output, ensure_ascii=False)
            output = Output(specialty=task.specialty, text=outcome.text, data=data, size=len(data.encode()))
        return Result(
            request_id=task.request_id,
            task_id=task.task_id,
            specialty=task.specialty,
            status="failed" if outcome.error else "completed",
            output=output,
            error=outcome.error,
            usage=outcome.usage,
            attempts=outcome.attempts,
            worker=self._worker,
            engine=outcome.engine,
            why=outcome.why,
            prompt_version=self._version,
            attempt=task.attempt,
            cache_hits=outcome.cache_hits,
            revision=task.revision,
            started_at=started,
            ended_at=max(started, self._now_ms()),
        )

    def _outgoing(self, task: Task, result: Result) -> Outgoing:
        return Outgoing(topic=self._topics.results, key=task.request_id, record=result, event_id=self.outcome_id(task))

    def _failed(self, task: Task, delivery: Delivery, error: Error | None) -> None:
        self._tell(task, delivery, "failed", text=error.message if error else "")

    def _tell(self, task: Task, delivery: Delivery, kind: ProgressKind, **more: Any) -> None:
        delivery.emit(self._progress(task, kind, kind, **more))

    async def _say(self, task: Task, delivery: Delivery, started: int, piece: Piece) -> None:
        run = _run_of(started, piece.reply)
        what = f"text/{run}/{piece.start}"
        record = self._progress(task, "text", what, run=run, start=piece.start, text=piece.text)
        try:
            await delivery.write(record)
        except (TooLarge, KafkaRefused) as e:  # the task goes on: losing what followers see harms nothing
            log.warning("streamed text was not written", task_id=task.task_id, error=str(e))

    def _progress(self, task: Task, kind: ProgressKind, what: str, **more: Any) -> Outgoing:
        record = Progress(
            request_id=task.request_id,
            task_id=task.task_id,
            kind=kind,
            attempt=task.attempt,
            revision=task.revision,
            worker=self._worker,
            at=self._now_ms(),
            **more,
        )
        event_id = self._event(task, what)
        return Outgoing(topic=self._topics.progress, key=task.request_id, record=record, event_id=event_id)

    @classmethod
    def outcome_id(cls, task: Task) -> str:
        """The id of the record that tells how the task ended."""
        return cls._event(task, "result")

    @staticmethod
    def _event(task: Task, what: str) -> str:
        return f"{task.request_id}/{task.task_id}/{task.revision}.{task.attempt}/{what}"


def _about(task: Task) -> Attributes:
    about: Attributes = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": task.specialty,
        "gen_ai.conversation.id": task.request_id,
        "hocket.task.id": task.task_id,
        "hocket.task.attempt": task.attempt,
    }
    if tracing.with_content():
        about["hocket.task.description"] = task.instruction
    return about


def _run_of(started: int, reply: int) -> str:
    return f"{started}.{reply}"


def _whole(started: int, telling: Telling) -> dict[str, Any]:
    """Which run's text is the result's, and how long it is; nothing when none was streamed."""
    if telling.heard is None:
        return {}
    reply, chars = telling.heard
    return {"run": _run_of(started, reply), "start": chars}


def _error(e: ClaimError) -> Error:
    return Error(kind=e.kind, message=str(e), retryable=e.kind == "blob_store")


def _late(when: str) -> Error:
    return Error(kind="deadline", message=f"The task's deadline passed {when}. Give the request more time.")
