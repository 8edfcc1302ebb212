"""Getting a usable reply: the one loop that asks, after the pure files have decided whom, when and how often.

core/route.py decides which model is asked next, core/retry.py whether and when once more, core/breaker.py which models
are left alone, core/hedge.py when a slow one gets another beside it (hocket.llm.racing), which a rejected one gets too.
One call is made in hocket.llm.dialling.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hocket.core import hedge, retry, route
from hocket.core.route import Limits, Pick
from hocket.llm import render
from hocket.llm.base import QUALITY, Kind, ModelCall, ModelError, ModelReply, OnText
from hocket.llm.catalogue import Entry
from hocket.llm.dialling import Dial, Ledger
from hocket.llm.gate import Gate, OpenGate, holds
from hocket.llm.models import Models
from hocket.llm.racing import Line, race
from hocket.runtime import metrics

__all__ = ["Asker", "Check", "Doubt", "Found", "Ledger", "Sleep"]
Check = Callable[[dict[str, Any]], Sequence[str]]
"""What is wrong with a reply; empty when it may be used."""
Doubt = Callable[[dict[str, Any]], str | None]
"""Why a reply that may be used should rather come from a better model; None when it is good enough."""
Sleep = Callable[[float], Awaitable[None]]
MAX_RESTS = 4
"""How often a task waits for models that are all left alone, before it fails."""
FALLBACK_TOKENS = 1_024
"""Output limit of a call that is made as a fallback; a specialty's own limit stays where it is lower."""
_SPREAD = 0.25
"""A wait that others wait for too is lengthened by up to this share, so that they do not all come back at once."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A reply that passed the check, who gave it and why it was asked; `doubt` if nothing better could be had.

    `fallback`: it was asked to be quick and may be less detailed than others.
    """

    data: dict[str, Any]
    entry: Entry
    why: str = ""
    doubt: str | None = None
    fallback: bool = False


@dataclass(kw_only=True)
class Asker:
    """Asks models for one task and keeps the ledger. Not shared between tasks."""

    models: Models
    now_ms: Callable[[], int]
    deadline_ms: int | None
    strategy: str = "balanced"
    floor: int = 1
    gate: Gate = field(default_factory=OpenGate)
    on_text: OnText | None = None
    ledger: Ledger = field(default_factory=Ledger)
    sleep: Sleep = asyncio.sleep
    chance: Callable[[], float] = random.random
    passed: tuple[str, ...] = ()
    """Models that the last choice passed over, and why."""

    async def climb(
        self,
        rungs: Sequence[str],
        call: ModelCall,
        check: Check,
        *,
        doubt: Doubt = lambda _: None,
        final: Collection[Kind] = (),
    ) -> Found | ModelError | None:
        """The first good reply from the rungs' models; else a doubted one; else the last failure; None without models.

        core/route.py gives the order, and says what is asked as a fallback: with FALLBACK_TOKENS, once; a reply that
        they cut off is asked for again at full length. After a failure of a `final` kind nothing is asked any more.
        Waits as long as calls, retries and rests take, to the deadline at most.
        """
        rejected, lost = set[str](), set[str]()
        kept: Found | None = None
        last: ModelError | None = None
        rests, brief = 0, True
        while not self._is_spent():
            chosen = self._pick(rungs, call, rejected, lost)
            if chosen.engine is None:
                last = self._unavailable(chosen) or last
                if not await self._rested(chosen, rests):
                    break
                rests += 1
                continue
            entry = self.models.entry(chosen.engine)
            asked, why = _asked(call, chosen, brief)
            won, failed = await self._raced(entry, asked, check)
            for line, e in failed:
                (rejected if e.kind in QUALITY else lost).add(line.alias if e.kind in QUALITY else line.engine)
            if won is None:
                last = failed[0][1]
                if last.kind == "truncated" and asked.max_output_tokens < call.max_output_tokens:
                    brief = False
                    rejected.discard(entry.alias)
                    continue
                if last.kind in final:
                    return last
                continue
            data, by = won
            why = why if by is entry else f"{why}; beside {entry.engine}, which was slow or rejected"
            kept = Found(data=data, entry=by, why=why, doubt=doubt(data), fallback=asked is not call)
            if kept.doubt is None:
                return kept
            metrics.ESCALATED.labels(by.alias, "doubted").inc()
            rejected.add(by.alias)
        return kept or last

    def _is_spent(self) -> bool:
        late = self.deadline_ms is not None and self.now_ms() >= self.deadline_ms
        return late or self.ledger.calls >= self.models.tuning.max_calls

    def _pick(self, rungs: Sequence[str], call: ModelCall, rejected: Collection[str], lost: Collection[str]) -> Pick:
        limits = Limits(
            strategy=self.strategy,
            floor=self.floor,
            now_ms=self.now_ms(),
            deadline_ms=self.deadline_ms,
            left_usd=self.gate.left_usd(),
        )
        candidates = [
            c
            for rung in dict.fromkeys(rungs)
            for c in self.models.candidates(rung, limits.now_ms, call, limits.left_usd)
        ]
        chosen = route.pick(candidates, rungs, limits, rejected=rejected, lost=lost)
        self.passed = chosen.passed
        return chosen

    def _unavailable(self, chosen: Pick) -> ModelError | None:
        if not chosen.passed:
            return None
        kind: Kind = "too_long" if chosen.long else "over_budget" if chosen.short else "timeout"
        kind = "unavailable" if chosen.free_at_ms is not None else kind
        return ModelError(kind, f"No model can be asked: {', '.join(chosen.passed)}.")

    async def _rested(self, chosen: Pick, rests: int) -> bool:
        """Waits until the first model is free again; False if that does not pay."""
        if chosen.free_at_ms is None or rests >= MAX_RESTS:
            return False
        wait = max(1, chosen.free_at_ms - self.now_ms())
        if wait > retry.MAX_WAIT_MS or (self.deadline_ms is not None and self.now_ms() + wait >= self.deadline_ms):
            return False
        await self.sleep(wait * (1 + _SPREAD * self.chance()) / 1000)
        return True

    async def _raced(
        self, entry: Entry, call: ModelCall, check: Check
    ) -> tuple[tuple[dict[str, Any], Entry] | None, list[tuple[Entry, ModelError]]]:
        """The first usable reply and who gave it, and the failures; see hocket.llm.racing."""
        on_reject = asyncio.Event()
        first = Line(entry, self._usable(entry, call, check, self._dial(), on_reject))

        def second() -> Line | None:
            beside = self._beside(entry, call, is_rejected=on_reject.is_set())
            if beside is None or self.ledger.calls + 2 > self.models.tuning.max_calls:
                return None
            metrics.HEDGES.labels(entry.engine, "begun").inc()
            # Two streams at once would mix: followers see the first one's, and the winner's text at the end.
            quiet = self._dial(told=False)
            return Line(beside, self._usable(beside, call, check, quiet, asyncio.Event()))

        return await race(first, second, after=self._after(entry), rejected=on_reject)

    def _after(self, entry: Entry) -> float | None:
        """Seconds after which the model counts as slow."""
        left = None if self.deadline_ms is None else self.deadline_ms - self.now_ms()
        wait = hedge.delay_ms(self.models.vitals.pace(entry.engine), self.models.tuning.hedge, left)
        return None if wait is None else wait / 1000

    def _beside(self, entry: Entry, call: ModelCall, *, is_rejected: bool) -> Entry | None:
        """Another model of the same rung into whose context the call fits; a slow one may also be asked twice."""
        if is_rejected and not self.models.tuning.second_opinion:
            return None
        others = [e for e in self.models.choices(entry.alias) if e.engine != entry.engine and holds(e, call)]
        able = (e for e in others if self.models.vitals.admits(e.engine, self.now_ms()))
        return next(able, None if is_rejected else entry)

    async def _usable(
        self, entry: Entry, call: ModelCall, check: Check, dial: Dial, on_reject: asyncio.Event
    ) -> dict[str, Any]:
        prompt, wrong = call.prompt, list[str]()
        for repairing in (False, True):
            try:
                reply, started = await self._retried(dial, entry, replace(call, prompt=prompt))
            except ModelError as e:
                if e.kind != "malformed" or repairing:
                    raise
                on_reject.set()
                prompt = render.repair(call.prompt, None, [e.message])
                continue
            wrong = list(check(reply.data))
            self.ledger.judge(entry.engine, wrong, started, self.now_ms())
            if not wrong:
                return reply.data
            on_reject.set()
            prompt = render.repair(call.prompt, reply.data, wrong)
        said = "; ".join(wrong)[:400]
        metrics.ESCALATED.labels(entry.alias, "malformed").inc()
        raise ModelError("malformed", f"{entry.engine}: the reply does not fit, even after one repair: {said}")

    def _dial(self, *, told: bool = True) -> Dial:
        return Dial(
            models=self.models,
            gate=self.gate,
            ledger=self.ledger,
            now_ms=self.now_ms,
            deadline_ms=self.deadline_ms,
            on_text=self.on_text if told else None,
        )

    async def _retried(self, dial: Dial, entry: Entry, call: ModelCall) -> tuple[ModelReply, int]:
        """The reply, and when the call that gave it began."""
        tries, waited = 0, 0
        while True:
            tries += 1
            try:
                return await dial.once(entry, call)
            except ModelError as e:
                failed_at = self.now_ms()
                wait = retry.decide(
                    e,
                    attempt=tries,
                    now_ms=failed_at,
                    deadline_ms=self.deadline_ms,
                    schedule=self.models.tuning.schedule_ms,
                    waited_ms=waited,
                )
                if wait is None or self._is_spent():
                    raise
                if not await self._awake(entry, wait):
                    raise
                # What this call's own provider asked for is its word, not our pace.
                waited = 0 if e.retry_after_ms else self.now_ms() - failed_at

    async def _awake(self, entry: Entry, wait_ms: int) -> bool:
        """Waits before a retry, and longer if the provider has asked others for a longer rest; False: retry no more."""
        for _ in range(MAX_RESTS):
            if self.deadline_ms is not None and self.now_ms() + wait_ms >= self.deadline_ms:
                return False
            await self.sleep(wait_ms / 1000)
            free = self.models.vitals.free_at(entry.engine, self.now_ms())
            # Others may have found out in the meantime that nothing comes of it.
            if free is None or self._is_spent() or self.models.vitals.breaker(entry.engine).state == "open":
                return False
            wait_ms = free - self.now_ms()
            if wait_ms <= 0:
                return True
        return False


def _asked(call: ModelCall, chosen: Pick, brief: bool) -> tuple[ModelCall, str]:
    """The call as this model gets it, and why: as a fallback it is shorter, and asks for speed."""
    if not chosen.fallback or not brief:
        return call, chosen.why
    tokens = min(call.max_output_tokens, FALLBACK_TOKENS)
    hurried = replace(call, prompt=render.hurried(call.prompt, chosen.fallback), max_output_tokens=tokens)
    return hurried, f"{chosen.why}, as a fallback ({chosen.fallback}): quick, at most {tokens} tokens"
