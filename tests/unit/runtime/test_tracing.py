"""When traces are wanted, that parents leave first, and what a real receiver gets of a span."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import pytest

from hocket.contracts.headers import traceparent
from hocket.core import traces
from hocket.runtime import tracing
from tests.support.otlp import receiving
from tests.support.tracing import traced

TRACE = traceparent(None, "r")


@pytest.mark.parametrize(
    ("env", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False),
    ],
)
def test_the_standard_variables_switch_it(env: dict[str, str], wanted: bool) -> None:
    assert tracing.wanted(env) is wanted


def test_off_nothing_of_opentelemetry_is_imported() -> None:
    code = (
        "import sys, hocket.kafka.runtime, hocket.runtime.lifecycle, hocket.runtime.tracing as t; t.start('s', 'i');"
        "assert not t.on(); assert not [m for m in sys.modules if m.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def begun() -> tracing.Open:
    return tracing.work("process t", TRACE, "r", dict)


def test_off_there_is_only_nothing() -> None:
    with tracing.within(begun()) as span:
        assert not span
        assert tracing.exemplar() is None
        with tracing.within(tracing.step("x")) as inner:
            assert not inner
    assert tracing.decided(TRACE, "r") == TRACE


def test_what_is_not_recorded_makes_no_spans() -> None:
    with traced(record=False) as kept:
        header = tracing.decided(TRACE, "r")
        assert header.endswith("-00")
        with tracing.within(tracing.work("process t", header, "r", dict)) as span:
            assert not span
    assert kept.spans == []


def test_a_clients_word_on_recording_is_kept() -> None:
    theirs = "00-" + "a" * 32 + "-" + "b" * 16 + "-00"
    with traced():
        assert tracing.decided(theirs, "r") == theirs


def test_parents_leave_first_and_nothing_leaves_before_the_whole_work_has_ended() -> None:
    with traced() as kept:
        with tracing.within(begun()) as span:
            assert tracing.exemplar() == {"trace_id": traces.read(TRACE).trace_id}
            with tracing.within(tracing.step("inner")), tracing.within(tracing.step("innermost")):
                pass
            assert kept.spans == [], "a process that is killed here leaves no child without its parent"
            span.child("send t", "producer")
            span.close_sends()
        assert [s.name for s in kept.spans] == ["process t", "inner", "innermost", "send t"]
    known: set[str | None] = {traces.request_span("r")}
    for s in kept.spans:
        assert s.parent in known
        known.add(s.context.span_id)


def test_what_ends_after_its_work_leaves_by_itself_and_what_was_not_sent_not_at_all() -> None:
    with traced() as kept:
        with tracing.within(begun()) as span:
            late = span.child("late")
            span.child("send t", "producer")
            span.forget_sends()
        late.end()
        late.end()
    assert [s.name for s in kept.spans] == ["process t", "late"]


def test_an_exception_is_recorded_without_its_secrets_and_a_cancellation_is_none() -> None:
    key = "sk-ant-" + 20 * "a"
    with traced() as kept:
        with pytest.raises(ValueError, match="sk-ant"), tracing.within(begun()):
            raise ValueError(f"the key {key} is bad")
        with pytest.raises(asyncio.CancelledError), tracing.within(begun()):
            raise asyncio.CancelledError
    broken, cancelled = kept.spans
    [event] = broken.events
    assert event.attributes["exception.type"] == "builtins.ValueError"
    assert "sk-ant" not in str(broken)
    assert broken.error is not None
    assert (cancelled.events, cancelled.attributes["error.type"]) == ([], "cancelled")


def test_a_real_receiver_gets_what_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as got:
        for name, value in got.env(OTEL_RESOURCE_ATTRIBUTES="deployment.environment=test").items():
            monkeypatch.setenv(name, value)
        tracing.start("worker", "w-1")
        assert tracing.on()
        with tracing.within(begun()) as span:
            span.set({"n": 1, "nothing": None, "list": ("a", "b")})
            span.event("synthesis_started", {"result.count": 2})
            with tracing.within(tracing.step("chat m", "client")) as inner:
                inner.failed("timeout", "too slow")
        tracing.stop()
    top, inner = got.spans
    assert (top.name, top.service, top.instance) == ("process t", "hocket-worker", "w-1")
    assert top.attributes == {"n": 1, "list": ["a", "b"]}
    assert top.events == {"synthesis_started": {"result.count": 2}}
    assert top.parent == traces.request_span("r")
    assert top.links == (traces.read(TRACE).span_id,)
    assert (inner.parent, inner.failed, inner.kind) == (top.id, True, 3)
    assert top.trace == inner.trace == traces.read(TRACE).trace_id


def test_the_samplers_share_is_kept_and_a_trace_is_always_decided_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.1")
    tracing.start("aggregator", "a")
    try:
        given = {f"r{n}": traceparent(None, f"r{n}") for n in range(2_000)}
        decided = {i: tracing.decided(t, i) for i, t in given.items()}
        assert decided == {i: tracing.decided(t, i) for i, t in given.items()}
        share = sum(traces.read(t).sampled for t in decided.values()) / len(decided)
        assert 0.07 < share < 0.13
    finally:
        tracing.stop()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"), ("OTEL_TRACES_EXPORTER", "zipkin", "otlp, console")],
)
def test_what_there_is_not_is_said(monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv(name, value)
    with pytest.raises(tracing.TracingError, match=told):
        tracing.start("worker", "w")


def test_a_collector_that_is_away_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    tracing.start("worker", "w")
    for _ in range(100):
        with tracing.within(begun()):
            pass
    since = time.monotonic()
    tracing.stop()
    assert time.monotonic() - since < 8, "the SDK alone takes fifteen seconds"
