"""Planner and workers in one process: they come and go together."""

import asyncio

import pytest

from hocket.local import host
from hocket.runtime.health import Health
from hocket.runtime.settings import Settings


class Part:
    """Stands in for serve_planner or serve_workers: runs until stopped, or fails at once."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure, self.ended_in_order = failure, False

    async def __call__(self, *given: object) -> None:
        if self.failure is not None:
            raise self.failure
        stop = next(x for x in given if isinstance(x, asyncio.Event))
        await stop.wait()
        await asyncio.sleep(0.01)  # what is in flight is ended first
        self.ended_in_order = True


def put(monkeypatch: pytest.MonkeyPatch, planner: Part, workers: Part) -> None:
    monkeypatch.setattr("services.planner.__main__.serve_planner", planner)
    monkeypatch.setattr("services.workers.host.serve_workers", workers)


async def test_both_end_in_order_when_asked(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    planner, workers = Part(), Part()
    put(monkeypatch, planner, workers)
    stop = asyncio.Event()
    serving = asyncio.create_task(host.serve(settings, stop, Health()))
    await asyncio.sleep(0.01)
    stop.set()
    await serving
    assert planner.ended_in_order
    assert workers.ended_in_order


@pytest.mark.parametrize("who", ["planner", "workers"])
async def test_a_failure_of_one_stops_the_other_and_is_raised(
    who: str, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    good, bad = Part(), Part(RuntimeError("no Kafka"))
    put(monkeypatch, *((bad, good) if who == "planner" else (good, bad)))
    with pytest.raises(RuntimeError, match="no Kafka"):
        await host.serve(settings, asyncio.Event(), Health())
    assert good.ended_in_order
