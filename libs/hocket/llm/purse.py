"""The gate of one task: it keeps the task's share of the budget, and lets calls wait for the provider's rate.

Laws: `spent + reserved <= budget` at every moment, however many calls run at once; a call is let in with its upper
bound set aside, and its real price takes the place of the bound when it has ended.
"""

from __future__ import annotations

from typing import Protocol

from hocket.contracts.records import Usage
from hocket.llm.base import ModelError
from hocket.llm.gate import Bound
from hocket.runtime import metrics

_DUST_USD = 1e-12
"""What sums of doubles may be off by."""


class Rate(Protocol):
    """Keeps a provider's rate for all tasks of the process; see hocket.llm.governor.Governor."""

    async def acquire(self, bound: Bound) -> None:
        """Returns when a call may start; a cancelled wait leaves nothing behind."""

    def used(self, bound: Bound, usage: Usage) -> None:
        """How much a call that was let in has used."""


class Purse:
    """A Gate over a budget in US dollars (None: no limit) and a rate (None: no limit). For one task, on one loop."""

    def __init__(self, budget_usd: float | None, rate: Rate | None = None) -> None:
        self._budget, self._rate = budget_usd, rate
        self.spent_usd = 0.0
        self.paid: list[Usage] = []
        """What calls have used, in the order in which they ended: known also of a task that was ended from outside."""
        self._reserved: dict[int, float] = {}

    @property
    def reserved_usd(self) -> float:
        """What calls under way may cost at most."""
        return sum(self._reserved.values())

    def left_usd(self) -> float | None:
        """See Gate."""
        if self._budget is None:
            return None
        return max(0.0, self._budget - self.spent_usd - self.reserved_usd)

    async def enter(self, bound: Bound) -> None:
        """See Gate."""
        self._reserve(bound)
        if self._rate is not None:
            try:
                await self._rate.acquire(bound)
            except BaseException:
                self._reserved.pop(id(bound), None)
                raise

    def _reserve(self, bound: Bound) -> None:
        left = self.left_usd()
        if left is None:
            return
        if bound.cost_usd is None:
            said = "its price is unknown, and the request has a cap. Give it a price in HOCKET_PRICES."
            raise ModelError("over_budget", f"{bound.engine}: not called, {said}")
        if bound.cost_usd > left + _DUST_USD:
            said = f"up to ${bound.cost_usd:.4f}, ${left:.4f} of the task's share are left."
            raise ModelError("over_budget", f"{bound.engine}: not called, it may cost {said}")
        self._reserved[id(bound)] = bound.cost_usd

    def leave(self, bound: Bound, usage: Usage) -> None:
        """See Gate. A price that turns out unknown counts as the bound."""
        reserved = self._reserved.pop(id(bound), None)
        if reserved is not None:
            cost = reserved if usage.cost_usd is None else usage.cost_usd
            self.spent_usd += cost
            if cost > reserved + _DUST_USD:
                metrics.BOUND_EXCEEDED.labels(bound.engine).inc()
        if usage.cost_usd != 0.0 or usage.input_tokens or usage.output_tokens:
            self.paid.append(usage)
        if self._rate is not None:
            self._rate.used(bound, usage)
