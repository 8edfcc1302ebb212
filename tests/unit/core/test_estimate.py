"""Forecasts: the sum of costs, the longest chain, and what is unknown."""

from __future__ import annotations

from hocket.contracts.records import PlannedTask
from hocket.core.estimate import Estimate, forecast, too_much

USUAL = {"research": Estimate(millis=300, cost_usd=0.02), "writing": Estimate(millis=1_000, cost_usd=None)}


def planned(task_id: str, specialty: str, *needs: str) -> PlannedTask:
    return PlannedTask(task_id=task_id, specialty=specialty, instruction="x", depends_on=needs)


def test_a_plan_lasts_as_long_as_its_longest_chain_and_costs_all_its_tasks() -> None:
    tasks = [planned("a", "research"), planned("b", "writing"), planned("c", "research", "a", "b"), planned("d", "odd")]
    found = forecast(tasks, USUAL)
    assert (found.millis, found.path, found.unknown) == (1_300, ("b", "c"), ("b", "d"))
    assert abs(found.cost_usd - 0.04) < 1e-9
    assert too_much(found, max_cost_usd=0.05, max_millis=1_300) == []
    assert "0.0400 USD" in too_much(found, max_cost_usd=0.03, max_millis=None)[0]
    assert "the chain b, c takes about 1300 ms" in too_much(found, max_cost_usd=None, max_millis=1_000)[0]


def test_nothing_costs_nothing() -> None:
    assert forecast([], USUAL).millis == 0
