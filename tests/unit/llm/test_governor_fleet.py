"""A fleet of governors on one account, on virtual time: the limit is kept, and nearly all of it is used."""

from __future__ import annotations

import asyncio
import random
from collections import deque

import pytest

from bench.headline import clock
from hocket.contracts.records import AccountCommand, Grant, Usage
from hocket.llm.gate import Bound
from hocket.llm.governor import Governor
from hocket.llm.limits import Rates
from services.aggregator import leases

WINDOW_S, REPLY_S, AT_ONCE = 60.0, 0.2, 64


class Fleet:
    """Workers that would like twice the limit, messages that take their time, and the provider's own window."""

    def __init__(self, rpm: int, slowest_s: float) -> None:
        self.rpm, self._slowest_s, self._dice = rpm, slowest_s, random.Random(3)
        self._row: leases.Provider | None = None
        self._last: dict[str, float] = {}
        self._running = set[asyncio.Task[None]]()
        self._window = deque[float]()
        self.let_in: list[float] = []
        self.refused = 0
        self.governors: dict[str, Governor] = {}

    def add(self, name: str) -> None:
        """One worker more, with more to do than it may."""
        made = Governor({"p": Rates(rpm=self.rpm)}, asker=name, now_ms=clock.now_ms, chance=self._dice.random)
        self.governors[name] = made
        made.open(lambda command: self._start(self._answered(command)))
        for _ in range(AT_ONCE):
            self._start(self._calls(made))

    def _start(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _arrival(self, place: str) -> None:
        """Kafka keeps the order within a key."""
        loop = asyncio.get_running_loop()
        due = max(self._last.get(place, 0.0), loop.time() + self._dice.uniform(0.01, self._slowest_s))
        self._last[place] = due
        await asyncio.sleep(due - loop.time())

    async def _answered(self, command: AccountCommand) -> None:
        await self._arrival("account")
        self._row, grants = leases.step(self._row, command, clock.now_ms())
        for grant in grants:
            self._start(self._handed(grant))

    async def _handed(self, grant: Grant) -> None:
        await self._arrival(grant.asker)
        self.governors[grant.asker].granted(grant)

    async def _calls(self, governor: Governor) -> None:
        while True:
            bound = Bound(engine="p/m", provider="p", rung="small", input_tokens=10, output_tokens=10, cost_usd=None)
            await governor.acquire(bound)
            await asyncio.sleep(self._dice.uniform(0.002, 0.1))
            self._call(asyncio.get_running_loop().time())
            await asyncio.sleep(REPLY_S)
            governor.used(bound, Usage(provider="p", model="m", input_tokens=10, output_tokens=5))

    def _call(self, now: float) -> None:
        while self._window and self._window[0] <= now - WINDOW_S:
            self._window.popleft()
        if len(self._window) >= self.rpm:
            self.refused += 1
        else:
            self._window.append(now)
            self.let_in.append(now)

    async def stop(self) -> None:
        """Everybody at once."""
        for task in tuple(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        for governor in self.governors.values():
            governor.close()


@pytest.mark.parametrize(("slowest_s", "least"), [(0.05, 0.92), (0.8, 0.8)])
def test_one_to_ten_workers_use_nearly_all_of_a_limit_and_are_never_refused(slowest_s: float, least: float) -> None:
    async def main() -> tuple[Fleet, float]:
        fleet = Fleet(600, slowest_s)
        for n in range(10):
            fleet.add(f"w{n}")
            await asyncio.sleep(6)
        await asyncio.sleep(60)
        await fleet.stop()
        return fleet, asyncio.get_running_loop().time()

    fleet, end = clock.run(main())
    assert fleet.refused == 0
    ends = range(int(WINDOW_S), int(end) - 1)
    used = [sum(e - WINDOW_S < t <= e for t in fleet.let_in) / fleet.rpm for e in ends]
    assert sum(used) / len(used) >= least
