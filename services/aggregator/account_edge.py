"""Between bytes and the pure accounts: commands in, grants and timers out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hocket.contracts import headers
from hocket.contracts.codec import Codec
from hocket.contracts.records import AccountCommand, Grant, Timer
from hocket.contracts.topics import Topics
from services.aggregator.accounts import ANSWERED, TICK, Account, due, step
from services.aggregator.posting import Incoming, Outgoing, Posting
from services.aggregator.remembering import MalformedCommand, reply

MAX_ACCOUNT_BYTES = 1_000
"""Of an account's id: a tenant and a session of 100 characters each, whatever their script."""


class AccountEdge:
    """The aggregator's translation between topics and accounts. `count(event, label)` feeds the metrics."""

    def __init__(
        self, *, topics: Topics, codec: Codec, partitions: int, worker: str, count: Callable[[str, str], None]
    ) -> None:
        self._topics, self._count = topics, count
        self._post = Posting(topics=topics, codec=codec, partitions=partitions, worker=worker, count=count)

    def decode(self, incoming: Incoming) -> AccountCommand | list[Outgoing]:
        """The command; or what to send instead: a dead letter, or the record itself to its right partition."""
        return self._post.decode(incoming, AccountCommand, lambda c: ("account_id", c.account_id), MAX_ACCOUNT_BYTES)

    def act(
        self, account: Account | None, command: AccountCommand, incoming: Incoming
    ) -> tuple[Account | None, list[Outgoing]]:
        """The account after the command, and what must be produced with it.

        A malformed command becomes a dead letter and changes nothing; whoever waits for its answer is refused.
        """
        trace = headers.traceparent(incoming.headers, command.asker or command.account_id)
        letters: list[Outgoing] = []
        try:
            after, grants = step(account, command, incoming.at)
        except MalformedCommand as e:
            letters = self._post.dead_letter(incoming, "invalid", str(e))
            refused = reply(command, incoming.at, granted=False, detail={"reason": str(e)})
            after, grants = account, [refused] if command.action in ANSWERED else []
        sent = [self._granted(g, incoming.at, trace) for g in grants if g.asker]
        return after, [*letters, *sent, *self._reminded(account, after, command, incoming.at, trace)]

    def _granted(self, grant: Grant, at: int, trace: str) -> Outgoing:
        self._count("granted" if grant.granted else "refused", grant.account_id.partition("/")[0])
        event_id = f"{grant.account_id}/{grant.command_id}/{at}"
        to = self._topics.grants
        return self._post.encode(
            to, grant, key=grant.asker.encode(), subject=grant.asker, event_id=event_id, at=at, trace=trace
        )

    def _reminded(
        self, before: Account | None, after: Account | None, command: AccountCommand, at: int, trace: str
    ) -> list[Outgoing]:
        """The timer when it changed. After a tick always: a tick that came too early must come again."""
        wanted, ticked = due(after), command.action == TICK
        if wanted == due(before) and not ticked:
            return []
        timer = Timer(request_id=command.account_id, due_at=wanted)
        if wanted is not None and ticked:
            # The alarm clock is ahead of the broker's by at least so much: what is due for it is not due here.
            timer = timer.model_copy(update={"due_at": wanted + max(0, command.at - at)})
        key = command.account_id
        event_id = f"{key}/timer/{at}"
        to = self._topics.account_timers
        sent = self._post.encode(to, timer, key=key.encode(), subject=key, event_id=event_id, at=at, trace=trace)
        return [sent if wanted is not None else replace(sent, payload=None)]
