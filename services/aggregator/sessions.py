"""A session: what one request leaves for the next, and who may use it now. Pure.

Laws:
1. At most one request holds the session; the next one is granted when that one closed, was replaced or ran out of time.
2. Only the holder's close changes what is kept. It is kept for `ttl_seconds` after the last close, then forgotten.
3. What is kept, who waits and what is remembered of old commands are bounded.

A holder loses the session at its own deadline, or after the session's ttl when it has none, even if it never closes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from hocket.contracts.records import AccountCommand, Grant, Millis, Record
from services.aggregator.remembering import Answered, MalformedCommand, details, recall, remember, reply

TTL_SECONDS = 3_600
"""How long an idle session is kept unless its request says otherwise."""
MAX_TTL_SECONDS = 7 * 86_400
KEPT_BYTES = 32 * 1024
"""Bytes (UTF-8) of results and constants together; the oldest are dropped."""
CONSTANTS_BYTES = 8 * 1024
"""Bytes of these that constants may take."""
MAX_WAITING = 32
MEMORY = 64
"""Answered opens that are remembered: a repeated one is answered the same and does not hold the session again."""

OnBusy = Literal["reject", "enqueue", "replace"]


class Opening(Record):
    """Detail of `open`."""

    on_busy: OnBusy = "reject"
    ttl_seconds: int = Field(default=TTL_SECONDS, ge=1, le=MAX_TTL_SECONDS)
    deadline: Millis | None = None


class Closing(Record):
    """Detail of `close`: texts by specialty, and constants for the next request."""

    results: dict[str, str] = Field(default_factory=dict)
    constants: dict[str, str] = Field(default_factory=dict)


class Seat(Record):
    """A request that holds the session, or waits for it, until the given moment."""

    asker: str
    command_id: str
    since: Millis
    until: Millis
    ttl_seconds: int


class Session(Record):
    """The row of one session; results and constants stand with the oldest first."""

    results: dict[str, str] = Field(default_factory=dict)
    constants: dict[str, str] = Field(default_factory=dict)
    holder: Seat | None = None
    waiting: tuple[Seat, ...] = ()
    ttl_seconds: int = TTL_SECONDS
    touched: Millis
    answered: dict[str, Answered] = Field(default_factory=dict)

    @property
    def idle(self) -> bool:
        """Whether nobody has it or wants it."""
        return self.holder is None and not self.waiting

    @property
    def forgotten_at(self) -> int:
        """When an idle session ends."""
        return self.touched + self.ttl_seconds * 1000


Outcome = tuple[Session | None, list[Grant]]


def due(session: Session) -> int:
    """When the session must look at itself without being asked."""
    if session.idle:
        return session.forgotten_at
    seats = [*session.waiting, *([session.holder] if session.holder else [])]
    return min(s.until for s in seats)


def step(session: Session | None, command: AccountCommand, now: int) -> Outcome:
    """The session after a command (open, close or tick) at `now`, and whom to tell. None: there is none (any more)."""
    grants: list[Grant] = []
    if session is not None:
        session, grants = _lapse(session, command.account_id, now)
    match command.action:
        case "open":
            opening = details(Opening, command)
            session, more = _open(session or Session(touched=now), command, opening, now)
        case "close":
            closing = details(Closing, command)
            session, more = (_close(session, command, closing, now)) if session is not None else (None, [])
        case "tick":
            more = []
        case other:
            raise MalformedCommand(f"a session knows open and close, not {other!r}")
    return session, grants + more


def _lapse(session: Session, account_id: str, now: int) -> Outcome:
    """Takes the session from who has run out of time, and gives it to the next; forgets it when its time is over."""
    if session.idle and now >= session.forgotten_at:
        return None, []
    late = [w for w in session.waiting if now >= w.until]
    waiting = tuple(w for w in session.waiting if now < w.until)
    refusals = [_refusal(account_id, w, now, "the session did not become free in time") for w in late]
    holder = session.holder
    if holder is not None and now >= holder.until:
        # Its time counts from the moment it lost the session, not from when this was noticed.
        session = session.model_copy(update={"holder": None, "touched": holder.until})
    answered = session.answered
    for refusal in refusals:
        answered = remember(answered, refusal, MEMORY)
    session = session.model_copy(update={"waiting": waiting, "answered": answered})
    session, granted = _next(session, account_id, now)
    if session.idle and now >= session.forgotten_at:
        return None, refusals + granted
    return session, refusals + granted


def _refusal(account_id: str, seat: Seat, now: int, reason: str, **more: Any) -> Grant:
    command = _command(account_id, seat)
    return reply(command, now, granted=False, detail={**more, "reason": reason})


def _command(account_id: str, seat: Seat) -> AccountCommand:
    return AccountCommand(
        account_id=account_id, asker=seat.asker, command_id=seat.command_id, action="open", at=seat.since
    )


def _grant(session: Session, account_id: str, seat: Seat) -> Grant:
    context = {"results": session.results, "constants": session.constants}
    command = _command(account_id, seat)
    return reply(command, seat.since, granted=True, detail={"context": context}, expires_at=seat.until)


def _next(session: Session, account_id: str, now: int) -> tuple[Session, list[Grant]]:
    """Gives a free session to whoever waits longest."""
    if session.holder is not None or not session.waiting:
        return session, []
    first, *rest = session.waiting
    seat = first.model_copy(update={"since": now})
    return _seated(session.model_copy(update={"waiting": tuple(rest)}), account_id, seat)


def _seated(session: Session, account_id: str, seat: Seat) -> tuple[Session, list[Grant]]:
    held = session.model_copy(update={"holder": seat, "touched": seat.since, "ttl_seconds": seat.ttl_seconds})
    grant = _grant(held, account_id, seat)
    # The context stays with the session and is not remembered with each answer.
    answered = remember(held.answered, grant, MEMORY, detail="{}")
    return held.model_copy(update={"answered": answered}), [grant]


def _open(session: Session, command: AccountCommand, opening: Opening, now: int) -> Outcome:
    again = _repeated(session, command)
    if again is not None:
        return session, again
    limit = now + opening.ttl_seconds * 1000
    until = limit if opening.deadline is None else min(opening.deadline, limit)
    seat = Seat(
        asker=command.asker,
        command_id=command.command_id,
        since=now,
        until=max(until, now + 1),
        ttl_seconds=opening.ttl_seconds,
    )
    holder = session.holder
    if holder is None or holder.asker == command.asker:
        return _seated(session, command.account_id, seat)
    if opening.on_busy == "replace":
        revoked = _refusal(
            command.account_id, holder, now, f"request {command.asker} replaced this one in its session", revoked=True
        )
        session = session.model_copy(update={"answered": remember(session.answered, revoked, MEMORY)})
        seated, granted = _seated(session, command.account_id, seat)
        return seated, [revoked, *granted]
    if opening.on_busy == "enqueue" and len(session.waiting) < MAX_WAITING:
        return session.model_copy(update={"waiting": (*session.waiting, seat)}), []
    full = f"already {MAX_WAITING} requests wait for it" if opening.on_busy == "enqueue" else "it may hold one"
    no = reply(command, now, granted=False, detail={"reason": f"request {holder.asker} uses the session; {full}"})
    return session.model_copy(update={"answered": remember(session.answered, no, MEMORY)}), [no]


def _repeated(session: Session, command: AccountCommand) -> list[Grant] | None:
    """What to say to a command that came before; None when it is new."""
    holder = session.holder
    if holder is not None and holder.command_id == command.command_id:
        return [_grant(session, command.account_id, holder)]
    if any(w.command_id == command.command_id for w in session.waiting):
        return []
    known = recall(session.answered, command)
    return None if known is None else [known]


def _close(session: Session, command: AccountCommand, closing: Closing, now: int) -> Outcome:
    waiting = tuple(w for w in session.waiting if w.asker != command.asker)
    session = session.model_copy(update={"waiting": waiting})
    if session.holder is None or session.holder.asker != command.asker:
        return session, []
    constants = _newest({**_without(session.constants, closing.constants), **closing.constants}, CONSTANTS_BYTES)
    results = {**_without(session.results, closing.results), **closing.results}
    kept = _newest(results, KEPT_BYTES - _size(constants))
    freed = session.model_copy(update={"holder": None, "touched": now, "constants": constants, "results": kept})
    return _next(freed, command.account_id, now)


def _without(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """What a newer value does not replace, so that the newer one stands last."""
    return {k: v for k, v in old.items() if k not in new}


def _size(texts: Mapping[str, str]) -> int:
    return sum(len(k.encode()) + len(v.encode()) for k, v in texts.items())


def _newest(texts: dict[str, str], limit: int) -> dict[str, str]:
    """The newest texts that fit into `limit` bytes; if not even the last one fits, its beginning."""
    kept = dict(texts)
    while _size(kept) > limit and len(kept) > 1:
        del kept[next(iter(kept))]
    if _size(kept) <= limit:
        return kept
    [(name, value)] = kept.items()
    room = limit - len(name.encode())
    return {name: value.encode()[:room].decode(errors="ignore")} if room > 0 else {}
