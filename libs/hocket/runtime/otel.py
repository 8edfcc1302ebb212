"""The only file that knows OpenTelemetry's SDK: spans become its values and leave by OTLP over HTTP.

Everything is set by the standard variables: OTEL_EXPORTER_OTLP_*, OTEL_TRACES_SAMPLER(_ARG), OTEL_BSP_*,
OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES. The SDK's span objects are not used: they draw random ids, and ours must
be the same after a crash.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from hocket import __version__
from hocket.core.traces import Context, Span

try:
    from opentelemetry import trace
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
    from opentelemetry.sdk.trace.sampling import Decision
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
except ImportError as e:
    raise RuntimeError("OTEL_* variables ask for traces: install hocket[tracing], or set OTEL_SDK_DISABLED=true") from e

_DELAY_MS = 1_000
"""How long ended spans are gathered at most, unless OTEL_BSP_SCHEDULE_DELAY says otherwise: a killed process loses
those."""
_KINDS = {
    "internal": SpanKind.INTERNAL,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
    "client": SpanKind.CLIENT,
}


class OtlpSink:
    """Hands spans to the SDK's batch processor, which exports them in a thread of its own."""

    def __init__(self, provider: TracerProvider, processor: BatchSpanProcessor) -> None:
        self._provider, self._processor = provider, processor
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
        """Two seconds for what is left."""
        self._processor.force_flush(2_000)
        self._provider.shutdown()

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


def _place(context: Context, *, remote: bool = False) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if context.sampled else TraceFlags.DEFAULT)
    return SpanContext(int(context.trace_id, 16), int(context.span_id, 16), is_remote=remote, trace_flags=flags)


def _exporter(env: Mapping[str, str]) -> SpanExporter:
    kind = env.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() or "otlp"
    if kind == "console":
        return ConsoleSpanExporter()
    if kind != "otlp":
        raise RuntimeError(f"OTEL_TRACES_EXPORTER={kind}: Hocket knows otlp, console and none")
    protocol = env.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or env.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    if protocol.strip() != "http/protobuf":
        raise RuntimeError(
            f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol}: Hocket speaks http/protobuf; collectors take it on port 4318"
        )
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


def open_sink(service: str, instance: str) -> OtlpSink:
    """The sink of this process, as the environment says. Raises RuntimeError when it asks for what there is not."""
    exporter = _exporter(os.environ)
    own = {
        "service.name": f"hocket-{service}",
        "service.namespace": "hocket",
        "service.instance.id": instance,
        "service.version": __version__,
    }
    given = OTELResourceDetector().detect().attributes
    resource = Resource.create({k: v for k, v in own.items() if k not in given})
    provider = TracerProvider(resource=resource)
    delay = None if os.environ.get("OTEL_BSP_SCHEDULE_DELAY") else _DELAY_MS
    processor = BatchSpanProcessor(exporter, schedule_delay_millis=delay)
    provider.add_span_processor(processor)
    # It is not made the process's own provider: the model SDKs would add spans beside ours, and without their parents.
    return OtlpSink(provider, processor)
