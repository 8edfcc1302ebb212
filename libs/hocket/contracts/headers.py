"""Record headers: CloudEvents in binary mode, and W3C trace context.

Sources: CloudEvents Kafka protocol binding 1.0.2 (`ce_` prefix, `content-type`), W3C Trace Context (version 00).
Ids are derived, not drawn: the same record written again after a crash carries the same `ce_id`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache

Headers = list[tuple[str, bytes]]
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def get(headers: Iterable[tuple[str, bytes | None]] | None, name: str) -> str | None:
    """The last value of a header as text; None when absent or not UTF-8."""
    found = None
    for key, value in headers or ():
        if key == name and value is not None:
            found = value
    try:
        return found.decode() if found is not None else None
    except UnicodeDecodeError:
        return None


def traceparent(headers: Iterable[tuple[str, bytes | None]] | None, request_id: str) -> str:
    """The record's trace context; one derived from the request id when the producer sent none (or a broken one)."""
    given = get(headers, "traceparent")
    if given and _TRACEPARENT.fullmatch(given):
        return given
    trace_id = hashlib.sha256(request_id.encode()).hexdigest()
    return f"00-{trace_id[:32]}-{trace_id[32:48]}-01"


def event_headers(*, record: str, event_id: str, source: str, subject: str, at_ms: int, trace: str) -> Headers:
    """CloudEvents attributes for a record of type `hocket.<record>`, and the trace context it belongs to."""
    return [
        *_constant(record, source),
        ("ce_id", event_id.encode()),
        ("ce_subject", subject.encode()),
        ("ce_time", _iso(at_ms)),
        ("traceparent", trace.encode()),
    ]


@lru_cache(256)  # a process has few sources and types of record
def _constant(record: str, source: str) -> Headers:
    return [
        ("ce_specversion", b"1.0"),
        ("ce_type", f"hocket.{record}".encode()),
        ("ce_source", f"/hocket/{source}".encode()),
        ("content-type", b"application/avro"),
    ]


@lru_cache(16)  # many records are written within one millisecond
def _iso(at_ms: int) -> bytes:
    seconds, millis = divmod(at_ms, 1000)
    return b"%b.%03d+00:00" % (_second(seconds), millis)


@lru_cache(4)
def _second(seconds: int) -> bytes:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()
