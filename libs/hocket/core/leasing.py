"""A process's part of a provider's rate: what it may start now, what it should ask for, what it gives back. Pure.

A lease is so many requests and tokens that may be started until a moment; what is left of it then goes back. Tokens are
an estimate before a call and a fact after it, so a call may start as long as a lease has any left, and what it took too
much is asked for with the next lease.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

AHEAD_MS = 1_000
"""How far ahead a busy process asks."""
HALF_LIFE_MS = 1_000
"""In which the measured rate of starts forgets half."""
MOST = 10_000
"""Requests asked for at once."""


@dataclass(kw_only=True)
class Lease:
    """Requests and tokens that are left, until `until_ms`."""

    requests: int
    tokens: int
    until_ms: int
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What to ask for."""

    requests: int
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Rest:
    """A lease that has ended, and what of it was not used: nothing more is started by it."""

    name: str
    requests: int
    tokens: int


@dataclass(kw_only=True)
class Till:
    """The leases of one account in one process."""

    leases: list[Lease] = field(default_factory=list)
    owed: int = 0
    """Tokens that calls took beyond what was leased."""
    _rate: float = 0.0
    _size: float = 0.0
    _at_ms: int = 0

    def add(self, requests: int, tokens: int, until_ms: int, name: str = "") -> None:
        """A lease was granted; what is owed is paid from it."""
        paid = min(self.owed, tokens)
        self.owed -= paid
        self.leases.append(Lease(requests=requests, tokens=tokens - paid, until_ms=until_ms, name=name))
        self.leases.sort(key=lambda x: x.until_ms)

    def take(self, tokens: int, now_ms: int) -> bool:
        """Starts one call of about so many tokens, from the lease that ends first; False when none has room."""
        usable = [x for x in self.leases if x.until_ms > now_ms and x.requests > 0]
        room = sum(x.tokens for x in usable)
        if not usable or (room <= 0 < tokens):
            return False
        usable[0].requests -= 1
        left = tokens
        for lease in usable:
            part = min(left, lease.tokens)
            lease.tokens -= part
            left -= part
        self.owed += left
        self._count(tokens, now_ms)
        return True

    def returned(self, tokens: int, now_ms: int) -> None:
        """A call has used fewer tokens than it took (negative: more)."""
        paid = min(self.owed, tokens)
        self.owed -= paid
        usable = [x for x in self.leases if x.until_ms > now_ms]
        if tokens - paid > 0 and usable:
            usable[-1].tokens += tokens - paid

    def _count(self, tokens: int, now_ms: int) -> None:
        self._rate = self.rate(now_ms) + math.log(2) / HALF_LIFE_MS * 1000
        self._at_ms = now_ms
        self._size = tokens if self._size == 0 else 0.9 * self._size + 0.1 * tokens

    def rate(self, now_ms: int) -> float:
        """Starts a second, lately."""
        return self._rate * math.exp2((self._at_ms - now_ms) / HALF_LIFE_MS)

    def wish(self, waiting: int, waiting_tokens: int, now_ms: int) -> Wish | None:
        """What to ask for now: what waits, and for a busy process the next second; None when there is enough."""
        soon = [x for x in self.leases if x.until_ms > now_ms + AHEAD_MS // 2]
        held, room = sum(x.requests for x in soon), sum(x.tokens for x in soon)
        ahead = int(self.rate(now_ms) * AHEAD_MS / 1000)
        if waiting == 0 and held * 2 > ahead:
            return None
        requests = min(MOST, waiting + ahead - (held if waiting == 0 else 0))
        if requests <= 0:
            return None
        tokens = waiting_tokens + int((requests - waiting) * self._size) + self.owed - (room if waiting == 0 else 0)
        return Wish(requests=requests, tokens=max(0, tokens))

    def ended(self, now_ms: int) -> list[Rest]:
        """Takes out what was used up or not used in time. The sooner that is told, the sooner it counts no more."""
        return self._out([x for x in self.leases if x.until_ms <= now_ms or x.requests == 0])

    def empty(self) -> list[Rest]:
        """Takes out all that is left: the process stops."""
        return self._out(list(self.leases))

    def _out(self, gone: list[Lease]) -> list[Rest]:
        self.leases = [x for x in self.leases if not any(x is g for g in gone)]
        return [Rest(name=x.name, requests=x.requests, tokens=x.tokens) for x in gone]

    def next_end(self) -> int | None:
        """When the first lease ends."""
        return min((x.until_ms for x in self.leases), default=None)
