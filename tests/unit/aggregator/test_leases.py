"""Leases of a provider's rate: within the limits, fair, and adapting to what the provider says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.contracts.records import AccountCommand, Grant
from services.aggregator import leases
from services.aggregator.leases import FORGET_MS, LEASE_MS, WANTING_MS, WINDOW_MS, Provider
from services.aggregator.remembering import MalformedCommand


@pytest.fixture(autouse=True, scope="module")
def whole_minutes() -> Iterator[None]:
    """The minute's laws alone: what smooths within it has tests of its own at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leases, "SMOOTH_MS", WINDOW_MS + LEASE_MS)
        yield


def command(asker: str, action: str, amount: float = 0.0, number: int = 0, **detail: Any) -> AccountCommand:
    return AccountCommand(
        account_id="provider/k",
        asker=asker,
        command_id=f"{asker}/{action}/{number}",
        action=action,
        amount=amount,
        detail=json.dumps(detail),
        at=0,
    )


def known(rpm: int | None = None, tpm: int | None = None) -> Provider:
    provider, none = leases.step(None, command("w", "limit", limit={"rpm": rpm, "tpm": tpm}), 0)
    assert none == []
    assert provider is not None
    return provider


def lease(provider: Provider | None, asker: str, amount: int, now: int, number: int = 0, **detail: Any) -> Any:
    provider, [grant] = leases.step(provider, command(asker, "lease", amount, number, **detail), now)
    return provider, grant


def test_a_lease_is_cut_to_what_is_free_and_counts_for_its_minute() -> None:
    provider, grant = lease(known(rpm=10), "w1", 7, 0)
    assert (grant.granted, grant.amount, grant.expires_at) == (True, 7.0, LEASE_MS)
    provider, grant = lease(provider, "w2", 7, 1)
    assert grant.amount == 3
    provider, grant = lease(provider, "w3", 1, 2)
    assert (grant.granted, json.loads(grant.detail)["retry_after_ms"]) == (False, WANTING_MS // 2)
    provider, grant = lease(provider, "w3", 7, LEASE_MS + WINDOW_MS, number=1)
    assert grant.amount == 7


def test_tokens_limit_too() -> None:
    provider, grant = lease(known(rpm=100, tpm=1_000), "w1", 10, 0, tokens=4_000)
    assert (grant.amount, json.loads(grant.detail)) == (2.0, {"tokens": 800})
    _, grant = lease(provider, "w1", 1, 1, number=1, tokens=1_001)
    assert "never fits" in json.loads(grant.detail)["reason"]


def test_who_was_refused_gets_an_even_share_next_time() -> None:
    provider, _ = lease(known(rpm=10), "greedy", 10, 0)
    provider, refused = lease(provider, "late", 10, 60_000)
    assert not refused.granted
    provider, grant = lease(provider, "greedy", 10, LEASE_MS + WINDOW_MS, number=1)
    assert grant.amount == 5
    provider, grant = lease(provider, "late", 10, LEASE_MS + WINDOW_MS, number=1)
    assert grant.amount == 5


def test_what_was_not_used_comes_back() -> None:
    provider, _ = lease(known(rpm=10), "w1", 10, 0)
    back, none = leases.step(provider, command("w1", "release", 4, lease="w1/lease/0"), 1)
    assert none == []
    assert lease(back, "w2", 10, 2)[1].amount == 4


def test_a_lease_that_is_used_up_counts_for_a_minute_from_then() -> None:
    provider, _ = lease(known(rpm=10), "w1", 10, 0)
    provider, _ = leases.step(provider, command("w1", "release", 0, lease="w1/lease/0"), 100)
    end = 100 + leases._ON_ITS_WAY_MS + WINDOW_MS
    assert end < LEASE_MS + WINDOW_MS
    assert not lease(provider, "w2", 1, end - 1)[1].granted
    assert lease(provider, "w2", 10, end, number=1)[1].amount == 10


@pytest.mark.parametrize("name", ["w2/lease/0", "w1/lease/1", ""])
def test_releasing_what_is_not_known_or_another_s_changes_nothing(name: str) -> None:
    provider, _ = lease(known(rpm=10), "w1", 10, 0)
    assert provider is not None
    assert leases.step(provider, command("w1", "release", 4, lease=name), 1)[0] == provider


def test_when_the_claims_are_more_than_is_free_it_is_still_given_out() -> None:
    """Somebody holds more than an even share from before: what is free must not wait until that has run out."""
    provider, _ = lease(known(rpm=30), "early", 26, 0)
    for late in ("a", "b"):
        provider, _ = lease(provider, late, 2, 1)
        provider, _ = lease(provider, late, 5, 2, number=1)
    provider, _ = leases.step(provider, command("early", "release", 2, lease="early/lease/0"), 3)
    provider, grant = lease(provider, "a", 5, 4, number=2)
    assert 1 <= grant.amount <= 2


def test_an_unknown_limit_is_none_until_somebody_knows_it() -> None:
    provider, grant = lease(None, "w1", 1_000, 0)
    assert grant.amount == 1_000
    provider, grant = lease(provider, "w2", 10, 1, limit={"rpm": 500})
    assert not grant.granted
    provider, _ = leases.step(provider, command("w1", "limit", limit={"rpm": 2_000}), 2)
    assert lease(provider, "w2", 10, 3, number=1, limit={"rpm": 500})[1].amount == 10


def test_what_others_use_of_the_key_is_taken_from_the_provider_s_headers() -> None:
    learned = command("w1", "limit", limit={"rpm": 100}, remaining={"requests": 30}, reset_ms=2_000)
    provider, _ = leases.step(known(rpm=50), learned, 0)
    assert lease(provider, "w1", 100, 1)[1].amount == 30
    assert lease(provider, "w1", 100, 2_000)[1].amount == 100


def test_an_unused_key_is_forgotten() -> None:
    provider = known(rpm=1)
    assert leases.due(provider) == 2 * FORGET_MS
    assert leases.step(provider, command("", "tick"), 2 * FORGET_MS - 1)[0] is not None
    assert leases.step(provider, command("", "tick"), 2 * FORGET_MS)[0] is None


@pytest.mark.parametrize("amount", [0, -1, 1e9, float("nan")])
def test_a_lease_of_no_requests_is_malformed(amount: float) -> None:
    with pytest.raises(MalformedCommand):
        leases.step(None, command("w", "lease", amount), 1)


ASKS = st.tuples(
    st.sampled_from(["lease", "lease", "lease", "release", "limit"]),
    st.integers(0, 5),
    st.integers(0, 4),
    st.integers(1, 40),
    st.integers(0, 4_000),
    st.integers(0, 30_000),
)


@given(st.lists(ASKS, max_size=60))
def test_no_minute_ever_holds_more_than_the_limit(asks: list[tuple[str, int, int, int, int, int]]) -> None:
    """Even when every lease is used at its worst moment: no later than it expires, all within one minute."""
    rpm, tpm, now = 50, 5_000, 0
    provider: Provider | None = known(rpm, tpm)
    given_out: dict[tuple[str, int], Grant] = {}
    for action, asker, number, amount, tokens, passed in asks:
        now += passed
        detail: dict[str, Any] = {"tokens": tokens} if action == "lease" else {}
        if action == "limit":
            detail = {"limit": {"rpm": rpm}, "remaining": {"requests": amount}}
        # Releasing is left out: what is given back was not started, so the ledger below would have to know it.
        if action == "release":
            continue
        provider, grants = leases.step(provider, command(f"w{asker}", action, amount, number, **detail), now)
        given_out |= {(g.command_id, g.at): g for g in grants if g.granted}
        counting = [g for g in given_out.values() if (g.expires_at or 0) + WINDOW_MS > now]
        assert sum(g.amount for g in counting) <= rpm
        assert sum(json.loads(g.detail)["tokens"] for g in counting) <= tpm
        assert provider is not None
        assert len(provider.leases) <= 1_025


def test_only_the_lease_that_is_named_is_released() -> None:
    """What has been started by a lease must count until its own minute is over."""
    provider, _ = lease(known(rpm=10), "w1", 4, 0)
    provider, _ = lease(provider, "w1", 4, 2_900, number=1)
    provider, _ = leases.step(provider, command("w1", "release", 3, lease="w1/lease/0"), LEASE_MS)
    assert provider is not None
    assert [(x.requests, x.until) for x in provider.leases] == [
        (1, LEASE_MS + WINDOW_MS),
        (4, 2_900 + LEASE_MS + WINDOW_MS),
    ]


def smooth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "SMOOTH_MS", 2_000)


def test_a_minute_is_not_used_up_in_its_first_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    smooth(monkeypatch)
    provider, first = lease(known(rpm=630), "w1", 100, 0)
    assert first.amount == 28
    provider, refused = lease(provider, "w2", 100, 500)
    assert json.loads(refused.detail)["retry_after_ms"] == 1_500
    provider, second = lease(provider, "w1", 100, 2_000, number=1)
    assert second.amount == 14, "half of it is kept for the one who waits"


def test_a_request_larger_than_a_slice_of_tokens_gets_through_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    smooth(monkeypatch)
    provider, grant = lease(known(tpm=4_500), "w1", 3, 0, tokens=3_000)
    assert (grant.amount, json.loads(grant.detail)) == (1, {"tokens": 1_000})
    assert not lease(provider, "w1", 1, 1_000, number=1, tokens=1_000)[1].granted


def test_many_who_want_more_use_nearly_all_of_every_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    smooth(monkeypatch)
    provider: Provider | None = known(rpm=600)
    granted: list[tuple[int, float]] = []
    for now in range(0, 300_000, 100):
        asker, number = f"w{now // 100 % 10}", now
        provider, grant = lease(provider, asker, 5, now, number=number)
        granted.append((now, grant.amount))
    for start in range(70_000, 230_000, 5_000):
        used = sum(n for at, n in granted if start <= at < start + WINDOW_MS)
        assert 0.91 * 600 <= used <= 600, "nobody tells that a lease is used up: 60 of 63 s is the most"
