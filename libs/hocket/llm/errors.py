"""The one place where providers' errors, statuses and stop reasons become Hocket's kinds. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from hocket.llm.base import Kind, ModelError
from hocket.runtime.redaction import masked

_MAX_CHARS = 400
_QUOTA = (
    "insufficient_quota",
    "credit_balance",
    "credit balance",
    "spend_limit",
    "spend limit",
    "billing",
    "payment_required",
)
_TOO_LONG = (
    "context_length_exceeded",
    "string_above_max_length",
    "prompt is too long",
    "maximum context length",
    "request_too_large",
    "exceeds the context window",
    "input is too long",
)
_REFUSED = ("content_policy_violation", "content_filter", "content_policy", "moderation_blocked")
_BY_STATUS: dict[int, Kind] = {
    401: "auth",
    402: "quota",
    403: "auth",
    404: "bad_request",
    408: "timeout",
    409: "unavailable",
    413: "too_long",
    429: "rate_limited",
    503: "unavailable",
    504: "timeout",
    529: "overloaded",
}
_BY_CODE = {
    "rate_limit": 429,
    "overloaded": 529,
    "authentication": 401,
    "permission": 403,
    "invalid_request": 400,
    "timeout": 504,
    "insufficient_quota": 429,
}
_STOPPED: dict[str, tuple[Kind, str]] = {
    "max_tokens": ("truncated", "the reply was cut at the output limit"),
    "length": ("truncated", "the reply was cut at the output limit"),
    "model_context_window_exceeded": ("too_long", "the context window was full"),
    "refusal": ("refused", "the model refused"),
    "content_filter": ("refused", "the provider's content filter stopped the reply"),
    "pause_turn": ("truncated", "the model paused before it was done"),
}
_MEND: dict[Kind, str] = {
    "auth": "Check the provider's API key and what it may use.",
    "quota": "The account's credit or spending limit is used up: raise it with the provider.",
    "too_long": "Send less text, or choose a model with a larger context window.",
    "truncated": "Raise max_output_tokens of the specialty.",
}


def redacted(text: str, secrets: Collection[str] = ()) -> str:
    """The text on one line, cut to a readable length, without API keys: the given ones and all that look like one."""
    text = " ".join(masked(text, secrets).split())
    return text if len(text) <= _MAX_CHARS else text[: _MAX_CHARS - 1] + "…"


def kind_of(status: int, text: str) -> Kind:
    """The kind of an error answer; `text` holds its code, type and message."""
    said = text.casefold()
    if status in (400, 402, 403, 429) and any(mark in said for mark in _QUOTA):
        return "quota"
    if status in (400, 413, 422) and any(mark in said for mark in _TOO_LONG):
        return "too_long"
    if status in (400, 403) and any(mark in said for mark in _REFUSED):
        return "refused"
    if "overloaded" in said and status >= 500:
        return "overloaded"
    return _BY_STATUS.get(status, "unavailable" if status >= 500 else "bad_request")


def from_status(
    engine: str, status: int, body: Any, headers: Mapping[str, str], *, now_ms: int, secrets: Collection[str] = ()
) -> ModelError:
    """The error for an HTTP answer that is none of success. `engine` is provider/model; `body` the decoded answer."""
    code, message = _said(body)
    kind = kind_of(status, f"{code} {message}")
    mend = f" {_MEND[kind]}" if kind in _MEND else ""
    said = redacted(message or code or "no message", secrets)
    return ModelError(
        kind, f"{engine}: HTTP {status}: {said}{mend}", retry_after_ms=retry_after_ms(headers, now_ms=now_ms)
    )


def _said(body: Any) -> tuple[str, str]:
    """Code and message of an error answer: Anthropic nests them in `error`, OpenAI's SDK unwraps them."""
    if not isinstance(body, Mapping):
        return "", body if isinstance(body, str) else ""
    inner = body.get("error", body)
    if not isinstance(inner, Mapping):
        return "", str(inner)
    details = inner.get("details")
    codes = [inner.get("type"), inner.get("code"), details.get("error_code") if isinstance(details, Mapping) else None]
    return " ".join(str(c) for c in codes if c), str(inner.get("message") or "")


def from_stream(engine: str, body: Any, *, secrets: Collection[str] = ()) -> ModelError:
    """The error that a provider put into a stream that had begun with status 200; its code stands for the status."""
    code, message = _said(body)
    said = f"{code} {message}"
    status = next((s for mark, s in _BY_CODE.items() if mark in said.casefold()), 500)
    kind = kind_of(status, said)
    shown = redacted(message or code or "no message", secrets)
    return ModelError(kind, f"{engine}: the stream ended with an error: {shown}", spent=True)


def from_stop(engine: str, stop_reason: str) -> ModelError | None:
    """The error for a reply that ended for a bad reason; None for a reply that may be used."""
    found = _STOPPED.get(stop_reason)
    if found is None:
        return None
    kind, said = found
    mend = f" {_MEND[kind]}" if kind in _MEND else ""
    return ModelError(kind, f"{engine}: {said} ({stop_reason}).{mend}")


def retry_after_ms(headers: Mapping[str, str], *, now_ms: int) -> int | None:
    """How long the provider asks to wait: `retry-after-ms`, else `retry-after` as seconds or as a date."""
    exact = _number(headers.get("retry-after-ms"))
    if exact is not None:
        return int(exact)
    given = headers.get("retry-after")
    seconds = _number(given)
    if seconds is not None:
        return int(seconds * 1000)
    try:
        at = parsedate_to_datetime(given) if given else None
    except ValueError:
        return None
    return max(0, int(at.timestamp() * 1000) - now_ms) if at else None


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        return None
    return value if value is not None and 0 <= value < 1e9 else None
