"""What providers say of their rate limits in their headers, and what an operator says. Pure.

Anthropic: `anthropic-ratelimit-{requests,tokens}-{limit,remaining,reset}`, reset as an RFC 3339 time. OpenAI and many
gateways: `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, reset as a span such as 6m0s or 20ms. A window longer
than two minutes (OpenAI's limits a day) is none of the minute's and is passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from hocket.llm.catalogue import CatalogueError, Entry

_LONGEST_MS = 120_000
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Requests and tokens a minute; None where it is not known."""

    rpm: int | None = None
    tpm: int | None = None

    @property
    def known(self) -> bool:
        """Whether either is."""
        return self.rpm is not None or self.tpm is not None


@dataclass(frozen=True, kw_only=True)
class Heard:
    """A provider's own words: its limit, what is left of it, and when it is whole again."""

    limit: Rates
    left: Rates
    reset_ms: int

    @property
    def pressed(self) -> bool:
        """Whether less than half is left."""
        pairs = ((self.left.rpm, self.limit.rpm), (self.left.tpm, self.limit.tpm))
        return any(left is not None and limit and 2 * left < limit for left, limit in pairs)


def heard_in(headers: Mapping[str, str], *, now_ms: int) -> Heard | None:
    """What the headers say; None when they say nothing of limits."""
    found = {kind: _one(headers, kind, now_ms) for kind in ("requests", "tokens")}
    (rpm, requests, first), (tpm, tokens, second) = found["requests"], found["tokens"]
    if rpm is None and tpm is None:
        return None
    return Heard(limit=Rates(rpm=rpm, tpm=tpm), left=Rates(rpm=requests, tpm=tokens), reset_ms=max(first, second))


def _one(headers: Mapping[str, str], kind: str, now_ms: int) -> tuple[int | None, int | None, int]:
    limit = _number(headers.get(f"anthropic-ratelimit-{kind}-limit") or headers.get(f"x-ratelimit-limit-{kind}"))
    left = _number(headers.get(f"anthropic-ratelimit-{kind}-remaining") or headers.get(f"x-ratelimit-remaining-{kind}"))
    at, span = headers.get(f"anthropic-ratelimit-{kind}-reset"), headers.get(f"x-ratelimit-reset-{kind}")
    reset = _until(at, now_ms) if at else _span(span)
    if limit is None or (reset is not None and reset > _LONGEST_MS):
        return None, None, 0
    return limit, left, reset or 0


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None


def _until(text: str, now_ms: int) -> int | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return max(0, int(at.timestamp() * 1000) - now_ms) if at.tzinfo is not None else None


def _span(text: str | None) -> int | None:
    parts = _SPAN.findall(text or "")
    return int(sum(float(n) * _UNIT_MS[unit] for n, unit in parts)) if parts else None


def limits_of(env: Mapping[str, str], entries: Iterable[Entry]) -> dict[str, Rates]:
    """The limits that are set, by provider or provider/model: models' `rpm` and `tpm`, and over them HOCKET_LIMITS, a
    JSON object such as {"anthropic": {"rpm": 1000, "tpm": 400000}}. Raises CatalogueError."""
    found = {e.engine: Rates(rpm=e.rpm, tpm=e.tpm) for e in entries if e.rpm is not None or e.tpm is not None}
    said = env.get("HOCKET_LIMITS", "").strip()
    try:
        given = json.loads(said) if said else {}
        return found | {str(name): _rates(given[name]) for name in given}
    except (ValueError, TypeError, AttributeError) as e:
        example = '{"anthropic": {"rpm": 1000, "tpm": 400000}}'
        raise CatalogueError(f"HOCKET_LIMITS: {said[:100]!r}: give a JSON object such as {example}") from e


def _rates(given: Mapping[str, object]) -> Rates:
    unknown = set(given) - {"rpm", "tpm"}
    values = {k: v for k, v in given.items() if isinstance(v, int) and not isinstance(v, bool) and v > 0}
    if unknown or len(values) != len(given) or not values:
        raise ValueError("rpm and tpm are whole numbers from 1")
    return Rates(rpm=values.get("rpm"), tpm=values.get("tpm"))
