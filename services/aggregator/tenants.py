"""A tenant on one UTC day: its budget. Pure.

Laws:
1. What is spent and what is reserved never exceed the limit by a reservation: one that does not fit is refused.
2. The actual amount replaces the reservation, once; a second settling of the same asker changes nothing.
3. At the end of the day a reservation that was never settled counts as spent on that day, and the row ends with it.
"""

from __future__ import annotations

import math

from pydantic import Field

from hocket.contracts.records import AccountCommand, Grant, Record
from services.aggregator.remembering import Answered, MalformedCommand, details, digest, recall, remember, reply

DAY_MS = 86_400_000
MAX_OPEN = 4_096
"""Reservations that may be open at once; more are refused, so that the row fits into a record."""
MEMORY = 1_024
_CENT_OF_A_MICRO = 1e-8
"""What sums of doubles may be off by, in US dollars."""


class Reserving(Record):
    """Detail of `reserve`: the tenant's limit for a day; without one everything is granted (and counted).

    `at_most`: less than was asked for will do, as long as something is left.
    """

    limit_usd: float | None = Field(default=None, ge=0)
    at_most: bool = False


class Reservation(Record):
    """US dollars set aside for an asker (its digest)."""

    asker: str
    amount: float


class Tenant(Record):
    """The row of one tenant on one day (days since the epoch, UTC); open reservations by their command's digest."""

    day: int
    spent: float = 0.0
    open: dict[str, Reservation] = Field(default_factory=dict)
    answered: dict[str, Answered] = Field(default_factory=dict)

    @property
    def committed(self) -> float:
        """US dollars spent and reserved today."""
        return math.fsum([self.spent, *(r.amount for r in self.open.values())])


Outcome = tuple[Tenant | None, list[Grant]]


def due(tenant: Tenant) -> int:
    """The end of its day."""
    return (tenant.day + 1) * DAY_MS


def step(tenant: Tenant | None, command: AccountCommand, now: int, limit_usd: float | None = None) -> Outcome:
    """The tenant after a command (reserve, settle or tick) at `now`; `limit_usd` holds where the command names none."""
    if tenant is not None and now >= due(tenant):
        tenant = None
    match command.action:
        case "reserve":
            asked = details(Reserving, command)
            limit = limit_usd if asked.limit_usd is None else asked.limit_usd
            tenant = tenant or Tenant(day=now // DAY_MS)
            return _reserve(tenant, _checked(command), limit, now, at_most=asked.at_most)
        case "settle":
            return (None, []) if tenant is None else (_settle(tenant, _checked(command)), [])
        case "tick":
            return tenant, []
        case other:
            raise MalformedCommand(f"a tenant knows reserve and settle, not {other!r}")


def _checked(command: AccountCommand) -> AccountCommand:
    if not math.isfinite(command.amount) or command.amount < 0:
        raise MalformedCommand(f"the amount of {command.action!r} must be US dollars from 0, not {command.amount}")
    return command


def _reserve(
    tenant: Tenant, command: AccountCommand, limit: float | None, now: int, *, at_most: bool = False
) -> Outcome:
    known = recall(tenant.answered, command)
    if known is None and (kept := tenant.open.get(digest(command.command_id))) is not None:
        known = reply(command, now, granted=True, amount=kept.amount)  # so old that only the reservation is left
    if known is not None:
        return tenant, [known]
    left = None if limit is None else max(0.0, limit - tenant.committed)
    if at_most and left is not None and _CENT_OF_A_MICRO < left < command.amount:
        command = command.model_copy(update={"amount": left})
    if left is not None and command.amount > left + _CENT_OF_A_MICRO:
        reason = f"the daily budget of {limit:g} USD has {left:.4f} left, {command.amount:.4f} are needed"
        return _answered(tenant, reply(command, now, granted=False, detail={"left": left, "reason": reason}))
    if len(tenant.open) >= MAX_OPEN:
        reason = f"{MAX_OPEN} requests of this tenant have a reservation; try again when some have ended"
        return _answered(tenant, reply(command, now, granted=False, detail={"left": left, "reason": reason}))
    kept = Reservation(asker=digest(command.asker), amount=command.amount)
    tenant = tenant.model_copy(update={"open": {**tenant.open, digest(command.command_id): kept}})
    rest = None if left is None else max(0.0, left - command.amount)
    yes = reply(command, now, granted=True, amount=command.amount, detail={"left": rest}, expires_at=due(tenant))
    return _answered(tenant, yes)


def _answered(tenant: Tenant, grant: Grant) -> Outcome:
    return tenant.model_copy(update={"answered": remember(tenant.answered, grant, MEMORY)}), [grant]


def _settle(tenant: Tenant, command: AccountCommand) -> Tenant:
    asker = digest(command.asker)
    still = {k: r for k, r in tenant.open.items() if r.asker != asker}
    if len(still) == len(tenant.open):
        return tenant  # settled before, or expired into an earlier day
    return tenant.model_copy(update={"open": still, "spent": tenant.spent + command.amount})
