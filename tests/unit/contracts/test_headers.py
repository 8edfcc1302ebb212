"""Headers: CloudEvents in binary mode and W3C trace context, derived so that a replay writes the same ones."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.contracts.headers import event_headers, get, traceparent

W3C = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_every_attribute_of_a_cloud_event_is_there() -> None:
    headers = event_headers(
        record="Request", event_id="r-1", source="cli", subject="r-1", at_ms=1_795_240_800_123, trace=GIVEN
    )
    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"r-1",
        "ce_type": b"hocket.Request",
        "ce_source": b"/hocket/cli",
        "ce_subject": b"r-1",
        "ce_time": b"2026-11-21T06:00:00.123+00:00",
        "content-type": b"application/avro",
        "traceparent": GIVEN.encode(),
    }
    assert len(headers) == 8


@given(st.integers(0, 4_102_444_800_000))
def test_the_time_is_the_iso_form_of_the_millisecond(at_ms: int) -> None:
    found = dict(event_headers(record="Task", event_id="e", source="s", subject="r", at_ms=at_ms, trace=GIVEN))
    said = datetime.fromisoformat(found["ce_time"].decode())
    assert said == datetime.fromtimestamp(at_ms // 1000, UTC) + timedelta(milliseconds=at_ms % 1000)
    assert len(found["ce_time"]) == len("2026-11-21T06:00:00.123+00:00")


def test_a_sound_trace_context_is_passed_on() -> None:
    assert traceparent([("traceparent", GIVEN.encode())], "r") == GIVEN


BROKEN = [
    None,
    b"",
    b"hello",
    GIVEN.upper().encode(),
    b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01",
    b"00-4bf92f3577b34da6a3ce929d0e0e4736-" + b"0" * 16 + b"-01",
    b"\xff\xfe",
    GIVEN.encode() + b"\n",
]


@pytest.mark.parametrize("value", BROKEN)
def test_a_broken_one_is_replaced_by_one_derived_from_the_request(value: bytes | None) -> None:
    made = traceparent([("traceparent", value)], "r-1")
    assert made == traceparent(None, "r-1")
    assert W3C.fullmatch(made)


@given(st.text(), st.text())
def test_each_request_has_its_own_trace_and_always_the_same(one: str, other: str) -> None:
    assert W3C.fullmatch(traceparent([], one))
    assert (traceparent([], one) == traceparent([], other)) == (one == other)


def test_of_repeated_headers_the_last_counts_and_foreign_bytes_are_none() -> None:
    assert get([("a", b"1"), ("b", b"2"), ("a", b"3")], "a") == "3"
    assert get([("a", b"\xff")], "a") is None
    assert get([("a", None)], "a") is None
    assert get(None, "a") is None
