"""What a plan will cost and how long it takes, from what tasks of its specialties usually need. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hocket.contracts.records import PlannedTask
from hocket.core.plan import layers


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What one task of a specialty usually takes: milliseconds, and US dollars (None when no price is known)."""

    millis: float
    cost_usd: float | None = None


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """A plan's sum and its longest chain. `unknown` are tasks without an estimate: they count as nothing."""

    cost_usd: float
    millis: float
    path: tuple[str, ...]
    unknown: tuple[str, ...] = ()


def forecast(tasks: Sequence[PlannedTask], estimates: Mapping[str, Estimate]) -> Forecast:
    """The least that the plan costs and lasts with all workers free. A plan with a circle has no path through it."""
    by_id = {t.task_id: t for t in tasks}
    ends: dict[str, float] = {}
    before: dict[str, str | None] = {}
    for task_id in (i for wave in layers(tasks) for i in wave):
        t = by_id[task_id]
        last = max(t.depends_on, key=lambda d: ends[d], default=None)
        known = estimates.get(t.specialty)
        ends[task_id] = (ends[last] if last is not None else 0.0) + (known.millis if known else 0.0)
        before[task_id] = last
    at = max(ends, key=lambda i: ends[i], default=None)
    millis = ends[at] if at is not None else 0.0
    path: list[str] = []
    while at is not None:
        path.append(at)
        at = before[at]
    costs = [e.cost_usd for t in tasks if (e := estimates.get(t.specialty)) is not None]
    unknown = tuple(t.task_id for t in tasks if t.specialty not in estimates or estimates[t.specialty].cost_usd is None)
    return Forecast(cost_usd=sum(c for c in costs if c), millis=millis, path=tuple(path[::-1]), unknown=unknown)


def too_much(found: Forecast, *, max_cost_usd: float | None, max_millis: float | None) -> list[str]:
    """Why the plan cannot be had within the request's cap and deadline; empty when nothing is known against it."""
    wrong = []
    if max_cost_usd is not None and found.cost_usd > max_cost_usd:
        wrong.append(
            f"the plan costs about {found.cost_usd:.4f} USD, the request allows {max_cost_usd:.4f}: use fewer tasks"
        )
    if max_millis is not None and found.millis > max_millis:
        chain = ", ".join(found.path)
        wrong.append(f"the chain {chain} takes about {found.millis:.0f} ms, there are {max_millis:.0f}: shorten it")
    return wrong
