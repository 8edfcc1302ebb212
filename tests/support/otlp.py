"""A real receiver of OpenTelemetry's OTLP over HTTP: decodes the protobuf that exporters send, and keeps the spans."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, kw_only=True)
class Got:
    """A span as it was received; ids are hexadecimal, `parent` is empty for a root."""

    name: str
    kind: int
    trace: str
    id: str
    parent: str
    service: str
    instance: str
    attributes: dict[str, Any]
    events: dict[str, dict[str, Any]]
    links: tuple[str, ...]
    failed: bool
    start: int
    end: int


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    found = getattr(value, kind) if kind else None
    return [_value(v) for v in found.values] if kind == "array_value" else found


def _values(pairs: Any) -> dict[str, Any]:
    return {p.key: _value(p.value) for p in pairs}


def _spans(body: bytes) -> Iterator[Got]:
    for batch in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = _values(batch.resource.attributes)
        for s in (s for scope in batch.scope_spans for s in scope.spans):
            yield Got(
                name=s.name,
                kind=s.kind,
                trace=s.trace_id.hex(),
                id=s.span_id.hex(),
                parent=s.parent_span_id.hex(),
                service=resource["service.name"],
                instance=resource["service.instance.id"],
                attributes=_values(s.attributes),
                events={e.name: _values(e.attributes) for e in s.events},
                links=tuple(link.span_id.hex() for link in s.links),
                failed=s.status.code == 2,
                start=s.start_time_unix_nano,
                end=s.end_time_unix_nano,
            )


@dataclass
class Receiver:
    """Where it listens, and what it has got."""

    url: str = ""
    spans: list[Got] = field(default_factory=list)

    def env(self, **more: str) -> dict[str, str]:
        """What a service needs to send its traces here."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "100", **more}

    def named(self, name: str) -> list[Got]:
        return sorted((s for s in self.spans if s.name == name), key=lambda s: s.start)

    def by_id(self) -> dict[str, Got]:
        return {s.id: s for s in self.spans}

    def orphans(self) -> list[Got]:
        """Spans whose parent was not received."""
        known = self.by_id()
        return [s for s in self.spans if s.parent and s.parent not in known]

    def drawn(self) -> str:
        """The trees as text."""
        known, lines = self.by_id(), []

        def draw(span: Got, depth: int) -> None:
            lines.append(
                f"{'  ' * depth}{span.name}  [{span.service} {span.instance}]{' FAILED' if span.failed else ''}"
            )
            for child in sorted((s for s in self.spans if s.parent == span.id), key=lambda s: s.start):
                draw(child, depth + 1)

        for top in sorted((s for s in self.spans if s.parent not in known), key=lambda s: s.start):
            draw(top, 0)
        return "\n".join(lines)


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver on a free port of this machine."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            receiver.spans.extend(_spans(body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
