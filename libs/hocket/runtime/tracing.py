"""OpenTelemetry tracing: one trace per request over all services. Off unless the standard OTEL_* variables ask for it.

Off, nothing of OpenTelemetry is imported and a call costs a look at one variable. On, spans of one piece of work are
kept together until it ends, and then leave parents first: a process that is killed leaves no child without its parent.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import secrets
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Protocol

from hocket.contracts.headers import traceparent
from hocket.core import traces
from hocket.core.traces import Attributes, Context, Event, Kind, Span, Value
from hocket.runtime.redaction import masked

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_TRUE = ("1", "true", "yes", "on")


class Sink(Protocol):
    """Where ended spans go, and who decides which traces are recorded."""

    def emit(self, spans: Sequence[Span]) -> None:
        """Takes spans, parents first. Never waits, never raises; drops when the collector is too slow."""

    def sampled(self, trace_id: str, parent: Context | None) -> bool:
        """Whether a trace is recorded: by its parent's word when it has one, as OTEL_TRACES_SAMPLER says."""

    def close(self) -> None:
        """Sends what is left, within seconds."""


class TracingError(RuntimeError):
    """The environment asks for traces in a way that there is not; the message says what to change."""


class _Process:
    sink: Sink | None = None
    content = False


def wanted(env: Mapping[str, str]) -> bool:
    """Whether the standard variables ask for traces: an endpoint, or OTEL_TRACES_EXPORTER other than none."""
    if env.get("OTEL_SDK_DISABLED", "").strip().lower() in _TRUE:
        return False
    exporter = env.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    return exporter not in ("", "none") or (not exporter and any(env.get(name, "").strip() for name in _ENDPOINTS))


def start(service: str, instance: str) -> None:
    """Switches tracing on for this process if the environment asks for it. Raises TracingError if it cannot be had."""
    if _Process.sink is None and wanted(os.environ):
        from hocket.runtime.otel import open_sink

        use(open_sink(service, instance), content=os.environ.get(_CONTENT, "").strip().lower() in _TRUE)
        atexit.register(stop)


def use(sink: Sink | None, *, content: bool = False) -> None:
    """From now on spans go there; `content` allows prompts, replies and request texts in them."""
    _Process.sink, _Process.content = sink, content


def stop() -> None:
    """Sends what is left and switches tracing off."""
    if _Process.sink is not None:
        _Process.sink.close()
    use(None)


def on() -> bool:
    """Whether this process records traces at all."""
    return _Process.sink is not None


def with_content() -> bool:
    """Whether prompts and replies may stand in spans."""
    return _Process.content


def emit(spans: Sequence[Span]) -> None:
    """Hands over ended spans, parents first."""
    if _Process.sink is not None and spans:
        _Process.sink.emit(spans)


def decided(header: str, request_id: str) -> str:
    """The request's trace context with the word whether it is recorded: decided once, carried with it from then on."""
    if _Process.sink is None:
        return header
    given = traces.read(header)
    parent = given if traces.parent_of(given, request_id) is not None else None
    return given._replace(sampled=_Process.sink.sampled(given.trace_id, parent)).header


class Trail:
    """The spans of one piece of work in this process; they leave together when its first span ends."""

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.spans: list[Span] = []
        self.gone = False

    def end(self, span: Span) -> None:
        """The span has ended. What ends after the first one leaves alone: its parent has left."""
        if self.gone:
            emit([span])
        elif span is self.spans[0]:
            self.gone = True
            emit([s for s in self.spans if s.end_ns])


class Live:
    """An open span."""

    def __init__(self, trail: Trail, span: Span) -> None:
        self.trail, self.span = trail, span
        trail.spans.append(span)

    def __bool__(self) -> bool:
        return True

    @property
    def request_id(self) -> str:
        """Whose trace it is."""
        return self.trail.request_id

    @property
    def header(self) -> str:
        """Its place, for what it sends."""
        return self.span.context.header

    def close_sends(self) -> None:
        """What this piece of work has sent is safe now."""
        now = time.time_ns()
        for span in self.trail.spans:
            if span.kind == "producer" and not span.end_ns:
                span.end_ns = now

    def forget_sends(self) -> None:
        """What this piece of work was about to send is not sent."""
        self.trail.spans[1:] = [s for s in self.trail.spans[1:] if s.kind != "producer" or s.end_ns]

    def child(
        self, name: str, kind: Kind = "internal", attributes: Attributes | None = None, span_id: str = ""
    ) -> Live:
        """A span within this one, beginning now. End it."""
        context = self.span.context._replace(span_id=span_id or secrets.token_hex(8))
        parent = self.span.context.span_id
        begun = Span(name=name, kind=kind, context=context, parent=parent, start_ns=time.time_ns())
        begun.attributes.update(attributes or {})
        return Live(self.trail, begun)

    def set(self, attributes: Mapping[str, Value | None]) -> None:
        """More attributes; None is left out."""
        self.span.attributes.update({k: v for k, v in attributes.items() if v is not None})

    def event(self, name: str, attributes: Attributes | None = None) -> None:
        """Something happened now."""
        self.span.events.append(Event(name, time.time_ns(), attributes or {}))

    def failed(self, kind: str, message: str) -> None:
        """It failed in an orderly way."""
        self.span.attributes["error.type"] = kind
        self.span.error = masked(message)

    def crashed(self, error: BaseException) -> None:
        """It raised; the exception is recorded as OpenTelemetry wants it."""
        name = type(error).__name__
        told: Attributes = {
            "exception.type": f"{type(error).__module__}.{type(error).__qualname__}",
            "exception.message": masked(str(error)),
            "exception.stacktrace": masked("".join(traceback.format_exception(error))),
        }
        self.event("exception", told)
        self.failed(name, f"{name}: {error}")

    def end(self) -> None:
        """It has ended; a second time changes nothing."""
        if not self.span.end_ns:
            self.span.end_ns = time.time_ns()
            self.trail.end(self.span)


class _Nothing:
    """What stands for a span where none is recorded: false, and deaf."""

    request_id = header = ""

    def __bool__(self) -> bool:
        return False

    def child(
        self,
        name: str,  # noqa: ARG002
        kind: Kind = "internal",  # noqa: ARG002
        attributes: Attributes | None = None,  # noqa: ARG002
        span_id: str = "",  # noqa: ARG002
    ) -> _Nothing:
        return self

    def set(self, attributes: Mapping[str, Value | None]) -> None: ...
    def close_sends(self) -> None: ...
    def forget_sends(self) -> None: ...
    def event(self, name: str, attributes: Attributes | None = None) -> None: ...
    def failed(self, kind: str, message: str) -> None: ...
    def crashed(self, error: BaseException) -> None: ...
    def end(self) -> None: ...


NOTHING = _Nothing()
_NOWHERE: AbstractContextManager[Open] = nullcontext(NOTHING)
Open = Live | _Nothing
_current: ContextVar[Open] = ContextVar("hocket_span", default=NOTHING)


def current() -> Open:
    """The span that whatever runs now belongs to."""
    return _current.get()


def trace_id() -> str | None:
    """The trace of what runs now, if it is recorded: for exemplars and logs."""
    found = _current.get()
    return found.span.context.trace_id if isinstance(found, Live) else None


def exemplar() -> dict[str, str] | None:
    """What ties an observation to its trace in OpenMetrics; None when there is none."""
    found = trace_id()
    return {"trace_id": found} if found is not None else None


def root(name: str, request_id: str, attributes: Attributes) -> Open:
    """Begins the trace of a request, in which a client sends it. Its trace id follows from the request's. End it."""
    if _Process.sink is None:
        return NOTHING
    context = traces.read(decided(traceparent(None, request_id), request_id))
    if not context.sampled:
        return NOTHING
    place = context._replace(span_id=secrets.token_hex(8))
    begun = Span(name=name, kind="producer", context=place, parent=None, start_ns=time.time_ns(), attributes=attributes)
    return Live(Trail(request_id), begun)


def work(
    name: str, header: str, request_id: str, attributes: Callable[[], Attributes], kind: Kind = "consumer"
) -> Open:
    """Begins a piece of work on a record of the request: below its span, linked to the record's. End it.

    NOTHING when tracing is off, or the record's trace is not recorded.
    """
    if _Process.sink is None:
        return NOTHING
    cause = traces.read(header)
    if not cause.sampled:
        return NOTHING
    begun = Span(
        name=name,
        kind=kind,
        context=cause._replace(span_id=secrets.token_hex(8)),
        parent=traces.request_span(request_id),
        start_ns=time.time_ns(),
        attributes=attributes(),
        links=(cause,) if kind == "consumer" else (),
    )
    return Live(Trail(request_id), begun)


def within(span: Open) -> AbstractContextManager[Open]:
    """Makes it the current span meanwhile, and ends it. What is raised is recorded and goes on."""
    return _within(span) if span else _NOWHERE


@contextmanager
def _within(span: Open) -> Iterator[Open]:
    token = _current.set(span)
    try:
        yield span
    except asyncio.CancelledError:
        span.failed("cancelled", "cancelled")
        raise
    except BaseException as e:
        span.crashed(e)
        raise
    finally:
        _current.reset(token)
        span.end()


def step(name: str, kind: Kind = "internal", attributes: Attributes | None = None) -> Open:
    """A span within the current one; use it with `within`."""
    return _current.get().child(name, kind, attributes)
