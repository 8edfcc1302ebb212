"""Getting a usable reply: retries of one model, one repair of a reply that does not fit, then the next model."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hocket.contracts.records import Attempt, Usage
from hocket.core import retry
from hocket.llm import render
from hocket.llm.base import QUALITY, Kind, ModelCall, ModelError, ModelReply
from hocket.llm.catalogue import Entry
from hocket.llm.models import Models
from hocket.runtime import metrics

Check = Callable[[dict[str, Any]], Sequence[str]]
"""What is wrong with a reply; empty when it may be used."""
Sleep = Callable[[float], Awaitable[None]]


@dataclass(kw_only=True)
class Ledger:
    """Everything that was tried for one task, in order; filled while it happens, so that a failure is accounted too."""

    usage: list[Usage] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)

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


@dataclass(frozen=True, kw_only=True)
class Found:
    """A reply that passed the check, who gave it, and on which rung."""

    data: dict[str, Any]
    entry: Entry


@dataclass(kw_only=True)
class Asker:
    """Asks models for one task and keeps the ledger. Not shared between tasks."""

    models: Models
    now_ms: Callable[[], int]
    deadline_ms: int | None
    ledger: Ledger = field(default_factory=Ledger)
    sleep: Sleep = asyncio.sleep

    async def climb(
        self, rungs: Sequence[str], call: ModelCall, check: Check, *, final: Collection[Kind] = ()
    ) -> Found | ModelError | None:
        """The first usable reply from the rungs' models; else the last failure; None when no rung has a model.

        A model that cannot be had is replaced by the same rung of the next provider; after a reply that cannot be used
        comes the next rung; after a failure of a `final` kind, nothing. Waits as long as the calls and their retries
        take, to the deadline at most.
        """
        last: ModelError | None = None
        for rung in rungs:
            for entry in self.models.choices(rung):
                try:
                    return Found(data=await self._usable(entry, call, check), entry=entry)
                except ModelError as e:
                    last = e
                if last.kind in final or self._is_late():
                    return last
                if last.kind in QUALITY:
                    break
        return last

    def _is_late(self) -> bool:
        return self.deadline_ms is not None and self.now_ms() >= self.deadline_ms

    async def _usable(self, entry: Entry, call: ModelCall, check: Check) -> dict[str, Any]:
        prompt, wrong = call.prompt, list[str]()
        for repairing in (False, True):
            try:
                reply, started = await self._retried(entry, replace(call, prompt=prompt))
            except ModelError as e:
                if e.kind != "malformed" or repairing:
                    raise
                prompt = render.repair(call.prompt, None, [e.message])
                continue
            wrong = list(check(reply.data))
            if not wrong:
                self.ledger.add(entry.engine, "completed", None, started, self.now_ms())
                return reply.data
            self.ledger.add(entry.engine, "malformed", "; ".join(wrong)[:500], started, self.now_ms())
            prompt = render.repair(call.prompt, reply.data, wrong)
        said = "; ".join(wrong)[:400]
        raise ModelError("malformed", f"{entry.engine}: the reply does not fit, even after one repair: {said}")

    async def _retried(self, entry: Entry, call: ModelCall) -> tuple[ModelReply, int]:
        """The reply, and when the call that gave it began."""
        tries = 0
        while True:
            tries += 1
            started = self.now_ms()
            try:
                reply = await self.models.call(entry, replace(call, deadline_ms=self.deadline_ms))
            except ModelError as e:
                if e.usage is not None:
                    self.ledger.usage.append(e.usage)
                self.ledger.add(entry.engine, e.kind, e.message, started, self.now_ms())
                if e.kind == "rate_limited":
                    metrics.RATE_LIMITED.labels(entry.engine).inc()
                wait = retry.decide(e, attempt=tries, now_ms=self.now_ms(), deadline_ms=self.deadline_ms)
                if wait is None:
                    raise
            else:
                self.ledger.usage.append(reply.usage)
                return reply, started
            await self.sleep(wait / 1000)
