"""Between bytes and accounts: routing, malformed commands, grants and timers."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from hocket.contracts.codec import Codec
from hocket.contracts.records import AccountCommand, DeadLetter, Grant, Timer
from hocket.contracts.topics import Topics
from hocket.kafka.client import partition_of
from services.aggregator.account_edge import AccountEdge
from services.aggregator.accounts import TICK, Account
from services.aggregator.posting import Incoming, Outgoing
from services.aggregator.tenants import DAY_MS

PARTITIONS = 4
TOPICS = Topics("t-")
CODEC = Codec()


@pytest.fixture
def edge() -> AccountEdge:
    counted: Counter[tuple[str, str]] = Counter()

    def count(event: str, label: str) -> None:
        counted[event, label] += 1

    return AccountEdge(topics=TOPICS, codec=CODEC, partitions=PARTITIONS, worker="aggregator/test", count=count)


def command(action: str = "reserve", **changes: Any) -> AccountCommand:
    fields = {"account_id": "tenant/t", "asker": "r1", "command_id": f"r1/{action}", "amount": 1.0, "at": 0}
    return AccountCommand(**{**fields, "action": action, **changes})


def incoming(asked: AccountCommand, at: int = 10, **changes: Any) -> Incoming:
    key = asked.account_id.encode()
    fields: dict[str, Any] = {
        "topic": TOPICS.accounts,
        "partition": partition_of(key, PARTITIONS),
        "offset": 7,
        "key": key,
        "value": CODEC.encode(asked, TOPICS.accounts),
        "headers": [],
        "at": at,
    }
    return Incoming(**(fields | changes))


def act(
    edge: AccountEdge, account: Account | None, asked: AccountCommand, at: int = 10
) -> tuple[Account | None, list[Outgoing]]:
    record = incoming(asked, at)
    found = edge.decode(record)
    assert isinstance(found, AccountCommand)
    return edge.act(account, found, record)


def test_a_grant_goes_to_its_asker_and_the_account_sets_its_timer(edge: AccountEdge) -> None:
    account, [granted, timer] = act(edge, None, command())
    assert (granted.topic, granted.key) == (TOPICS.grants, b"r1")
    assert CODEC.decode(granted.payload, Grant).granted
    assert (timer.topic, timer.key) == (TOPICS.account_timers, b"tenant/t")
    assert CODEC.decode(timer.payload, Timer).due_at == DAY_MS
    _, out = act(edge, account, command(asker="r2", command_id="c2"))
    assert [o.topic for o in out] == [TOPICS.grants]


def test_a_tick_in_time_ends_the_account_and_clears_its_timer(edge: AccountEdge) -> None:
    account, _ = act(edge, None, command())
    ended, [cleared] = act(edge, account, command(TICK, asker="", at=DAY_MS), at=DAY_MS)
    assert ended is None
    assert (cleared.topic, cleared.key, cleared.payload) == (TOPICS.account_timers, b"tenant/t", None)


def test_a_tick_that_came_early_comes_again_later_by_as_much(edge: AccountEdge) -> None:
    account, _ = act(edge, None, command())
    kept, [timer] = act(edge, account, command(TICK, asker="", at=DAY_MS), at=DAY_MS - 1_500)
    assert kept == account
    assert CODEC.decode(timer.payload, Timer).due_at == DAY_MS + 1_500


def test_a_malformed_command_is_a_dead_letter_and_whoever_waits_is_refused(edge: AccountEdge) -> None:
    account, _ = act(edge, None, command())
    after, [letter, refused] = act(edge, account, command(command_id="c", amount=-1))
    assert after == account
    assert CODEC.decode(letter.payload, DeadLetter).kind == "invalid"
    grant = CODEC.decode(refused.payload, Grant)
    assert (grant.granted, grant.command_id) == (False, "c")
    assert "US dollars from 0" in json.loads(grant.detail)["reason"]
    assert [o.topic for o in act(edge, account, command("settle", amount=-1))[1]] == [TOPICS.dead_letters]


@pytest.mark.parametrize("wrong", [{"key": b"other"}, {"key": None}])
def test_a_command_under_another_key_goes_to_its_account(edge: AccountEdge, wrong: dict[str, Any]) -> None:
    found = edge.decode(incoming(command(), **wrong))
    assert isinstance(found, list)
    assert [(o.topic, o.key) for o in found] == [(TOPICS.accounts, b"tenant/t")]


def test_what_cannot_be_read_is_a_dead_letter(edge: AccountEdge) -> None:
    found = edge.decode(incoming(command(), value=b"junk"))
    assert isinstance(found, list)
    assert [o.topic for o in found] == [TOPICS.dead_letters]
