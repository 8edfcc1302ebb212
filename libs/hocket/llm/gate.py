"""The gate in front of every call: it is asked with an upper bound, and told what the call really used.

Budgets and rate limits stand behind it (hocket.llm.purse). The gate here lets everything pass.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from typing import Protocol

from hocket.contracts.records import Usage
from hocket.core.tokens import least_tokens, most_tokens
from hocket.llm import render
from hocket.llm.base import ModelCall
from hocket.llm.catalogue import Entry
from hocket.llm.prices import Tokens, cost_usd, usage_of

_FRAME_TOKENS = 1_024
"""Around system, prompt and tool: roles, marks, and what providers add to make a model call tools."""
LEAST_PART = 0.15
"""Of a specialty's output limit that a call may be lowered to when the money is short."""
_IMAGE_TOKENS = 8_192
"""No picture that the workers send (4 MB at most) counts more at either provider."""


@dataclass(frozen=True, kw_only=True)
class Bound:
    """The most that a call can use. `cost_usd` is None when the model's price is unknown."""

    engine: str
    provider: str
    rung: str
    input_tokens: int
    output_tokens: int
    cost_usd: float | None


class Gate(Protocol):
    """Guards the calls of one task. Called on the event loop."""

    def left_usd(self) -> float | None:
        """What may still be spent; None without a limit. The router passes over what costs more."""

    async def enter(self, bound: Bound) -> None:
        """Returns when the call may begin, having set aside its bound; may wait for a rate limit.

        Raises ModelError `over_budget` when it may not begin at all. Every call that was let in is reported to `leave`.
        """

    def leave(self, bound: Bound, usage: Usage) -> None:
        """What a call used: `usage.estimated` when the provider did not tell, then it is the bound itself."""


class OpenGate:
    """No budget, no rate limit."""

    def left_usd(self) -> float | None:
        """No limit."""
        return None

    async def enter(self, bound: Bound) -> None:
        """At once."""

    def leave(self, bound: Bound, usage: Usage) -> None:
        """Nothing was set aside."""


def bound_of(entry: Entry, call: ModelCall, *, at_ms: int, seen: int | None = None) -> Bound:
    """The most that the call can use at this model; hocket.core.tokens says how text is counted.

    `seen` is the fewest input tokens that a call with the same frame (system and tool) was ever billed by this model:
    the frame cannot have more.
    """
    count = partial(most_tokens, chars_per_token=entry.chars_per_token)
    texts = (call.system, str(call.tool_schema), call.tool_name, call.tool_description)
    frame = sum(map(count, texts)) + _FRAME_TOKENS
    frame = frame if seen is None else min(frame, seen)
    tokens = Tokens(
        input=frame + count(call.prompt) + _IMAGE_TOKENS * len(call.images),
        output=min(entry.output_limit, call.max_output_tokens + entry.thinking_tokens),
    )
    # Writing to the provider's cache may cost more than plain input. Only the frame is marked for it; a provider that
    # caches by itself asks no more for it.
    dearest = Tokens(input=tokens.input, cache_writes=frame, output=tokens.output)
    prices = [cost_usd(entry, t, at_ms=at_ms) for t in (tokens, dearest)]
    known = [p for p in prices if p is not None]
    return Bound(
        engine=entry.engine,
        provider=entry.provider,
        rung=entry.alias,
        input_tokens=tokens.input,
        output_tokens=tokens.output,
        cost_usd=max(known) if len(known) == len(prices) else None,
    )


def holds(entry: Entry, call: ModelCall) -> bool:
    """Whether prompt and reply may fit into the model's context; only what surely does not is denied."""
    if entry.context is None:
        return True
    left = entry.context - min(entry.output_limit, call.max_output_tokens)
    # Counting reads all of the prompt, which is needless for what is short even by its letters.
    return len(call.prompt) <= left or least_tokens(call.system) + least_tokens(call.prompt) <= left


def frame_of(call: ModelCall) -> str:
    """Names what is the same in all calls of a specialty: what the model is sent beside the prompt and pictures."""
    parts = (call.system, call.tool_name, call.tool_description, str(call.tool_schema))
    return blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


def within(entry: Entry, call: ModelCall, left_usd: float | None, *, at_ms: int, seen: int | None = None) -> ModelCall:
    """The call with its output limit lowered to what is left, down to LEAST_PART of it, and the model told so; or
    unchanged if that is not enough (or not needed). A reply that is cut all the same counts as a failed one."""
    if left_usd is None:
        return call

    def most(asked: ModelCall) -> float | None:
        return bound_of(entry, asked, at_ms=at_ms, seen=seen).cost_usd

    full, short = most(call), _lowered(call, int(call.max_output_tokens * LEAST_PART))
    if full is None or full <= left_usd:
        return call
    least = most(short)
    if least is None or least >= left_usd or least >= full:
        return call
    more = (left_usd - least) / (full - least) * (call.max_output_tokens - short.max_output_tokens)
    fitted = _lowered(call, short.max_output_tokens + int(more))
    cost = most(fitted)
    return fitted if cost is not None and cost <= left_usd else short


def _lowered(call: ModelCall, tokens: int) -> ModelCall:
    return replace(call, max_output_tokens=tokens, prompt=render.short(call.prompt, tokens))


def estimate_of(entry: Entry, bound: Bound, *, started_ms: int, ended_ms: int) -> Usage:
    """The usage of a call that was broken off: its bound, marked as estimated."""
    tokens = Tokens(input=bound.input_tokens, output=bound.output_tokens)
    usage = usage_of(entry, tokens, started_ms=started_ms, ended_ms=ended_ms)
    return usage.model_copy(update={"cost_usd": bound.cost_usd, "estimated": True})


def nothing_of(entry: Entry) -> Usage:
    """The usage of a call that was refused: nothing."""
    return Usage(provider=entry.provider, model=entry.id, cost_usd=0.0)
