"""The governor against the real account, without Kafka: what it asks, how calls wait, what goes back."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from hocket.contracts.records import AccountCommand, Usage
from hocket.llm import governor
from hocket.llm.gate import Bound
from hocket.llm.governor import Governor
from hocket.llm.limits import Rates
from hocket.runtime.clock import now_ms
from services.aggregator import leases
from services.aggregator.leases import Provider


def bound(tokens: int = 100) -> Bound:
    return Bound(engine="p/m", provider="p", rung="small", input_tokens=tokens, output_tokens=0, cost_usd=None)


class Fleet:
    """One account, and governors that talk to it as if over Kafka, a moment later."""

    def __init__(self) -> None:
        self.row: Provider | None = None
        self.commands: list[AccountCommand] = []
        self.deaf = False

    def governor(self, name: str = "w", **limits: Rates) -> Governor:
        mine = Governor(limits, asker=name, now_ms=now_ms, chance=lambda: 0.0)

        def send(command: AccountCommand) -> None:
            self.commands.append(command)
            if self.deaf:
                return
            self.row, grants = leases.step(self.row, command, now_ms())
            for grant in grants:
                asyncio.get_running_loop().call_later(0.002, mine.granted, grant)

        mine.open(send)
        return mine

    @property
    def said(self) -> list[tuple[str, float]]:
        return [(c.action, c.amount) for c in self.commands]


async def test_nothing_is_asked_where_no_limit_is_known() -> None:
    fleet = Fleet()
    mine = fleet.governor()
    await mine.acquire(bound())
    assert (fleet.said, mine.wanted.is_set()) == ([], False)


async def test_a_call_waits_for_its_lease_and_many_share_one() -> None:
    fleet = Fleet()
    mine = fleet.governor(p=Rates(rpm=6_000))
    await asyncio.wait_for(asyncio.gather(*(mine.acquire(bound()) for _ in range(50))), 30)
    assert mine.wanted.is_set()
    assert sum(amount for action, amount in fleet.said if action == "lease") <= 110
    assert len(fleet.said) <= 5
    mine.close()


async def test_no_more_start_than_the_limit_allows() -> None:
    fleet = Fleet()
    governors = [fleet.governor(f"w{n}", p=Rates(rpm=60)) for n in range(3)]
    started = 0

    async def call(mine: Governor) -> None:
        nonlocal started
        await mine.acquire(bound())
        started += 1

    calls = [asyncio.create_task(call(g)) for g in governors for _ in range(40)]
    await asyncio.sleep(1)
    allowed = 60 * leases.SLACK * leases.SMOOTH_MS / (leases.WINDOW_MS + leases.LEASE_MS) + 1
    assert 1 <= started <= allowed
    for task in calls:
        task.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    for mine in governors:
        mine.close()


async def test_a_cancelled_wait_leaves_nothing_behind() -> None:
    fleet = Fleet()
    fleet.deaf = True
    mine = fleet.governor(p=Rates(rpm=60))
    waiting = asyncio.create_task(mine.acquire(bound()))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    fleet.deaf = False
    [asked] = fleet.commands
    fleet.row, [grant] = leases.step(fleet.row, asked, now_ms())
    mine.granted(grant)
    mine.close()
    assert fleet.said == [("lease", 1.0), ("release", 1.0)]
    assert fleet.row is not None and fleet.row.leases == ()


async def test_what_a_call_really_used_makes_the_next_ask_smaller() -> None:
    fleet = Fleet()
    mine = fleet.governor(p=Rates(tpm=1_000_000))
    first = bound(1_000)
    await mine.acquire(first)
    mine.used(first, Usage(provider="p", model="m", input_tokens=100))
    for _ in range(30):
        call = bound(1_000)
        await mine.acquire(call)
        mine.used(call, Usage(provider="p", model="m", input_tokens=100))
    asked = [json.loads(c.detail)["tokens"] / c.amount for c in fleet.commands if c.action == "lease"]
    assert asked[0] == 1_000
    assert all(tokens < 1_000 for tokens in asked[1:])
    mine.close()


def headers(left: int) -> dict[str, str]:
    return {"anthropic-ratelimit-requests-limit": "100", "anthropic-ratelimit-requests-remaining": str(left)}


@pytest.mark.parametrize(("left", "commands"), [(80, []), (40, ["limit"])])
async def test_headers_govern_a_model_once_half_of_its_minute_is_used(left: int, commands: list[Any]) -> None:
    fleet = Fleet()
    mine = fleet.governor()
    mine.heard("p/m", headers(left))
    assert [c.action for c in fleet.commands] == commands
    assert [c.account_id for c in fleet.commands] == ["provider/p/m"] * len(commands)
    if commands:
        assert fleet.row is not None and fleet.row.limit.rpm == 100
        await asyncio.wait_for(mine.acquire(bound()), 30)
        assert fleet.said[-2:] == [("lease", 1.0), ("release", 0.0)], "used up, and told at once"
    mine.close()


async def test_headers_may_lower_a_limit_that_is_set_and_never_raise_it() -> None:
    for limit, wanted in ((1_000, 100), (50, 50)):
        fleet = Fleet()
        mine = fleet.governor(**{"p/m": Rates(rpm=limit)})
        mine.heard("p/m", headers(40))
        assert fleet.row is not None and fleet.row.limit.rpm == wanted
        mine.close()


async def test_a_grant_that_comes_too_late_goes_back_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(governor, "ANSWER_MS", 20)
    fleet = Fleet()
    fleet.deaf = True
    mine = fleet.governor(p=Rates(rpm=6_000))
    waiting = asyncio.create_task(mine.acquire(bound()))
    await asyncio.sleep(0.1)
    fleet.deaf = False
    lost = fleet.commands[0]
    fleet.row, [grant] = leases.step(fleet.row, lost, now_ms())
    mine.granted(grant)
    mine.granted(grant)
    await asyncio.wait_for(waiting, 30)
    assert [(c.action, c.amount) for c in fleet.commands].count(("release", 1.0)) == 1
    mine.close()
