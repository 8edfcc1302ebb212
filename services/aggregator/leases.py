"""Leases of a provider's rate: how many requests and tokens a worker may start now. Pure.

A lease may be used until `expires_at`; what it allows counts against the limit for one minute more, because a request
started in its last moment still stands in the provider's minute.

Laws:
1. Leases that count never exceed the limits that were known when they were granted.
2. What others asked for and did not get is kept for them, up to an even share; what nobody wants is free for all. When
   that is more than is free, each gets a part of it at once.
3. An unknown limit is no limit: leases are counted, so that a limit learned later finds them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from pydantic import Field

from hocket.contracts.records import AccountCommand, Grant, Millis, Record
from services.aggregator.remembering import Answered, MalformedCommand, details, digest, recall, remember, reply

WINDOW_MS = 60_000
LEASE_MS = 3_000
"""How long a lease may be used. Shorter wastes less of the minute, and asks more often."""
SMOOTH_MS = 4_000
"""Over so long little more is out at once than its part of the limit. A lease that ends early makes room for the
next, so a busy fleet may use up its minute sooner, never more than the limit in a minute: spreading what is used, too,
cost a seventh of the limit."""
SLACK = 1.4
"""How much more: askers come back a moment late, and what they leave over would be lost to the minute."""
WANTING_MS = 10_000
"""How long a demand that was not met keeps a share free for its asker."""
_ON_ITS_WAY_MS = 500
"""How long a call that was started before a release may take to the provider, when the release was quick."""
FORGET_MS = 3_600_000
MAX_LEASES = 4_096
MAX_WANTING = 512
MEMORY = 256
_PROVIDER = "(the provider)"
"""Whose lease stands for what others use of the same key, as the provider's headers show."""


class Limit(Record):
    """Requests and tokens a minute; None where it is not known."""

    rpm: int | None = Field(default=None, ge=0)
    tpm: int | None = Field(default=None, ge=0)


class Leasing(Record):
    """Detail of `lease` and `release`: tokens beside the requests in `amount`; the limit as the asker knows it, and in
    `lease` the id of the command by which what is released was leased."""

    tokens: int = Field(default=0, ge=0)
    lease: str = ""
    limit: Limit = Field(default_factory=Limit)


class Remaining(Record):
    """What the provider says is left of its current minute."""

    requests: int | None = Field(default=None, ge=0)
    tokens: int | None = Field(default=None, ge=0)


class Learned(Record):
    """Detail of `limit`: a provider's own words, from the headers of its last reply."""

    limit: Limit = Field(default_factory=Limit)
    remaining: Remaining = Field(default_factory=Remaining)
    reset_ms: int = Field(default=WINDOW_MS, ge=0, le=10 * WINDOW_MS)


class Lease(Record):
    """What counts against the limits until `until`."""

    asker: str
    requests: int
    tokens: int
    until: Millis
    name: str = ""
    """The digest of its command's id, while it may still be used."""


class Wanting(Record):
    """What an asker did not get."""

    requests: int
    tokens: int
    at: Millis


class Provider(Record):
    """The row of one provider key."""

    limit: Limit = Field(default_factory=Limit)
    leases: tuple[Lease, ...] = ()
    wanting: dict[str, Wanting] = Field(default_factory=dict)
    touched: Millis
    answered: dict[str, Answered] = Field(default_factory=dict)


Outcome = tuple[Provider | None, list[Grant]]


def due(provider: Provider) -> int:
    """When an unused key is forgotten: between one and two hours after its last use, so that it seldom changes."""
    return (provider.touched // FORGET_MS + 2) * FORGET_MS


def step(provider: Provider | None, command: AccountCommand, now: int) -> Outcome:
    """The key after a command (lease, release, limit or tick) at `now`, and the lease."""
    if provider is not None:
        provider = _current(provider, now)
    match command.action:
        case "lease":
            return _lease(provider or Provider(touched=now), command, details(Leasing, command), now)
        case "release":
            return (None if provider is None else _release(provider, command, details(Leasing, command), now)), []
        case "limit":
            return _learn(provider or Provider(touched=now), details(Learned, command), now), []
        case "tick":
            return provider, []
        case other:
            raise MalformedCommand(f"a provider knows lease, release and limit, not {other!r}")


def _current(provider: Provider, now: int) -> Provider | None:
    if now >= due(provider):
        return None
    leases = tuple(x for x in provider.leases if x.until > now)
    wanting = {k: w for k, w in provider.wanting.items() if now - w.at < WANTING_MS}
    return provider.model_copy(update={"leases": leases, "wanting": wanting})


def _available(
    limit: int | None,
    asker: str,
    leases: tuple[Lease, ...],
    wanting: Mapping[str, Wanting],
    part: Callable[[Lease | Wanting], int],
) -> float:
    """What the asker may have of one dimension: what is free, less what others wait for within their even share."""
    if limit is None:
        return math.inf
    held: dict[str, int] = {}
    for lease in leases:
        held[lease.asker] = held.get(lease.asker, 0) + part(lease)
    others = {k: part(w) for k, w in wanting.items() if k != asker}
    share = limit / (len(others) + 1)
    free = max(0.0, limit - sum(held.values()))
    kept = sum(max(0.0, min(share - held.get(k, 0), wanted)) for k, wanted in others.items())
    mine = max(0.0, share - held.get(asker, 0))
    # When all claims are more than is free (somebody still holds a larger part from before), each gets its part of it.
    cut = math.ceil(free * mine / (mine + kept)) if mine else 0
    return max(free - kept, min(free, cut))


def _fitting(provider: Provider, asker: str, requests: int, tokens: int, now: int) -> int:
    """How many of the wanted requests fit."""
    limit, recent = provider.limit, _recent(provider, now)
    free = _available(limit.rpm, asker, provider.leases, provider.wanting, lambda x: x.requests)
    soon = _available(_slice(limit.rpm), asker, recent, provider.wanting, lambda x: x.requests)
    room = _available(limit.tpm, asker, provider.leases, provider.wanting, lambda x: x.tokens)
    near = _available(_slice(limit.tpm), asker, recent, provider.wanting, lambda x: x.tokens)
    if len(provider.leases) >= MAX_LEASES:
        return 0
    by_tokens = min(room, near) * requests / tokens if tokens else math.inf
    if 0 < by_tokens < 1 and near >= (_slice(limit.tpm) or 0) and room >= tokens / requests:
        by_tokens = 1  # one large request may take more than a slice, when nothing else has
    return math.floor(min(requests, free, soon, by_tokens))


def _slice(limit: int | None) -> int | None:
    """What may be granted within SMOOTH_MS."""
    part = min(1.0, SLACK * SMOOTH_MS / (WINDOW_MS + LEASE_MS))
    return None if limit is None else math.ceil(limit * part)


def _recent(provider: Provider, now: int) -> tuple[Lease, ...]:
    """Leases granted within SMOOTH_MS."""
    since = now - SMOOTH_MS + LEASE_MS + WINDOW_MS
    return tuple(x for x in provider.leases if x.until > since and x.asker != _PROVIDER)


def _lease(provider: Provider, command: AccountCommand, asked: Leasing, now: int) -> Outcome:
    known = recall(provider.answered, command)
    if known is not None:
        return provider, [known]
    requests = _whole(command)
    rpm = provider.limit.rpm if asked.limit.rpm is None or provider.limit.rpm is not None else asked.limit.rpm
    tpm = provider.limit.tpm if asked.limit.tpm is None or provider.limit.tpm is not None else asked.limit.tpm
    # What the asker was configured with holds until the provider itself says otherwise.
    provider = provider.model_copy(update={"limit": Limit(rpm=rpm, tpm=tpm), "touched": now})
    count = _fitting(provider, command.asker, requests, asked.tokens, now)
    tokens = math.ceil(asked.tokens * count / requests)
    until = now + LEASE_MS + WINDOW_MS
    lease = Lease(asker=command.asker, requests=count, tokens=tokens, until=until, name=digest(command.command_id))
    rest = Wanting(requests=requests - count, tokens=asked.tokens - tokens, at=now)
    wanting = {k: w for k, w in provider.wanting.items() if k != command.asker}
    if rest.requests:
        wanting = dict(list(wanting.items())[-(MAX_WANTING - 1) :]) | {command.asker: rest}
    leases = (*provider.leases, lease) if count else provider.leases
    provider = provider.model_copy(update={"leases": leases, "wanting": wanting})
    grant = _granted(provider, command, lease, asked, now)
    return provider.model_copy(update={"answered": remember(provider.answered, grant, MEMORY)}), [grant]


def _granted(provider: Provider, command: AccountCommand, lease: Lease, asked: Leasing, now: int) -> Grant:
    if lease.requests:
        expires = now + LEASE_MS
        given = {"tokens": lease.tokens}
        return reply(command, now, granted=True, amount=lease.requests, detail=given, expires_at=expires)
    tpm = provider.limit.tpm
    if tpm is not None and asked.tokens / _whole(command) > tpm:
        reason = f"one request of {asked.tokens / _whole(command):.0f} tokens never fits into {tpm} tokens a minute"
        return reply(command, now, granted=False, detail={"reason": reason})
    recent = [x.until - LEASE_MS - WINDOW_MS + SMOOTH_MS - now for x in _recent(provider, now)]
    wait = min(recent or [x.until - now for x in provider.leases], default=WANTING_MS // 2)
    detail = {"reason": "the provider's rate is used up", "retry_after_ms": max(1, min(wait, WANTING_MS // 2))}
    return reply(command, now, granted=False, detail=detail)


def _whole(command: AccountCommand, least: int = 1) -> int:
    if not least <= command.amount <= 1_000_000:
        raise MalformedCommand(f"the amount of {command.action!r} must be requests from {least}, not {command.amount}")
    return int(command.amount)


def _release(provider: Provider, command: AccountCommand, unused: Leasing, now: int) -> Provider:
    """Ends a lease: what was not started is free at once, what was counts for its minute from now at most.

    A lease that is not known (any more) changes nothing.
    """
    requests, name = _whole(command, 0), digest(unused.lease)
    kept: list[Lease] = []
    for lease in provider.leases:
        if lease.asker != command.asker or lease.name != name:
            kept.append(lease)
            continue
        rest = Lease(
            asker=lease.asker,
            requests=max(0, lease.requests - requests),
            tokens=max(0, lease.tokens - unused.tokens),
            until=min(lease.until, now + _ON_ITS_WAY_MS + WINDOW_MS),
        )
        if rest.requests or rest.tokens:
            kept.append(rest)
    return provider.model_copy(update={"leases": tuple(sorted(kept, key=lambda x: x.until))})


def _learn(provider: Provider, learned: Learned, now: int) -> Provider:
    """The provider's own limit replaces every other; where less is left than is known of, others use the same key."""
    limit = Limit(
        rpm=provider.limit.rpm if learned.limit.rpm is None else learned.limit.rpm,
        tpm=provider.limit.tpm if learned.limit.tpm is None else learned.limit.tpm,
    )
    leases = tuple(x for x in provider.leases if x.asker != _PROVIDER)
    requests = _hidden(limit.rpm, learned.remaining.requests, sum(x.requests for x in leases))
    tokens = _hidden(limit.tpm, learned.remaining.tokens, sum(x.tokens for x in leases))
    if requests or tokens:
        leases = (*leases, Lease(asker=_PROVIDER, requests=requests, tokens=tokens, until=now + learned.reset_ms))
    return provider.model_copy(update={"limit": limit, "leases": leases, "touched": now})


def _hidden(limit: int | None, remaining: int | None, counted: int) -> int:
    return 0 if limit is None or remaining is None else max(0, limit - counted - remaining)
