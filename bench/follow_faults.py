"""The client, a worker and the broker are killed while text streams; the oracle is what the stub model said.

Each reader keeps a text as `hocket follow -o json` tells it to. Counted are the characters that are missing or too
many in the end, against the text of the run that counted; `mended` readers had all of it only with the answer.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from bench.conditions import broker, conditions
from hocket.contracts.specialties import load_specialties
from hocket.kafka.admin import apply_topics
from tests.support.ground import fresh
from tests.support.streams import NOTHING, Rig, Verdict, kill_broker, kill_worker, open_rig, streaming


async def clients(rig: Rig, times: int, rng: random.Random, kills: int = 5) -> Verdict:
    """Client processes, each killed up to so many times."""
    total, number, done = NOTHING, 0, 0
    while done < times and number < 10 * times:
        reader = await rig.follow_killed(f"client{number}", rng, min(kills, times - done))
        done, number = done + reader.kills, number + 1
        total += rig.verdict([reader])
    return total


async def others(
    rig: Rig, times: int, rng: random.Random, name: str, fault: Callable[[Rig], Awaitable[None]]
) -> Verdict:
    """One fault for every four followed requests."""
    total = NOTHING
    for number in range(times):
        total += await streaming(rig, f"{name}{number}", 4, partial(fault, rig), after=rng.uniform(0.1, 2.0))
    return total


async def main(arguments: argparse.Namespace) -> int:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it says at length that the broker is away
    print(conditions(times=arguments.times, words=arguments.words, seed=arguments.seed))
    rng, good = random.Random(arguments.seed), True
    with tempfile.TemporaryDirectory() as name:
        async with broker() as running:
            settings = fresh(running.bootstrap, Path(name), partitions=4)
            await apply_topics(settings, load_specialties(None))
            async with open_rig(running, settings, Path(name), words=arguments.words) as rig:
                for what in arguments.only:
                    began = time.monotonic()
                    if what == "client":
                        verdict = await clients(rig, arguments.times, rng)
                    else:
                        fault = kill_worker if what == "worker" else kill_broker
                        verdict = await others(rig, arguments.times, rng, what, fault)
                    print(f"{what} killed {arguments.times} times in {time.monotonic() - began:.0f} s: {verdict}")
                    sys.stdout.flush()
                    good &= verdict.lost == verdict.repeated == 0
    print("nothing was lost, nothing repeated" if good else "TEXT WAS LOST OR REPEATED")
    return 0 if good else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.follow_faults", description=__doc__)
    parser.add_argument("--times", type=int, default=50, help="kills of each kind")
    parser.add_argument("--words", type=int, default=250, help="in each text")
    parser.add_argument("--seed", type=int, default=1)
    names = ["client", "worker", "broker"]
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="who is killed")
    sys.exit(asyncio.run(main(parser.parse_args())))
