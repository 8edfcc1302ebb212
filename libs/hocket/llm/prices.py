"""What a call cost. Prices come from `genai-prices` (offline data); an unknown price is None, never 0."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from hocket.contracts.records import Usage
from hocket.llm.catalogue import Entry

_MILLION = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Token counts of one call. `input` includes `cached` (read from the provider's cache) and `cache_writes`."""

    input: int = 0
    cached: int = 0
    cache_writes: int = 0
    output: int = 0


def usage_of(entry: Entry, tokens: Tokens, *, started_ms: int, ended_ms: int) -> Usage:
    """The record of one call. Loads the price data at the first call (some 50 ms)."""
    return Usage(
        provider=entry.provider,
        model=entry.id,
        input_tokens=tokens.input,
        cached_tokens=tokens.cached,
        cache_write_tokens=tokens.cache_writes,
        output_tokens=tokens.output,
        cost_usd=cost_usd(entry, tokens, at_ms=ended_ms),
        millis=max(0, ended_ms - started_ms),
    )


def cost_usd(entry: Entry, tokens: Tokens, *, at_ms: int) -> float | None:
    """The call's price in US dollars, or None when it is not known.

    The user's own prices come first. Only shipped entries are looked up in the public list: a model of the user's own
    runs on a server of their choice, where a public price under the same name would be a guess.
    """
    if entry.input_usd is not None and entry.output_usd is not None:
        cached_usd = entry.input_usd if entry.cached_usd is None else entry.cached_usd
        write_usd = entry.input_usd if entry.cache_write_usd is None else entry.cache_write_usd
        fresh = tokens.input - tokens.cached - tokens.cache_writes
        total = fresh * entry.input_usd + tokens.cached * cached_usd
        return (total + tokens.cache_writes * write_usd + tokens.output * entry.output_usd) / _MILLION
    return _public(entry, tokens, at_ms=at_ms) if entry.shipped else None


def _public(entry: Entry, tokens: Tokens, *, at_ms: int) -> float | None:
    from genai_prices import Usage as Used
    from genai_prices import calc_price

    used = Used(
        input_tokens=tokens.input,
        cache_read_tokens=tokens.cached,
        cache_write_tokens=tokens.cache_writes,
        output_tokens=tokens.output,
    )
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    try:
        found = calc_price(used, entry.id, provider_id=entry.provider, genai_request_timestamp=at)
    except (LookupError, ValueError):  # unknown model; counts that contradict each other
        return None
    return float(found.total_price)
