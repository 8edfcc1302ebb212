"""The simulated provider: what it replies, when, and what it bills. Its own log is what costs are counted from."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.headline.workload import Asked, plan_of
from bench.headline.world import World
from hocket.llm.base import ModelCall, ModelError, ModelReply, OnText
from hocket.llm.catalogue import Entry
from hocket.llm.prices import Tokens, cost_usd, usage_of

_CASE = re.compile(r"case=(c\d+\.\w+\.(\w+))")
_MARK = re.compile(r"Simulated reply to (\S+) by (\S+): (right|wrong)\.")
_UNBILLED = ("rate_limited", "overloaded")
CHARS_PER_TOKEN = 4


@dataclass(kw_only=True)
class Billed:
    """One call as the provider saw it."""

    engine: str
    rung: str
    kind: str
    tokens: Tokens
    cost_usd: float
    outcome: str


@dataclass(frozen=True, kw_only=True)
class Planned:
    """How a call will go. `failure` None: `data` is the reply's object."""

    entry: Entry
    kind: str
    after_ms: float
    failure: str | None
    data: dict[str, Any]
    tokens: Tokens


def case_of(text: str) -> tuple[str, str]:
    """Case and kind of the task that a prompt is about: the instruction comes first."""
    found = _CASE.search(text)
    if found is None:
        raise ValueError(f"no case in {text[:200]!r}")
    return found[1], found[2]


def mark_of(case: str, output: Mapping[str, Any]) -> tuple[str, bool] | None:
    """Who wrote a reply to the case, and whether it is right; None for what no simulated model wrote.

    Only the oracle and the erring check look at it: to the product it is a text like any other.
    """
    reasons = output.get("reasons")
    said = output.get("text") or output.get("summary") or (reasons[0]["text"] if reasons else "")
    found = _MARK.match(said) if isinstance(said, str) else None
    return (found[2], found[3] == "right") if found is not None and found[1] == case else None


@dataclass(kw_only=True)
class Desk:
    """Decides how every call of one run goes, the same for the same call, and keeps the log."""

    world: World
    entries: Sequence[Entry]
    asked: Sequence[Asked]
    caching: bool
    now_s: Callable[[], float]
    log: list[Billed] = field(default_factory=list)
    _tries: Counter[tuple[str, str]] = field(default_factory=Counter)
    _prefixes: dict[tuple[str, str], float] = field(default_factory=dict)
    _plans: dict[str, Asked] = field(default_factory=dict)
    _by_id: dict[str, Entry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._plans = {case_of(a.text)[0]: a for a in self.asked if a.open}
        self._by_id = {e.id: e for e in self.entries}

    def plan(self, model: str, prefix_chars: int, prompt: str) -> Planned:
        """How the next call will go."""
        entry = self._by_id[model]
        case, kind = case_of(prompt)
        attempt = self._tries[(case, entry.engine)]
        self._tries[(case, entry.engine)] += 1
        failure = self.world.failure(case, entry.engine, attempt)
        early = failure is not None and failure != "malformed"
        millis = self.world.millis(case, kind, entry.engine, entry.alias, attempt)
        return Planned(
            entry=entry,
            kind=kind,
            after_ms=self.world["errors"]["after_ms"] if early else millis,
            failure=failure,
            data=self._data(case, kind, entry, attempt) if failure is None else {"nothing": "that was asked for"},
            tokens=self._tokens(entry, kind, prefix_chars, len(prompt)),
        )

    def _tokens(self, entry: Entry, kind: str, prefix_chars: int, prompt_chars: int) -> Tokens:
        prefix = prefix_chars // CHARS_PER_TOKEN
        said = self.world["prompt_cache"]
        cached = writes = 0
        if self.caching and prefix >= said["min_tokens"][f"{entry.provider}/{entry.alias}"]:
            last = self._prefixes.get((entry.engine, kind))
            fresh = last is None or self.now_s() - last > said["seconds"]
            cached, writes = (0, prefix) if fresh else (prefix, 0)
            self._prefixes[(entry.engine, kind)] = self.now_s()
        output = self.world["output_tokens"][kind]
        total = prefix + prompt_chars // CHARS_PER_TOKEN
        return Tokens(input=total, cached=cached, cache_writes=writes, output=output)

    def _data(self, case: str, kind: str, entry: Entry, attempt: int) -> dict[str, Any]:
        right = self.world.is_right(case, kind, entry.engine, entry.alias, attempt)
        if kind == "planning":
            return plan_of(self._plans[case], complete=right)
        # As long as its tokens say: what is written becomes input of the tasks that follow.
        mark = f"Simulated reply to {case} by {entry.engine}#{attempt}: {'right' if right else 'wrong'}."
        text = mark + " lorem" * (self.world["output_tokens"][kind] * CHARS_PER_TOKEN // 6)
        if kind == "sentiment":
            reasons = [{"text": mark, "score": 0.0}]
            return {"label": "neutral", "score": 0.0, "intensity": "low", "reasons": reasons}
        return {"summary": text} if kind == "summarisation" else {"text": text} | _needed(kind)

    def bill(self, planned: Planned, outcome: str, done: float = 1.0) -> Tokens:
        """Writes a call that ended to the log. `done` is the share of the reply that was generated."""
        tokens = planned.tokens
        if outcome in _UNBILLED:
            tokens = Tokens()
        elif done < 1:
            tokens = Tokens(
                input=tokens.input,
                cached=tokens.cached,
                cache_writes=tokens.cache_writes,
                output=round(tokens.output * done),
            )
        cost = cost_usd(planned.entry, tokens, at_ms=0)
        assert cost is not None
        self.log.append(
            Billed(
                engine=planned.entry.engine,
                rung=planned.entry.alias,
                kind=planned.kind,
                tokens=tokens,
                cost_usd=cost,
                outcome=outcome,
            )
        )
        return tokens


def _needed(kind: str) -> dict[str, Any]:
    return {"kind": "other"} if kind == "extraction" else {}


class Within:
    """The provider inside the process, on the loop's own time: hocket.llm.base.Provider."""

    def __init__(self, name: str, desk: Desk, now_ms: Callable[[], int]) -> None:
        self.name = name
        self._desk, self._now_ms = desk, now_ms

    async def call(self, call: ModelCall, on_text: OnText | None = None) -> ModelReply:  # noqa: ARG002
        """See Provider."""
        planned = self._desk.plan(call.model, len(call.system) + len(json.dumps(call.tool_schema)), call.prompt)
        engine, started = planned.entry.engine, self._now_ms()
        left_ms = float("inf") if call.deadline_ms is None else max(0, call.deadline_ms - started)
        try:
            await asyncio.sleep(min(planned.after_ms, left_ms) / 1000)
        except asyncio.CancelledError:
            self._desk.bill(planned, "cancelled", (self._now_ms() - started) / planned.after_ms)
            raise
        if left_ms < planned.after_ms:
            self._desk.bill(planned, "cancelled", left_ms / planned.after_ms)
            raise ModelError("timeout", f"{engine}: no reply in time.", spent=True)
        tokens = self._desk.bill(planned, planned.failure or "done", 0.0 if planned.failure == "dropped" else 1.0)
        match planned.failure:
            case "rate_limited":
                rest = self._desk.world["errors"]["retry_after_ms"]
                raise ModelError("rate_limited", f"{engine}: HTTP 429", retry_after_ms=rest)
            case "overloaded":
                raise ModelError("overloaded", f"{engine}: HTTP 529")
            case "dropped":
                raise ModelError("unavailable", f"{engine}: connection lost")
        usage = usage_of(planned.entry, tokens, started_ms=started, ended_ms=self._now_ms())
        return ModelReply(data=planned.data, usage=usage, stop_reason="tool_use")

    async def ready(self, model: str) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to close."""
