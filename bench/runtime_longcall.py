"""One very long call beside many of one second, on a topic of one partition: do the short ones wait for it?

Added wait: from the moment the broker has a task until its call starts, by the clock that all processes share. The
same stream runs first without the long call, then with it. Rebalances are counted in the broker's own log.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from bench.conditions import broker, conditions, mark, quantile
from tests.support.ground import Ground, fresh, open_ground, rebalances, stub_task
from tests.support.kafka import producing, send
from tests.support.oracle import read_ledger


async def stream(ground: Ground, label: str, seconds: float, rate: float) -> dict[str, float]:
    """Writes 1 s tasks at a steady rate; when each of them was safe at the broker."""
    sent: dict[str, float] = {}
    end, number = time.monotonic() + seconds, 0
    async with producing(ground.settings) as producer:
        due = time.monotonic()
        while due < end:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            name = f"{label}{number}"
            ground.expected.add(name)
            await send(producer, ground.tasks, stub_task(name, seconds=1.0))
            sent[name] = time.monotonic()
            number, due = number + 1, due + 1 / rate
    return sent


def waits(ground: Ground, sent: dict[str, float]) -> list[float]:
    """Seconds between broker and call, of each task."""
    started = {c.task: c.start for c in read_ledger(ground.ledger)}
    return [max(0.0, started[name] - at) for name, at in sent.items()]


async def main(arguments: argparse.Namespace) -> None:
    long = arguments.minutes * 60 if arguments.minutes else arguments.seconds
    print(conditions(partitions=1, long_call=f"{long:.0f} s", short_calls=f"1 s at {arguments.rate}/s", concurrency=64))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with broker() as running:
            settings = fresh(running.bootstrap, folder, partitions=1, concurrency=64)
            group = settings.group("worker-writing")
            async with open_ground(settings, folder) as ground:
                ground.start("one")
                await ground.put(stub_task("warm", seconds=0.1))
                await ground.until_missing(0, 30)
                alone = waits(ground, await _done(ground, "alone", min(20.0, long), arguments.rate))
                before = rebalances(running.log, group)
                await ground.put(stub_task("long", seconds=long))
                beside = waits(ground, await _done(ground, "beside", long - 1, arguments.rate, missing=1))
                assert await ground.until_missing(0, 60), "the long call's result never came"
                after = rebalances(running.log, group) - before
                verdict = await ground.verdict()
    p99, base = quantile(beside, 0.99), quantile(alone, 0.99)
    print(f"wait alone:  p50 {1000 * quantile(alone, 0.5):.0f} ms, p99 {1000 * base:.0f} ms ({len(alone)} calls)")
    print(f"wait beside: p50 {1000 * quantile(beside, 0.5):.0f} ms, p99 {1000 * p99:.0f} ms ({len(beside)} calls)")
    print(f"added by the long call, p99: {1000 * max(0.0, p99 - base):.0f} ms ({mark(p99 - base, 0.1, less=True)})")
    print(f"rebalances during the long call: {after} ({mark(after, 0, less=True)}); {verdict}")


async def _done(ground: Ground, label: str, seconds: float, rate: float, missing: int = 0) -> dict[str, float]:
    sent = await stream(ground, label, seconds, rate)
    assert await ground.until_missing(missing, 30), f"{ground.missing} results missing"
    return sent


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.runtime_longcall", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the long call, in real time")
    parser.add_argument("--minutes", type=float, default=0.0, help="the same in minutes; wins when given")
    parser.add_argument("--rate", type=float, default=20.0, help="short calls per second")
    asyncio.run(main(parser.parse_args()))
