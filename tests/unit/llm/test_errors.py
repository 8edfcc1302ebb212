"""llm/errors.py: what providers say, in our words; nothing secret in them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.llm import errors
from hocket.llm.base import RETRYABLE, ModelError

NOW = 1_800_000_000_000


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (400, "invalid_request_error", "bad_request"),
        (400, "context_length_exceeded", "too_long"),
        (400, "prompt is too long: 210000 tokens > 200000", "too_long"),
        (400, "Your credit balance is too low to access the API", "quota"),
        (400, "content_policy_violation", "refused"),
        (401, "invalid_api_key", "auth"),
        (402, "billing_error", "quota"),
        (403, "permission_error", "auth"),
        (404, "model_not_found", "bad_request"),
        (408, "", "timeout"),
        (409, "", "unavailable"),
        (413, "request_too_large", "too_long"),
        (418, "", "bad_request"),
        (429, "rate_limit_error", "rate_limited"),
        (429, "insufficient_quota: you exceeded your current quota", "quota"),
        (429, "enforced_spend_limit_reached", "quota"),
        (500, "api_error", "unavailable"),
        (500, "overloaded_error", "overloaded"),
        (502, "", "unavailable"),
        (503, "Overloaded", "overloaded"),
        (504, "", "timeout"),
        (529, "", "overloaded"),
        (599, "", "unavailable"),
    ],
)
def test_statuses_and_codes_have_kinds(status: int, text: str, kind: str) -> None:
    assert errors.kind_of(status, text) == kind


@pytest.mark.parametrize("kind", ["quota", "auth", "too_long", "refused", "truncated", "malformed", "bad_request"])
def test_final_kinds_are_not_retried(kind: Any) -> None:
    assert not ModelError(kind, "x").retryable
    assert kind not in RETRYABLE


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"type": "error", "error": {"type": "authentication_error", "message": "bad key"}}, "bad key"),
        ({"message": "bad key", "code": "invalid_api_key"}, "bad key"),
        ({"error": "bad key"}, "bad key"),
        ("bad key", "bad key"),
        (None, "no message"),
        ([1], "no message"),
    ],
)
def test_messages_are_found_in_every_format(body: Any, said: str) -> None:
    error = errors.from_status("openai/x", 401, body, {}, now_ms=NOW)
    assert str(error) == f"openai/x: HTTP 401: {said} Check the provider's API key and what it may use."


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2_000),
        ({"retry-after": "0.5"}, 500),
        ({"retry-after-ms": "1234.9", "retry-after": "2"}, 1_234),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:10 GMT"}, 10_000),
        ({"retry-after": "Fri, 15 Jan 2027 07:00:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
    ],
)
def test_retry_after_in_all_its_forms(headers: dict[str, str], wait: int | None) -> None:
    assert errors.retry_after_ms(headers, now_ms=NOW) == wait


@pytest.mark.parametrize("stop", ["end_turn", "tool_use", "stop", "tool_calls", "stop_sequence", "None"])
def test_good_stops_are_no_errors(stop: str) -> None:
    assert errors.from_stop("e", stop) is None


@pytest.mark.parametrize(
    ("stop", "kind"),
    [
        ("max_tokens", "truncated"),
        ("length", "truncated"),
        ("pause_turn", "truncated"),
        ("refusal", "refused"),
        ("content_filter", "refused"),
        ("model_context_window_exceeded", "too_long"),
    ],
)
def test_bad_stops_are_errors(stop: str, kind: str) -> None:
    error = errors.from_stop("anthropic/x", stop)
    assert error is not None
    assert error.kind == kind
    assert stop in str(error)


@pytest.mark.parametrize(
    "secret", ["sk-ant-api03-abcdefgh", "sk-proj-12345678", "sk-...abcd1234", "key_0123456789", "AIza_Sy0123456"]
)
def test_what_looks_like_a_key_is_taken_out(secret: str) -> None:
    assert secret not in errors.redacted(f"Incorrect API key provided: {secret}. Find yours at example.com")


@given(st.text(min_size=6, max_size=40), st.text(max_size=1000))
def test_a_known_key_never_stands_in_a_message(key: str, around: str) -> None:
    said = errors.redacted(f"{around}{key}{around}", [key])
    assert key not in said or key in "***" * 200 or key.strip("*") == ""
    assert len(said) <= 400
    assert "\n" not in said
