"""A tenant's daily budget: never exceeded, whatever the order, the repeats and the losses."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.contracts.records import AccountCommand
from services.aggregator import tenants
from services.aggregator.remembering import MalformedCommand
from services.aggregator.tenants import DAY_MS, MAX_OPEN, MEMORY, Tenant

LIMIT = 10.0


def command(asker: str, action: str, amount: float = 0.0, number: int = 0) -> AccountCommand:
    detail = json.dumps({"limit_usd": LIMIT}) if action == "reserve" else "{}"
    return AccountCommand(
        account_id="tenant/t",
        asker=asker,
        command_id=f"{asker}/{action}/{number}",
        action=action,
        amount=amount,
        detail=detail,
        at=0,
    )


def test_a_reservation_is_replaced_by_what_was_spent() -> None:
    tenant, [grant] = tenants.step(None, command("r1", "reserve", 6), 1)
    assert (grant.granted, grant.amount, json.loads(grant.detail)) == (True, 6.0, {"left": 4.0})
    tenant, [refused] = tenants.step(tenant, command("r2", "reserve", 5), 2)
    assert not refused.granted
    assert json.loads(refused.detail) == {
        "left": 4.0,
        "reason": "the daily budget of 10 USD has 4.0000 left, 5.0000 are needed",
    }
    tenant, none = tenants.step(tenant, command("r1", "settle", 2), 3)
    assert none == []
    _, [granted] = tenants.step(tenant, command("r3", "reserve", 8), 4)
    assert granted.granted


def test_what_was_never_settled_counts_until_the_day_ends() -> None:
    tenant, _ = tenants.step(None, command("r1", "reserve", 10), 1)
    assert tenant is not None
    assert tenants.due(tenant) == DAY_MS
    assert tenants.step(tenant, command("", "tick"), DAY_MS - 1)[0] == tenant
    assert tenants.step(tenant, command("", "tick"), DAY_MS)[0] is None
    late, [grant] = tenants.step(tenant, command("r2", "reserve", 10), DAY_MS)
    assert grant.granted
    assert late is not None
    assert tenants.step(late, command("r1", "settle", 10), DAY_MS + 1)[0] == late


def test_without_a_limit_everything_is_granted_and_counted() -> None:
    asked = command("r", "reserve", 1e6).model_copy(update={"detail": "{}"})
    tenant, [grant] = tenants.step(None, asked, 1)
    assert (grant.granted, json.loads(grant.detail)) == (True, {"left": None})
    assert tenant is not None
    assert tenant.committed == 1e6
    assert not tenants.step(None, asked, 1, limit_usd=5)[1][0].granted


def test_an_overrun_stops_further_reservations() -> None:
    tenant, _ = tenants.step(None, command("r1", "reserve", 1), 1)
    tenant, _ = tenants.step(tenant, command("r1", "settle", 12), 2)
    _, [grant] = tenants.step(tenant, command("r2", "reserve", 0.5), 3)
    assert not grant.granted


def test_open_reservations_and_memory_are_bounded() -> None:
    tenant: Tenant | None = None
    for n in range(MAX_OPEN + 2):
        tenant, [grant] = tenants.step(tenant, command(f"r{n}", "reserve", 0.0001), 1)
        assert grant.granted == (n < MAX_OPEN)
    assert tenant is not None
    assert (len(tenant.open), len(tenant.answered)) == (MAX_OPEN, MEMORY)
    assert len(tenant.model_dump_json().encode()) < 600_000
    again, [grant] = tenants.step(tenant, command("r0", "reserve", 0.0001), 2)
    assert (again, grant.granted) == (tenant, True)


@pytest.mark.parametrize("amount", [-1, math.inf, math.nan])
def test_an_amount_that_is_none_is_refused(amount: float) -> None:
    with pytest.raises(MalformedCommand):
        tenants.step(None, command("r", "reserve", amount), 1)


MOVES = st.tuples(
    st.sampled_from(["reserve", "reserve", "settle", "tick"]),
    st.integers(0, 8),
    st.integers(0, 3),
    st.integers(0, 60).map(lambda n: n / 10),
    st.integers(0, 4).map(lambda n: n * DAY_MS // 7),
)


@given(st.lists(MOVES, max_size=80))
def test_the_budget_is_never_exceeded(moves: list[tuple[str, int, int, float, int]]) -> None:
    """An independent ledger of the grants: with repeats and losses, each day's spent and reserved stay within."""
    tenant: Tenant | None = None
    now, spent = 0, 0.0
    reserved: dict[tuple[int, int], float] = {}
    for action, asker, number, amount, passed in moves:
        if (now + passed) // DAY_MS > now // DAY_MS:
            reserved, spent = {}, 0.0
        now += passed
        held = math.fsum(v for (who, _), v in reserved.items() if who == asker)
        actual = min(amount, held) if action == "settle" else amount  # workers keep within what was reserved
        asked = command(f"r{asker}", action, actual, number)
        tenant, grants = tenants.step(tenant, asked, now)
        if action == "reserve" and grants[0].granted and grants[0].at == now:
            reserved.setdefault((asker, number), grants[0].amount)
        if action == "settle" and held:
            spent += actual
            reserved = {k: v for k, v in reserved.items() if k[0] != asker}
        assert spent + math.fsum(reserved.values()) <= LIMIT + 1e-6
        if tenant is not None:
            assert tenant.committed <= LIMIT + 1e-6
            assert tenants.due(tenant) > now
        again, second = tenants.step(tenant, asked, now)
        assert again == tenant
        assert second == grants


def test_who_takes_what_is_left_gets_less_and_nothing_only_when_the_day_is_used_up():
    detail = json.dumps({"limit_usd": LIMIT, "at_most": True})
    asked = [command(f"r{n}", "reserve", 7.0).model_copy(update={"detail": detail}) for n in range(3)]
    tenant, [first] = tenants.step(None, asked[0], 1)
    tenant, [second] = tenants.step(tenant, asked[1], 2)
    tenant, [third] = tenants.step(tenant, asked[2], 3)
    assert [(g.granted, g.amount) for g in (first, second, third)] == [(True, 7.0), (True, 3.0), (False, 0.0)]
    assert tenant is not None and tenant.committed == LIMIT
