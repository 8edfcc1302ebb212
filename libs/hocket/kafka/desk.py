"""What happens to one record: decode, handle, send the outcome. Returns only when the outcome is safe."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from hocket.contracts import headers
from hocket.contracts.codec import CodecError
from hocket.contracts.records import Plan, Result, Task
from hocket.core import traces
from hocket.core.poison import DeadRatio
from hocket.kafka.job import Job
from hocket.kafka.log import Message, Raw, TooLarge, Written
from hocket.kafka.outbox import DEAD_LETTER_BYTES, Outbox, Outgoing, dead_letter
from hocket.runtime import logs, metrics, tracing

log = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True, weakref_slot=True, eq=False)  # frozen ones take three times as long to make
class Delivery:
    """Where a task came from, and how to tell of it while it runs.

    `emit` sends progress: it never waits, and drops when Kafka is too slow. `write` returns when the record is safe;
    it tries again for as long as it takes and raises TooLarge, KafkaRefused.
    """

    topic: str
    partition: int
    offset: int
    key: str
    trace: str
    received_at_ms: int
    emit: Callable[[Outgoing], None]
    write: Callable[[Outgoing], Awaitable[None]]


Handler = Callable[[Task, Delivery], Awaitable[Sequence[Outgoing]]]
"""Does the task and returns its outcome. Must not block the event loop. May be cancelled."""
OnCrash = Callable[[Task, Delivery, Exception], Sequence[Outgoing]]
"""What to send when the handler raised, so that the request is answered. TooLarge has kind too_large."""
OnEnd = Callable[[Task, Delivery], Sequence[Outgoing]]
"""What to send for a task that is not run (to its end): its request is cancelled, or it cannot meet its deadline."""


_SHOWN = 2_000
"""Characters of a text that a log line may have, when texts are logged at all."""
MAX_DELIVERIES = 3
"""A task that was running when its worker died so many times is dead-lettered."""


@dataclass(kw_only=True)
class Hooks:
    """What a service does with tasks. `on_run` is told how many milliseconds a handler took to its own end."""

    handler: Handler
    on_crash: OnCrash
    on_cancel: OnEnd | None = None
    on_late: OnEnd | None = None
    on_run: Callable[[float], None] = lambda _: None


class StreamPoisonedError(Exception):
    """Most records of a topic cannot be read, so its consumer stopped; the message says who must act."""


class KillerTaskError(Exception):
    """A task during which its worker died too often; it is not run again."""

    kind = "killer"


@dataclass(kw_only=True)
class Counts:
    """What a desk has done since its start."""

    completed: int = 0
    failed: int = 0
    troubled: int = 0
    """Failed, but might go well another time."""
    troubled_in_a_row: int = 0
    dead_letters: int = 0
    seconds: float = 0.0

    @property
    def mean_millis(self) -> float | None:
        """Average time per task; None before the first."""
        tasks = self.completed + self.failed
        return 1000 * self.seconds / tasks if tasks else None


@dataclass(frozen=True, kw_only=True)
class Stats:
    """A runtime's account of itself since its start."""

    in_flight: int
    queued: int
    completed: int
    failed: int
    dead_letters: int
    progress_dropped: int
    commit_failures: int
    mean_millis: float | None
    queued_by_class: tuple[int, ...] = ()
    paused: tuple[int, ...] = ()


class Desk:
    """Processes records of one task topic, any number at once."""

    def __init__(
        self,
        outbox: Outbox,
        hooks: Hooks,
        dead_letters: str,
        *,
        who: str,
        specialty: str,
        group: str = "",
        clock: Callable[[], int],
    ) -> None:
        self._group = group
        self.counts = Counts()
        self._outbox = outbox
        self.hooks = hooks
        self._dead_letters = dead_letters
        self._who = who
        self._specialty = specialty
        self._meters = metrics.Meters(specialty)
        self._clock = clock
        self._ratio = DeadRatio()

    def open(self, raw: Raw) -> Task | None:
        """The task, if it can be had at once. Never waits: `process` does what is left."""
        try:
            return self._outbox.decode_now(raw.value, Task)
        except CodecError:
            return None

    async def read(self, job: Job) -> None:
        """Its task, as `open`; waits while a schema registry is out of reach."""
        with contextlib.suppress(CodecError):
            job.task = await self._outbox.decode(job.raw.value, Task)
        job.unreadable = job.task is None

    async def process(self, job: Job) -> None:
        """Returns when the outcome (results or a dead letter) is safe. Raises StreamPoisonedError, KafkaRefused."""
        raw, received_at = job.raw, self._clock()
        try:
            task = job.task or await self._outbox.decode(raw.value, Task)
        except CodecError as e:
            self._ratio.add(dead=True)
            if self._ratio.too_many:
                raise self._poisoned(raw, e) from e
            trace = headers.traceparent(raw.headers, _text(raw.key))
            with tracing.within(self._span(raw, trace, _text(raw.key))) as span:
                span.failed(e.kind, str(e))
                await self._bury(raw, kind=e.kind, reason=str(e), trace=trace)
            return
        self._ratio.add(dead=False)
        trace = headers.traceparent(raw.headers, task.request_id)
        with (
            logs.about(partial(self._about, raw, task, trace)),
            tracing.within(self._span(raw, trace, task.request_id)) as span,
        ):
            if span:
                span.set({"hocket.task.attempt": task.attempt, "hocket.task.lost_workers": job.crashes})
                trace = span.header
            await self._run(task, self._delivery(raw, trace, received_at), job)

    def _span(self, raw: Raw, trace: str, request_id: str) -> tracing.Open:
        return tracing.work(
            f"process {raw.topic}",
            trace,
            request_id,
            lambda: traces.consumed(
                topic=raw.topic, partition=raw.partition, offset=raw.offset, key=_text(raw.key), group=self._group
            ),
        )

    @staticmethod
    def _about(raw: Raw, task: Task, trace: str) -> logs.Fields:
        return {
            "request_id": task.request_id,
            "task_id": task.task_id,
            "attempt": task.attempt,
            "trace_id": traces.read(trace).trace_id,
            "read": f"{raw.topic}/{raw.partition}/{raw.offset}",
            "read_id": headers.get(raw.headers, "ce_id"),
        }

    def _delivery(self, raw: Raw, trace: str, received_at: int) -> Delivery:
        return Delivery(
            topic=raw.topic,
            partition=raw.partition,
            offset=raw.offset,
            key=_text(raw.key),
            trace=trace,
            received_at_ms=received_at,
            emit=lambda outgoing: self._outbox.emit(outgoing, trace),
            write=lambda outgoing: self._outbox.write(outgoing, trace),
        )

    async def _run(self, task: Task, delivery: Delivery, job: Job) -> None:
        self._meters.started.inc()
        began = time.monotonic()
        messages, failed, troubled = await self._outcome(task, delivery, job)
        written = await self._outbox.send_outcome(job.ident, messages)
        if job.crashes:
            self._meters.lost_runs.inc(job.crashes)
        tracing.current().close_sends()
        seconds = time.monotonic() - began
        if logs.tasks() and log.isEnabledFor(logging.INFO):
            log.info("task %s", "failed" if failed else "completed", extra=_told(task, messages, written, seconds))
        self._meters.seconds.observe(seconds, tracing.exemplar())
        (self._meters.failed if failed else self._meters.completed).inc()
        self.counts.seconds += seconds
        self.counts.failed += failed
        self.counts.troubled += troubled
        self.counts.troubled_in_a_row = self.counts.troubled_in_a_row + 1 if troubled else 0
        self.counts.completed += not failed

    async def _outcome(self, task: Task, delivery: Delivery, job: Job) -> tuple[list[Message], bool, bool]:
        """What to send, whether the task failed, and whether it might go well another time: its record says so."""
        error: Exception
        try:
            outgoing = _honest(await self._outgoing(task, delivery, job), job.crashes)
            messages = [await self._outbox.encode(o, _sending(o, delivery.trace)) for o in outgoing]
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if me is None or me.cancelling():
                raise
            # Nobody cancelled this task, so the handler did it to itself; its offset must not hang for ever.
            error = RuntimeError("the handler was cancelled from within")
        except Exception as e:  # noqa: BLE001 - a defect harms only its own task: dead letter and failed outcome
            error = e
        else:
            if logs.content():
                _say(outgoing)
            errors = [found for o in outgoing if (found := getattr(o.record, "error", None)) is not None]
            if errors:
                tracing.current().failed(errors[0].kind, errors[0].message)
            return messages, bool(errors), any(found.retryable for found in errors)
        kind = error.kind if isinstance(error, TooLarge | KillerTaskError) else "crashed"
        log.error("task %s of %s: %s", task.task_id, task.request_id, kind, exc_info=error)
        tracing.current().crashed(error)
        tracing.current().forget_sends()
        reason = f"{type(error).__name__}: {error}"
        await self._bury(job.raw, kind=kind, reason=reason, trace=delivery.trace)
        return await self._after_crash(task, delivery, error, job.crashes), True, True

    async def _outgoing(self, task: Task, delivery: Delivery, job: Job) -> Sequence[Outgoing]:
        if job.crashes >= MAX_DELIVERIES:
            raise KillerTaskError(
                f"its worker died {job.crashes} times while it ran: see what it does to a worker, then replay it"
            )
        if job.cancelled and self.hooks.on_cancel is not None:
            return self.hooks.on_cancel(task, delivery)
        if job.late and self.hooks.on_late is not None:
            return self.hooks.on_late(task, delivery)
        job.interruptible = True
        began = time.monotonic()
        try:
            outgoing = await self.hooks.handler(task, delivery)
        except asyncio.CancelledError:
            me = asyncio.current_task()
            # One cancellation is the request's; another would be the process's, and goes on.
            if not job.cancelled or self.hooks.on_cancel is None or me is None or me.uncancel():
                raise
            return self.hooks.on_cancel(task, delivery)
        finally:
            job.interruptible = False
        self.hooks.on_run(1000 * (time.monotonic() - began))
        return outgoing

    async def _after_crash(self, task: Task, delivery: Delivery, error: Exception, lost_runs: int) -> list[Message]:
        try:
            told = _honest(self.hooks.on_crash(task, delivery, error), lost_runs)
            return [await self._outbox.encode(o, _sending(o, delivery.trace)) for o in told]
        except Exception:  # the dead letter, written before, is what remains of the task
            log.exception("no failed outcome can be sent for task %s of %s", task.task_id, task.request_id)
            return []

    async def _bury(self, raw: Raw, *, kind: str, reason: str, trace: str) -> None:
        letter = dead_letter(raw, kind=kind, reason=reason, service=self._who, at_ms=self._clock())
        outgoing = Outgoing(
            topic=self._dead_letters,
            key=_text(raw.key),
            record=letter,
            event_id=f"{raw.topic}/{raw.partition}/{raw.offset}",
        )
        try:
            message = await self._outbox.encode(outgoing, trace, DEAD_LETTER_BYTES)
        except TooLarge:
            cut = {
                "value": None,
                "reason": f"{reason} (its {len(raw.value or b'')} bytes do not fit in here: see there)",
            }
            outgoing = Outgoing(
                topic=outgoing.topic, key=outgoing.key, record=letter.model_copy(update=cut), event_id=outgoing.event_id
            )
            message = await self._outbox.encode(outgoing, trace, DEAD_LETTER_BYTES)
        keyed = Message(topic=message.topic, key=raw.key, value=message.value, headers=message.headers)
        await self._outbox.send([keyed])
        self.counts.dead_letters += 1
        metrics.DEAD_LETTERS.labels(self._specialty, kind).inc()
        log.warning("dead letter: %s/%d offset %d: %s: %s", raw.topic, raw.partition, raw.offset, kind, reason)

    def _poisoned(self, raw: Raw, last: CodecError) -> StreamPoisonedError:
        return StreamPoisonedError(
            f"{self._ratio.dead} of the last {self._ratio.seen} records of {raw.topic} cannot be read, so nothing more "
            "is taken from it. Its producer must be mended, or this worker updated. The last one, partition "
            f"{raw.partition} offset {raw.offset}: {last}"
        )


def _honest(outgoing: Sequence[Outgoing], lost_runs: int) -> Sequence[Outgoing]:
    """With the number of runs that were lost with their workers: nobody can tell what those have cost."""
    for o in outgoing if lost_runs else ():
        if isinstance(o.record, Result | Plan):
            o.record = o.record.model_copy(update={"lost_runs": lost_runs})
    return outgoing


def _say(outgoing: Sequence[Outgoing]) -> None:
    for text in (o.record.output.text for o in outgoing if isinstance(o.record, Result) and o.record.output):
        log.info("output", extra={"output": text[:_SHOWN]})


def _told(task: Task, messages: Sequence[Message], written: Sequence[Written], seconds: float) -> dict[str, object]:
    """What a task's last line says beside what it is about: where its outcomes stand, and their ids."""
    ids = [headers.get(m.headers, "ce_id") for m in messages]
    told: dict[str, object] = {
        "seconds": round(seconds, 3),
        "written": [f"{w.topic}/{w.partition}/{w.offset}" for w in written],
        "written_ids": ids,
    }
    return told | {"instruction": task.instruction[:_SHOWN]} if logs.content() else told


def _sending(outgoing: Outgoing, trace: str) -> str:
    """The trace context that the record carries: of the span in which it is sent, when the trace is recorded."""
    span = tracing.current()
    if not span:
        return trace
    record = outgoing.record
    told = traces.produced(
        topic=outgoing.topic, key=outgoing.key, message_id=outgoing.event_id, request_id=span.request_id
    )
    known = traces.outcome_span(record) if isinstance(record, Result | Plan) else ""
    return span.child(f"send {outgoing.topic}", "producer", told, known).header


def _text(key: bytes | None) -> str:
    return (key or b"").decode(errors="replace")
