"""Lets calls wait until the fleet's part of a provider's rate allows them: one governor for a process.

Its leases come from the account `provider/<name>` in the aggregator; hocket.kafka.lending carries the commands and the
grants, core/leasing.py decides what to ask for. A provider (or one model of it) is governed from the start when a limit
is set for it, which headers may lower, never raise. Otherwise it is governed from the moment its headers say that less
than half of its minute is left: far from the limit no call pays for a round trip. Everything runs on one event loop.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from hocket.contracts.records import AccountCommand, Grant, Usage
from hocket.core.leasing import Rest, Till
from hocket.llm.gate import Bound
from hocket.llm.limits import Rates, heard_in
from hocket.runtime import metrics

ANSWER_MS = 5_000
"""A lease that was not answered for so long is asked for again."""
TELL_MS = 1_000
"""How often the account is told what a provider's headers say."""
_SHORTEST_MS = 50
_SPREAD = 0.1
_FLOOR = 0.05
_GIVEN_UP = 100


@dataclass(eq=False, kw_only=True)
class _Waiter:
    tokens: int
    go: asyncio.Future[None]


@dataclass(kw_only=True)
class _Account:
    name: str
    limit: Rates
    till: Till = field(default_factory=Till)
    waiting: deque[_Waiter] = field(default_factory=deque)
    asked: str | None = None
    asked_at: int = 0
    not_before: int = 0
    given_up: deque[str] = field(default_factory=partial(deque, maxlen=_GIVEN_UP))
    """Asked for, and not answered in time."""
    told_at: int = 0
    part: float = 1.0
    """Of calls' bounds in tokens that they really use."""
    alarm: asyncio.TimerHandle | None = None


class Governor:
    """See hocket.llm.purse.Rate. `send` takes commands for the topic accounts and must not block; until `open` nothing
    is asked. `asker` is the key under which grants come back, unique in the fleet."""

    def __init__(
        self,
        limits: Mapping[str, Rates],
        *,
        asker: str,
        now_ms: Callable[[], int],
        chance: Callable[[], float],
    ) -> None:
        self._limits, self._asker, self._now, self._chance = dict(limits), asker, now_ms, chance
        self._accounts: dict[str, _Account] = {}
        self._held: dict[int, tuple[_Account, int]] = {}
        self._number = 0
        self._began = now_ms()
        self._send: Callable[[AccountCommand], None] | None = None
        self.wanted = asyncio.Event()
        """Set as soon as anything is governed: from then on grants must be read."""
        for name in self._limits:
            self._account(name)

    def open(self, send: Callable[[AccountCommand], None]) -> None:
        """Grants can be received from now on."""
        self._send = send
        for account in self._accounts.values():
            self._pump(account)

    async def acquire(self, bound: Bound) -> None:
        """See Rate."""
        account = self._for(bound.engine, bound.provider)
        if account is None:
            return
        tokens = max(1, int((bound.input_tokens + bound.output_tokens) * account.part))
        now = self._now()
        if account.waiting or not account.till.take(tokens, now):
            waiter = _Waiter(tokens=tokens, go=asyncio.get_running_loop().create_future())
            account.waiting.append(waiter)
            self._pump(account)
            await self._wait(account, waiter)
            metrics.RATE_WAITS.labels(account.name).observe((self._now() - now) / 1000)
        else:
            self._pump(account)
        self._held[id(bound)] = (account, tokens)

    async def _wait(self, account: _Account, waiter: _Waiter) -> None:
        try:
            await waiter.go
        except asyncio.CancelledError:
            if waiter in account.waiting:
                account.waiting.remove(waiter)
            elif waiter.go.done() and not waiter.go.cancelled():  # let in and cancelled at once: its place goes back
                account.till.add(1, waiter.tokens, self._now() + _SHORTEST_MS)
                self._pump(account)
            raise

    def used(self, bound: Bound, usage: Usage) -> None:
        """See Rate."""
        account, tokens = self._held.pop(id(bound), (None, 0))
        if account is None:
            return
        real = usage.input_tokens + usage.output_tokens
        if real and not usage.estimated:
            share = real / max(1, bound.input_tokens + bound.output_tokens)
            account.part = max(_FLOOR, share, 0.9 * account.part + 0.1 * share)
        account.till.returned(tokens - real, self._now())

    def heard(self, engine: str, headers: Mapping[str, str]) -> None:
        """What a reply's headers say, whether the call went well or not."""
        said = heard_in(headers, now_ms=self._now())
        if said is None:
            return
        provider = engine.partition("/")[0]
        account = self._for(engine, provider)
        if account is None and said.pressed:
            account = self._account(engine)
        if account is None:
            return
        set_for = self._limits.get(account.name, Rates())
        limit = Rates(rpm=_least(said.limit.rpm, set_for.rpm), tpm=_least(said.limit.tpm, set_for.tpm))
        account.limit = Rates(rpm=limit.rpm or account.limit.rpm, tpm=limit.tpm or account.limit.tpm)
        if self._send is not None and self._now() - account.told_at >= TELL_MS:
            account.told_at = self._now()
            detail = {
                "limit": {"rpm": limit.rpm, "tpm": limit.tpm},
                "remaining": {"requests": said.left.rpm, "tokens": said.left.tpm},
                "reset_ms": said.reset_ms,
            }
            self._command(account, "limit", 0, detail)

    def granted(self, grant: Grant) -> None:
        """A grant for this process. One that comes when it was given up already goes back at once."""
        account = self._accounts.get(grant.account_id.partition("/")[2])
        if account is None:
            return
        if grant.command_id in account.given_up:
            account.given_up.remove(grant.command_id)
            tokens = int(json.loads(grant.detail).get("tokens", 0))
            if grant.amount >= 1:
                self._give_back(account, [Rest(name=grant.command_id, requests=int(grant.amount), tokens=tokens)])
        if grant.command_id != account.asked:
            return
        account.asked = None
        detail = json.loads(grant.detail)
        now = self._now()
        if grant.granted and grant.expires_at is not None:
            # Counted from the moment of asking: two clocks are never compared, and it ends rather too early.
            until = account.asked_at + grant.expires_at - grant.at
            account.till.add(int(grant.amount), int(detail["tokens"]), until, grant.command_id)
            account.not_before = now + _SHORTEST_MS
        else:
            wait = min(ANSWER_MS, int(detail.get("retry_after_ms", ANSWER_MS // 3)))
            account.not_before = now + int(max(_SHORTEST_MS, wait) * (1 + _SPREAD * self._chance()))
        self._pump(account)

    def close(self) -> None:
        """Gives back what is left; nothing is asked any more."""
        for account in self._accounts.values():
            if account.alarm is not None:
                account.alarm.cancel()
            self._give_back(account, account.till.empty())
        self._send = None

    def _for(self, engine: str, provider: str) -> _Account | None:
        return self._accounts.get(engine) or self._accounts.get(provider)

    def _account(self, name: str) -> _Account:
        found = self._accounts.setdefault(name, _Account(name=name, limit=self._limits.get(name, Rates())))
        self.wanted.set()
        return found

    def _pump(self, account: _Account) -> None:
        """Gives back what ran out, lets in who can be let in, asks when there is need, and comes again in time."""
        now = self._now()
        while account.waiting and (account.waiting[0].go.done() or account.till.take(account.waiting[0].tokens, now)):
            waiter = account.waiting.popleft()
            if not waiter.go.done():
                waiter.go.set_result(None)
        self._give_back(account, account.till.ended(now))
        if account.asked is not None and now - account.asked_at >= ANSWER_MS:
            account.given_up.append(account.asked)
            account.asked = None
        wish = account.till.wish(len(account.waiting), sum(w.tokens for w in account.waiting), now)
        if wish is not None and account.asked is None and now >= account.not_before and self._send is not None:
            detail = {"tokens": wish.tokens, "limit": {"rpm": account.limit.rpm, "tpm": account.limit.tpm}}
            account.asked, account.asked_at = self._command(account, "lease", wish.requests, detail), now
        self._again(account, now, wish is not None)

    def _again(self, account: _Account, now: int, wishes: bool) -> None:
        moments = [m for m in (account.till.next_end(),) if m is not None]
        if account.asked is not None:
            moments.append(account.asked_at + ANSWER_MS)
        elif wishes:
            moments.append(account.not_before)
        if account.alarm is not None:
            account.alarm.cancel()
        account.alarm = None
        if moments and self._send is not None:
            delay = max(1, min(moments) - now) / 1000
            account.alarm = asyncio.get_running_loop().call_later(delay, self._pump, account)

    def _give_back(self, account: _Account, rests: Sequence[Rest]) -> None:
        for rest in rests if self._send is not None else ():
            if rest.name:
                self._command(account, "release", rest.requests, {"tokens": rest.tokens, "lease": rest.name})

    def _command(self, account: _Account, action: str, amount: int, detail: Mapping[str, object]) -> str:
        self._number += 1
        command_id = f"{self._asker}/{self._began}.{self._number}"
        assert self._send is not None  # noqa: S101 - the callers have looked
        self._send(
            AccountCommand(
                account_id=f"provider/{account.name}",
                asker=self._asker,
                command_id=command_id,
                action=action,
                amount=float(amount),
                detail=json.dumps(detail),
                at=self._now(),
            )
        )
        return command_id


def _least(heard: int | None, given: int | None) -> int | None:
    known = [x for x in (heard, given) if x is not None]
    return min(known) if known else None
