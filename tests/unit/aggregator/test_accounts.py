"""Accounts by their id, and how they are stored."""

from __future__ import annotations

import pytest

from hocket.contracts.records import AccountCommand
from services.aggregator import accounts
from services.aggregator.remembering import MalformedCommand

ASKS = {"session/t/s": "open", "tenant/t": "reserve", "provider/k": "lease"}


def command(account_id: str, action: str) -> AccountCommand:
    return AccountCommand(account_id=account_id, asker="r", command_id="c", action=action, amount=1, at=0)


@pytest.mark.parametrize("account_id", ASKS)
def test_an_account_is_born_by_its_first_command_and_survives_storage(account_id: str) -> None:
    account, [grant] = accounts.step(None, command(account_id, ASKS[account_id]), 5)
    assert grant.granted
    assert account is not None
    assert accounts.load(account_id, accounts.stored(account)) == account
    due = accounts.due(account)
    assert due is not None
    assert due > 5


@pytest.mark.parametrize("account_id", ASKS)
def test_a_tick_of_nothing_leaves_nothing(account_id: str) -> None:
    assert accounts.step(None, command(account_id, accounts.TICK), 5) == (None, [])
    assert accounts.due(None) is None


@pytest.mark.parametrize("account_id", ["", "session", "other/x", "tenants/t"])
def test_what_is_no_account_is_malformed(account_id: str) -> None:
    with pytest.raises(MalformedCommand):
        accounts.step(None, command(account_id, "nonsense"), 5)
