"""Accounts: what spans requests. `step(account, command, now) -> (account, grants)`. Pure.

An account's id names its kind: `session/<tenant>/<id>`, `tenant/<id>`, `provider/<key>`. Commands on one account come
one after another (one partition, one row), and `now` is the broker's append time, so a replay decides the same. A
repeated command (same command_id) is answered as before and has no second effect, as far back as each kind remembers.
"""

from __future__ import annotations

from hocket.contracts.records import AccountCommand, Grant
from services.aggregator import leases, sessions, tenants
from services.aggregator.leases import Provider
from services.aggregator.remembering import MalformedCommand
from services.aggregator.sessions import Session
from services.aggregator.tenants import Tenant

Account = Session | Tenant | Provider
ANSWERED = frozenset({"open", "reserve", "lease"})
"""Actions that are answered by a grant; the others have nobody who waits."""
TICK = "tick"
"""The action by which the alarm clock tells an account that its timer is due."""
_KINDS: dict[str, type[Account]] = {"session": Session, "tenant": Tenant, "provider": Provider}


def step(
    account: Account | None, command: AccountCommand, now: int, daily_usd: float | None = None
) -> tuple[Account | None, list[Grant]]:
    """The account after a command, and the grants to send; both belong into one transaction with the command's offset.

    None: the account holds nothing that is worth keeping. `daily_usd` limits tenants whose command names no limit.
    Raises MalformedCommand when the command cannot be understood; then nothing changes.
    """
    kind = _KINDS.get(kind_of(command.account_id))
    if kind is Session and (account is None or isinstance(account, Session)):
        return sessions.step(account, command, now)
    if kind is Tenant and (account is None or isinstance(account, Tenant)):
        return tenants.step(account, command, now, daily_usd)
    if kind is Provider and (account is None or isinstance(account, Provider)):
        return leases.step(account, command, now)
    raise MalformedCommand(f"account_id {command.account_id!r} must begin with session/, tenant/ or provider/")


def kind_of(account_id: str) -> str:
    """session, tenant or provider; anything else is not an account."""
    return account_id.partition("/")[0]


def due(account: Account | None) -> int | None:
    """When the account must look at itself without being asked (milliseconds); None for no account."""
    match account:
        case Session():
            return sessions.due(account)
        case Tenant():
            return tenants.due(account)
        case Provider():
            return leases.due(account)
    return None


def stored(account: Account) -> bytes:
    """The account as it stands in the table."""
    return account.model_dump_json(exclude_defaults=True).encode()


def load(account_id: str, raw: bytes) -> Account:
    """What `stored` wrote for the account of this id."""
    return _KINDS[kind_of(account_id)].model_validate_json(raw)
