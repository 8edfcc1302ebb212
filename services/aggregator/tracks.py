"""The spans of one step of the join, when its trace is recorded: pure, from the row before it, the record, and what was
sent. No live state.

A step that is repeated after a crash makes the same spans again. The request's own span is made by the step that
answers it, from the row, whichever process that is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hocket.contracts.records import Answer, Plan, Result, Task
from hocket.core import traces
from hocket.core.traces import Attributes, Context, Event, Span
from services.aggregator.dispatch import SYNTHESIS
from services.aggregator.events import Arrival, Ask, Dispatch, Effect, Order, Reply, Send
from services.aggregator.row import Row, TaskRow

_NS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Sent:
    """An effect as it goes out."""

    effect: Send
    topic: str
    event_id: str


@dataclass(frozen=True, kw_only=True)
class Track:
    """One step in the trace of its request. `trace` is the request's context as it stands in the row; `group` the
    aggregator's consumer group; `content` says that texts may stand in spans."""

    trace: Context
    arrival: Arrival
    topic: str
    partition: int
    offset: int
    group: str
    content: bool = False

    @property
    def _request(self) -> Context:
        return traces.of_request(self.trace, self.arrival.key)

    def header(self, effect: Effect, event_id: str) -> str:
        """The trace context of a record that goes out: of the span that sends it, or the request's for mere news."""
        return self._sending(event_id).header if _has_span(effect) else self._request.header

    def _sending(self, event_id: str) -> Context:
        return self.trace._replace(span_id=traces.derived("send", event_id))

    def spans(self, before: Row | None, sent: Sequence[Sent], began_ns: int, now_ns: int) -> list[Span]:
        """Parents first."""
        step = self._step(began_ns, now_ns)
        sends = [self._send(s, before, step, now_ns) for s in sent if _has_span(s.effect)]
        answers = [s.effect.answer for s in sent if isinstance(s.effect, Reply)]
        ended = [self._whole(before, a, now_ns) for a in answers]
        return [*ended, step, *sends]

    def _step(self, began_ns: int, now_ns: int) -> Span:
        told = traces.consumed(
            topic=self.topic, partition=self.partition, offset=self.offset, key=self.arrival.key, group=self.group
        )
        cause = traces.read(self.arrival.cause or self.arrival.trace)
        known = traces.parent_of(cause, self.arrival.key) is not None
        return Span(
            name=f"process {self.topic}",
            kind="consumer",
            context=self.trace._replace(span_id=traces.derived("process", self.topic, self.partition, self.offset)),
            parent=self._request.span_id,
            start_ns=began_ns,
            end_ns=now_ns,
            attributes=told,
            links=(cause,) if known else (),
        )

    def _send(self, sent: Sent, before: Row | None, step: Span, now_ns: int) -> Span:
        told = traces.produced(
            topic=sent.topic, key=self.arrival.key, message_id=sent.event_id, request_id=self.arrival.key
        )
        return Span(
            name=f"send {sent.topic}",
            kind="producer",
            context=self._sending(sent.event_id),
            parent=step.context.span_id,
            start_ns=step.start_ns,
            end_ns=now_ns,
            attributes=told | _about(sent.effect),
            links=tuple(self.trace._replace(span_id=traces.outcome_span(r)) for r in self._joined(sent.effect, before)),
        )

    def _joined(self, effect: Send, before: Row | None) -> list[Result | Plan]:
        """The outcomes that meet in what is sent: a task's inputs, an answer's tasks."""
        known: dict[str, Result] = {}
        for task_id, task in (before.tasks if before is not None else {}).items():
            if task.result is not None and task.completed:
                known[task_id] = task.result
        record = self.arrival.record
        if isinstance(record, Result):
            known.setdefault(record.task_id, record)
        if isinstance(effect, Dispatch):
            return [known[i.task_id] for i in effect.task.inputs if i.task_id in known]
        return list(known.values()) if isinstance(effect, Reply) else []

    def _whole(self, before: Row | None, answer: Answer, now_ns: int) -> Span:
        """The request's own span, from its admission to its answer."""
        text = self._text(before)
        about: Attributes = {
            "gen_ai.operation.name": "invoke_workflow",
            "gen_ai.conversation.id": answer.request_id,
            "hocket.task.type": answer.receipt.workflow or "open",
            "hocket.request.length": len(text),
            "hocket.answer.status": answer.status,
            "hocket.answer.tasks": len(answer.receipt.tasks),
        }
        if answer.receipt.cost_usd is not None:
            about["hocket.cost_usd"] = answer.receipt.cost_usd
        if self.content:
            about["hocket.task.description"] = text
        if answer.error is not None:
            about["error.type"] = answer.error.kind
        start_ns = answer.receipt.admitted_at * _NS
        return Span(
            name="orchestrate",
            kind="internal",
            context=self._request,
            parent=traces.parent_of(self.trace, answer.request_id),
            start_ns=start_ns,
            end_ns=max(start_ns, now_ns),
            attributes=about,
            events=_milestones(before, len(text)),
            error=answer.error.message if answer.error is not None and answer.status != "partial" else None,
        )

    def _text(self, before: Row | None) -> str:
        if before is not None and before.request is not None:
            return before.request.text
        return getattr(self.arrival.record, "text", "")


def _has_span(effect: Effect) -> bool:
    return isinstance(effect, Dispatch | Reply | Ask | Order)


def _about(effect: Send) -> Attributes:
    if not isinstance(effect, Dispatch):
        return {}
    task: Task = effect.task
    return {"hocket.task.id": task.task_id, "hocket.task.attempt": task.attempt, "hocket.specialty": task.specialty}


def _milestones(row: Row | None, length: int) -> list[Event]:
    """The pattern's events: when it was decomposed, and when the synthesis of how many results began."""
    if row is None:
        return []
    found: list[Event] = []
    if row.asked_for.workflow is None and (row.plan is not None or row.planner is not None):
        found.append(Event("decomposing_task", row.admitted_at * _NS, {"request.length": length}))
    for task in row.tasks.values():
        if task.planned.specialty == SYNTHESIS and task.dispatched_at is not None:
            there = _there(row.tasks, task)
            found.append(Event("synthesis_started", task.dispatched_at * _NS, {"result.count": there}))
    return found


def _there(tasks: Mapping[str, TaskRow], task: TaskRow) -> int:
    return sum(tasks[d].completed for d in task.planned.depends_on if d in tasks)
