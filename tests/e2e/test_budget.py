"""Caps and daily budgets over real parts; the provider's own log at list price is the oracle (long: bench.budget)."""

from __future__ import annotations

from pathlib import Path

import pytest

from hocket.contracts.topics import Topics
from hocket.runtime.settings import Settings
from tests.support.capped import run_capped

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]


async def test_no_cap_is_ever_exceeded_and_what_can_be_paid_is_answered(
    settings: Settings, topics_ready: Topics, tmp_path: Path
) -> None:
    caps = [0.0002, 0.002, 0.02] * 12
    found = await run_capped(settings, topics_ready, tmp_path, list(caps), at_once=36)
    assert found.overshoots == {}
    assert found.most_at_once > 3, "the calls did run side by side"
    ended = {cap: {found.answers[n].status for n, c in found.caps.items() if c == cap} for cap in (0.0002, 0.02)}
    assert ended == {0.0002: {"failed"}, 0.02: {"completed"}}
    poor, rich = found.answers[0], found.answers[2]
    assert poor.error is not None
    assert (poor.error.kind, found.costs.get(0)) == ("over_budget", None)
    assert rich.receipt.spent_usd == pytest.approx(rich.receipt.cost_usd)
    assert (rich.receipt.max_cost_usd, rich.receipt.reserved_usd) == (0.02, 0.0)
    assert found.costs[2] <= rich.receipt.spent_usd + 1e-12 <= 0.02


async def test_a_tenants_day_is_kept_by_requests_with_and_without_a_cap(
    settings: Settings, topics_ready: Topics, tmp_path: Path
) -> None:
    day, caps = 0.2, [None, 0.03] * 20
    found = await run_capped(
        settings, topics_ready, tmp_path, list(caps), at_once=40, HOCKET_TENANT_DAILY_USD=f'{{"default": {day}}}'
    )
    assert found.overshoots == {}
    answered = [a for a in found.answers.values() if a.status == "completed"]
    given = [a.receipt.max_cost_usd for n, a in found.answers.items() if a in answered and found.caps[n] is None]
    assert given and all(cap is not None and cap <= 0.01 * day for cap in given)
    assert 0 < sum(found.costs.values()) <= day
    refused = [a.error for a in found.answers.values() if a.error is not None and "daily budget" in a.error.message]
    assert refused, "twenty times 0.03 at once are more than the day has"
    assert {e.kind for e in refused} == {"over_budget"}
