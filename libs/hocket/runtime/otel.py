"""The only file that knows OpenTelemetry's SDK: spans become its values and leave by OTLP over HTTP.

Everything is set by the standard variables: OTEL_EXPORTER_OTLP_*, OTEL_TRACES_SAMPLER(_ARG), OTEL_BSP_*,
OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES. The SDK's span objects are not used: they draw random ids, and ours must
be the same after a crash.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence

from hocket import __version__
from hocket.core.traces import Context, Span
from hocket.runtime.tracing import TracingError

try:
    from opentelemetry import trace
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
    from opentelemetry.sdk.trace.sampling import Decision
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
except ImportError as e:
    raise TracingError("OTEL_* variables ask for traces: install hocket[tracing], or set OTEL_SDK_DISABLED=true") from e

_FLUSH_S = 2.0
_KINDS = {
    "internal": SpanKind.INTERNAL,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
    "client": SpanKind.CLIENT,
}


class OtlpSink:
    """Hands spans to the SDK's batch processor, which exports them in a thread of its own."""

    def __init__(self, provider: TracerProvider, processor: BatchSpanProcessor, exporter: SpanExporter) -> None:
        self._provider, self._processor, self._exporter = provider, processor, exporter
        self._scope = InstrumentationScope("hocket", __version__)

    def emit(self, spans: Sequence[Span]) -> None:
        """Queues them in this order."""
        for span in spans:
            self._processor.on_end(self._readable(span))

    def sampled(self, trace_id: str, parent: Context | None) -> bool:
        """As the configured sampler says; `parent` is always another process's."""
        context = None
        if parent is not None:
            context = trace.set_span_in_context(NonRecordingSpan(_place(parent, remote=True)))
        found = self._provider.sampler.should_sample(context, int(trace_id, 16), "orchestrate")
        return found.decision is Decision.RECORD_AND_SAMPLE

    def close(self) -> None:
        """Takes three seconds at most, also when no collector answers: the SDK's own time-outs hold in no such case."""
        _within(_FLUSH_S, self._processor.force_flush)
        self._exporter.shutdown()  # it waits no longer for its next attempt
        _within(1.0, self._provider.shutdown)

    def _readable(self, span: Span) -> ReadableSpan:
        parent = None
        if span.parent is not None:
            parent = _place(span.context._replace(span_id=span.parent), remote=span.kind == "consumer")
        return ReadableSpan(
            name=span.name,
            context=_place(span.context),
            parent=parent,
            resource=self._provider.resource,
            attributes=span.attributes,
            events=[Event(e.name, e.attributes, e.at_ns) for e in span.events],
            links=[Link(_place(c, remote=True)) for c in span.links],
            kind=_KINDS[span.kind],
            status=Status(StatusCode.ERROR, span.error) if span.error is not None else Status(),
            start_time=span.start_ns,
            end_time=max(span.start_ns, span.end_ns),
            instrumentation_scope=self._scope,
        )


def _within(seconds: float, call: Callable[[], object]) -> None:
    waiting = threading.Thread(target=call, daemon=True)
    waiting.start()
    waiting.join(seconds)


def _place(context: Context, *, remote: bool = False) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if context.sampled else TraceFlags.DEFAULT)
    return SpanContext(int(context.trace_id, 16), int(context.span_id, 16), is_remote=remote, trace_flags=flags)


def _exporter(env: Mapping[str, str]) -> SpanExporter:
    kind = env.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() or "otlp"
    if kind == "console":
        return ConsoleSpanExporter()
    if kind != "otlp":
        raise TracingError(f"OTEL_TRACES_EXPORTER={kind}: Hocket knows otlp, console and none")
    protocol = env.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or env.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    if protocol.strip() != "http/protobuf":
        raise TracingError(
            f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol}: Hocket speaks http/protobuf; collectors take it on port 4318"
        )
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


def open_sink(service: str, instance: str) -> OtlpSink:
    """The sink of this process, as the environment says. Raises TracingError when it asks for what there is not."""
    exporter = _exporter(os.environ)
    own = {
        "service.name": f"hocket-{service}",
        "service.namespace": "hocket",
        "service.instance.id": instance,
        "service.version": __version__,
    }
    given = OTELResourceDetector().detect().attributes
    resource = Resource.create({k: v for k, v in own.items() if k not in given})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    processor = BatchSpanProcessor(exporter)
    provider.add_span_processor(processor)
    # It is not made the process's own provider: the model SDKs would add spans beside ours, and without their parents.
    return OtlpSink(provider, processor, exporter)
