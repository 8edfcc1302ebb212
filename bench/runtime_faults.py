"""The fault suite: busy stub workers as separate processes, put through continuous faults, judged from outside.

The oracle is a file that every stub appends each model call to, and a read_committed reading of the results from
their start. Lost must be 0. "In flight at the faults" counts the calls that ran in a process at the moment it was
killed, frozen or lost its broker: only those may be paid twice. How soon work goes on is for bench.runtime_recovery.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from bench.conditions import broker, conditions, mark
from hocket.contracts.records import Task
from hocket.local.broker import EmbeddedBroker
from tests.support import faults
from tests.support.ground import Ground, fresh, open_ground


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A share of the tasks, how long their calls take, how many run at once in a worker, and what befalls them."""

    share: float
    seconds: tuple[float, float]
    concurrency: int
    what: str
    run: Callable[[Ground, list[Task], EmbeddedBroker], Awaitable[int]]
    planned: bool = False
    """A planned change, in good order: nothing at all should be paid twice."""


SCENARIOS = {
    "kill": Scenario(
        share=0.25, seconds=(0.3, 1.5), concurrency=64, what="kill -9 of one of three every 8 s",
        run=lambda g, t, _: faults.kills(g, t, every=8, rest=0.1),
    ),
    "pause": Scenario(
        share=0.15, seconds=(0.2, 1.0), concurrency=64, what="SIGSTOP beyond the session time-out, twice",
        run=lambda g, t, _: faults.pauses(g, t, times=2),
    ),
    "broker": Scenario(
        share=0.15, seconds=(0.2, 1.0), concurrency=64, what="the broker killed, then restarted",
        run=lambda g, t, b: faults.broker_restarts(g, t, b, times=2),
    ),
    "storm": Scenario(
        share=0.15, seconds=(5.0, 5.0), concurrency=256, what="join/leave every 2 s with 5 s calls", planned=True,
        run=lambda g, t, _: faults.storm(g, t, every=2, seconds=60),
    ),
    "rolling": Scenario(
        share=0.15, seconds=(0.5, 2.0), concurrency=64, what="rolling restart of three", planned=True,
        run=lambda g, t, _: faults.rolling(g, t, rounds=1),
    ),
    "scale": Scenario(
        share=0.15, seconds=(0.5, 2.0), concurrency=64, what="2 -> 6 -> 2 workers", planned=True,
        run=lambda g, t, _: faults.scaling(g, t),
    ),
}  # fmt: skip


async def scenario(name: str, running: EmbeddedBroker, folder: Path, arguments: argparse.Namespace) -> bool:
    """Runs one; whether nothing was lost."""
    chosen = SCENARIOS[name]
    count = max(100, int(arguments.tasks * chosen.share))
    settings = fresh(running.bootstrap, folder, concurrency=chosen.concurrency)
    began = time.monotonic()
    async with open_ground(settings, folder) as ground:
        tasks = faults.load(count, chosen.seconds, random.Random(arguments.seed))
        times = await chosen.run(ground, tasks, running)
        verdict = await ground.verdict()
    print(f"{name}: {chosen.what} ({times} faults, {time.monotonic() - began:.0f} s)\n  {verdict}")
    if chosen.planned:
        share = verdict.extra / verdict.tasks
        print(f"  extra calls of a planned change: {100 * share:.2f} % ({mark(share, 0.01, 0, less=True)})")
    else:
        print(f"  extra <= in flight at the faults: {mark(verdict.extra, verdict.in_flight_at_hits, less=True)}")
    sys.stdout.flush()
    return verdict.lost == 0


async def main(arguments: argparse.Namespace) -> int:
    print(conditions(tasks=arguments.tasks, partitions=6, session_timeout="6 s", seed=arguments.seed))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with broker() as running:
            good = [await scenario(s, running, folder, arguments) for s in arguments.only]
    print("nothing was lost" if all(good) else "TASKS WERE LOST")
    return 0 if all(good) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.runtime_faults", description=__doc__)
    parser.add_argument("--tasks", type=int, default=20_000, help="in all scenarios together")
    parser.add_argument("--seed", type=int, default=1, help="of the call times")
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=list(SCENARIOS), help="which scenarios")
    sys.exit(asyncio.run(main(parser.parse_args())))
