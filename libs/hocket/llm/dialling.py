"""One call to one model, and all that must be told around it: breaker, gate, ledger, metrics. And hedged calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from hocket.contracts.records import Attempt, Usage
from hocket.core import hedge
from hocket.core.breaker import Ending
from hocket.llm.base import ModelCall, ModelError, ModelReply, OnText
from hocket.llm.catalogue import Entry
from hocket.llm.gate import Bound, Gate, estimate_of, frame_of, nothing_of
from hocket.llm.models import Models
from hocket.llm.wire import MAX_CALL_MS
from hocket.runtime import metrics

_FAILED = frozenset({"overloaded", "unavailable", "timeout"})
_BLOCKED = frozenset({"quota", "auth"})


@dataclass(kw_only=True)
class Ledger:
    """Everything that was tried for one task, in order; filled while it happens, so that a failure is accounted too."""

    usage: list[Usage] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    calls: int = 0

    def add(self, engine: str, outcome: str, message: str | None, started_at: int, ended_at: int) -> None:
        """One more try."""
        self.attempts.append(
            Attempt(
                number=len(self.attempts) + 1,
                engine=engine,
                outcome=outcome,
                message=message,
                started_at=started_at,
                ended_at=max(started_at, ended_at),
            )
        )

    def judge(self, engine: str, wrong: Sequence[str], started_at: int, ended_at: int) -> None:
        """A reply came, and this is wrong with it (nothing: it may be used)."""
        self.add(engine, "malformed" if wrong else "completed", "; ".join(wrong)[:500] or None, started_at, ended_at)


@dataclass(frozen=True, kw_only=True)
class Dial:
    """Makes the calls of one task."""

    models: Models
    gate: Gate
    ledger: Ledger
    now_ms: Callable[[], int]
    deadline_ms: int | None
    on_text: OnText | None = None

    async def once(self, entry: Entry, call: ModelCall) -> tuple[ModelReply, int]:
        """One call: the reply, and when it began. Raises ModelError; every outcome is in the ledger but a
        good one, which the caller judges. A call that is cancelled is settled at its bound."""
        engine, vitals = entry.engine, self.models.vitals
        await self._ready(entry)
        call = self.models.within(entry, call, self.gate.left_usd(), self.now_ms())
        bound = self.models.bound(entry, call, self.now_ms())
        await self._entered(entry, bound)
        started = self.now_ms()
        if not vitals.admits(engine, started):  # the gate may have let us wait
            self.gate.leave(bound, nothing_of(entry))
            raise ModelError("unavailable", f"{engine}: left alone after failures.")
        era = vitals.begin(engine, started)
        self.ledger.calls += 1
        patience = self._patience(entry)
        cut = patience if self.deadline_ms is None else min(patience, self.deadline_ms - started)
        try:
            reply = await self.models.call(entry, replace(call, deadline_ms=started + cut), self.on_text)
        except ModelError as e:
            self._failed(entry, bound, e, era=era, started=started, impatient=cut == patience)
            raise
        except asyncio.CancelledError:
            vitals.end(engine, "given_up", era=era, now_ms=self.now_ms())
            self._settle(bound, estimate_of(entry, bound, started_ms=started, ended_ms=self.now_ms()))
            self.ledger.add(engine, "cancelled", None, started, self.now_ms())
            metrics.CALLS.labels(engine, "cancelled").inc()
            raise
        vitals.end(engine, "succeeded", era=era, now_ms=self.now_ms())
        vitals.took(engine, self.now_ms() - started)
        vitals.billed(engine, frame_of(call), reply.usage.input_tokens)
        self._settle(bound, reply.usage)
        metrics.CALLS.labels(engine, "completed").inc()
        return reply, started

    async def _entered(self, entry: Entry, bound: Bound) -> None:
        """Past the gate, which may let the call wait for the provider's rate: to the task's deadline at most."""
        started = self.now_ms()
        left = None if self.deadline_ms is None else max(0, self.deadline_ms - started) / 1000
        try:
            async with asyncio.timeout(left):
                await self.gate.enter(bound)
        except TimeoutError as e:
            said = f"{entry.engine}: not called, the provider's rate left no room before the deadline."
            self.ledger.add(entry.engine, "timeout", said, started, self.now_ms())
            raise ModelError("timeout", said) from e

    async def _ready(self, entry: Entry) -> None:
        started = self.now_ms()
        try:
            await self.models.ready(entry)
        except ModelError as e:
            self.ledger.add(entry.engine, e.kind, e.message, started, self.now_ms())
            raise

    def _patience(self, entry: Entry) -> int:
        pace = self.models.vitals.pace(entry.engine)
        return hedge.patience_ms(pace, entry.latency_ms, self.models.tuning.patience_ms, MAX_CALL_MS)

    def _failed(self, entry: Entry, bound: Bound, e: ModelError, *, era: int, started: int, impatient: bool) -> None:
        """`impatient`: the call was cut off for being too slow, not for the task's deadline."""
        engine, ended = entry.engine, self.now_ms()
        if e.usage is None and e.spent:
            e.usage = estimate_of(entry, bound, started_ms=started, ended_ms=ended)
        if e.usage is None:
            self.gate.leave(bound, nothing_of(entry))
        else:
            self._settle(bound, e.usage)
        self.ledger.add(engine, e.kind, e.message, started, ended)
        self.models.vitals.end(engine, _ending(e, impatient), era=era, now_ms=ended, retry_after_ms=e.retry_after_ms)
        metrics.CALLS.labels(engine, e.kind).inc()
        if e.kind == "rate_limited":
            metrics.RATE_LIMITED.labels(engine).inc()
        if e.kind in _BLOCKED:
            metrics.PROVIDER_BLOCKED.labels(entry.provider, e.kind).inc()

    def _settle(self, bound: Bound, usage: Usage) -> None:
        self.ledger.usage.append(usage)
        metrics.spent(bound.engine, usage)
        self.gate.leave(bound, usage)


def _ending(e: ModelError, impatient: bool) -> Ending:
    if e.kind in _BLOCKED:
        return "blocked"
    if e.kind == "timeout" and not impatient:
        return "given_up"  # the task's time was short; that says nothing of the model
    return "failed" if e.kind in _FAILED else "succeeded"
