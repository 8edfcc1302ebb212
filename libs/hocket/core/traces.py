"""Traces as values: who is whose parent, and ids that follow from what happened. Pure.

Everything of a request stands in one trace, below one span: the request's, whose id follows from the request's id. A
consumer can therefore name its parent whoever has died meanwhile, and a step that is repeated after a crash tells of
the same spans again. Why the tree has this form: docs/decisions/0010.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from hocket.contracts.headers import traceparent
from hocket.contracts.records import Plan, Result

Kind = Literal["internal", "producer", "consumer", "client"]
Value = str | bool | int | float | tuple[str, ...]
Attributes = dict[str, Value]


class Context(NamedTuple):
    """A span's place: 32 and 16 hexadecimal digits, and whether its trace is recorded."""

    trace_id: str
    span_id: str
    sampled: bool

    @property
    def header(self) -> str:
        """As W3C `traceparent`."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


class Event(NamedTuple):
    """Something at one moment of a span."""

    name: str
    at_ns: int
    attributes: Attributes


@dataclass(kw_only=True, slots=True)
class Span:
    """One span. `parent` is a span id of the same trace, None for a root; times are nanoseconds since the epoch.

    `end_ns` is 0 while it goes on. `error` is the description of its failure.
    """

    name: str
    kind: Kind
    context: Context
    parent: str | None
    start_ns: int
    end_ns: int = 0
    attributes: Attributes = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    links: tuple[Context, ...] = ()
    error: str | None = None


def read(header: str) -> Context:
    """The context in a `traceparent` that `headers.traceparent` has found good."""
    _, trace_id, span_id, flags = header.split("-")
    return Context(trace_id, span_id, bool(int(flags, 16) & 1))


def derived(*about: object) -> str:
    """A span id that is the same whenever it is asked for about the same."""
    return hashlib.sha256("\0".join(map(str, about)).encode()).hexdigest()[:16]


def request_span(request_id: str) -> str:
    """The id of the span that a whole request is."""
    return derived("request", request_id)


def of_request(trace: Context, request_id: str) -> Context:
    """The request's own span in its trace."""
    return trace._replace(span_id=request_span(request_id))


def outcome_span(record: Result | Plan) -> str:
    """The id of the span in which a worker sent this outcome. Two runs of one task have two."""
    task = record.task_id if isinstance(record, Result) else "planning"
    return derived("outcome", record.request_id, task, record.revision, record.worker, record.started_at)


def parent_of(trace: Context, request_id: str) -> str | None:
    """The span that the client made for the request; None when it sent no trace context of its own."""
    made_up = read(traceparent(None, request_id))
    return None if trace.span_id == made_up.span_id else trace.span_id


def consumed(*, topic: str, partition: int, offset: int, key: str, group: str) -> Attributes:
    """What the messaging conventions want to know of a record that is processed."""
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": topic,
        "messaging.destination.partition.id": str(partition),
        "messaging.kafka.offset": offset,
        "messaging.kafka.message.key": key,
        "messaging.consumer.group.name": group,
        "messaging.message.conversation_id": key,
    }


def produced(*, topic: str, key: str, message_id: str, request_id: str) -> Attributes:
    """What the messaging conventions want to know of a record that is sent."""
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": topic,
        "messaging.kafka.message.key": key,
        "messaging.message.id": message_id,
        "messaging.message.conversation_id": request_id,
    }
