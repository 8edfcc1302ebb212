"""How long others wait when a worker goes: crash of one of three until its tasks run elsewhere, and a graceful stop.

Crash: kill -9 of one of three workers with long calls in flight and room for more; the time until the last of its calls
has begun again in another process. Stop: SIGTERM of a worker busy with calls of 0.1 s until its process has ended.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from pathlib import Path

from bench.conditions import broker, conditions, mark
from tests.support import faults
from tests.support.ground import fresh, open_ground
from tests.support.oracle import read_ledger


async def crash(bootstrap: str, folder: Path) -> float:
    """Seconds until all that a killed worker ran runs elsewhere."""
    settings = fresh(bootstrap, folder, concurrency=64)
    async with open_ground(settings, folder) as ground:
        ground.start("a", "b", "c")
        await asyncio.sleep(8)  # all three have joined
        await ground.put(*faults.load(90, (25.0, 30.0), random.Random(1)))
        await ground.until_working(3)
        await asyncio.sleep(1)
        pid, moment = ground.pid("b"), time.monotonic()
        await ground.kill("b")
        lost = {c.task for c in read_ledger(ground.ledger) if c.pid == pid and c.open_at(moment)}
        assert lost, "the killed worker had nothing in flight"
        again: dict[str, float] = {}
        while set(again) != lost:
            assert time.monotonic() < moment + 60, f"{len(lost) - len(again)} tasks did not run again"
            await asyncio.sleep(0.1)
            again = {c.task: c.start for c in read_ledger(ground.ledger) if c.task in lost and c.pid != pid}
    return max(again.values()) - moment


async def stop(bootstrap: str, folder: Path, arguments: argparse.Namespace) -> list[float]:
    """Seconds from SIGTERM to the end of the process, busy with short calls."""
    settings = fresh(bootstrap, folder, concurrency=16)
    found = []
    async with open_ground(settings, folder) as ground:
        await ground.put(*faults.load(arguments.tasks, (0.1, 0.1), random.Random(1)))
        for number in range(arguments.rounds):
            ground.start(f"w{number}")
            await ground.until_working(number + 1)
            began = time.monotonic()
            assert await ground.gone(f"w{number}") == 0, ground.workers[f"w{number}"].tail()
            found.append(time.monotonic() - began)
    return found


async def main(arguments: argparse.Namespace) -> None:
    print(conditions(workers=3, tasks=arguments.tasks, rounds=arguments.rounds))
    with tempfile.TemporaryDirectory() as name:
        async with broker() as running:
            stops = await stop(running.bootstrap, Path(name), arguments)
            crashes = [await crash(running.bootstrap, Path(name)) for _ in range(arguments.rounds)]
    print(f"graceful stop: median {statistics.median(stops):.2f} s, longest {max(stops):.2f} s "
          f"({mark(max(stops), 1.0, less=True)})")  # fmt: skip
    print(f"crash until its tasks run elsewhere: median {statistics.median(crashes):.1f} s, "
          f"longest {max(crashes):.1f} s ({mark(max(crashes), 12.0, less=True)})")  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.runtime_recovery", description=__doc__)
    parser.add_argument("--tasks", type=int, default=2000, help="tasks that wait when workers are stopped")
    parser.add_argument("--rounds", type=int, default=2, help="crashes, and stops")
    asyncio.run(main(parser.parse_args()))
