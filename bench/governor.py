"""Scaling from 1 to 10 worker processes against a provider's limit: `python -m bench.governor`.

Real broker, the aggregator and the workers as processes, the real SDK, and a simulated provider that lets in so many
requests over any 60 seconds and refuses the rest with 429. Tasks come at twice the limit, so that every process would
like more than it gets. Counted by the provider's own log, from the moment when its window has been full once; with
--without nothing is governed, for comparison.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from bench.conditions import broker, conditions, mark
from hocket.contracts.specialties import load_specialties
from hocket.contracts.topics import Topics
from hocket.kafka.admin import apply_topics
from tests.support.governed import WINDOW_S, Limited, governed
from tests.support.ground import fresh

MAX_REFUSED = 0.005
MIN_USED = 0.90


async def measure(rpm: int, workers: int, seconds: int, *, without: bool) -> int:
    """Prints the figures; the exit code."""
    limited = Limited(rpm)
    env = {} if without else {"HOCKET_LIMITS": f'{{"anthropic": {{"rpm": {rpm}}}}}'}
    async with broker() as running:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            settings = fresh(running.bootstrap, folder, partitions=12, grace_seconds=2.0)
            await apply_topics(settings, load_specialties(settings.specialties))
            async with governed(settings, Topics(settings.prefix), folder, limited, **env) as fleet:
                feeding = asyncio.create_task(fleet.feed(2 * rpm / 60))
                fleet.add_worker()
                while not limited.let_in:
                    await asyncio.sleep(0.1)
                began = time.monotonic()
                for n in range(1, workers):
                    await asyncio.sleep(max(0.0, began + n * 0.5 * seconds / workers - time.monotonic()))
                    fleet.add_worker()
                await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))
                ended = time.monotonic()
                feeding.cancel()
    return _print(limited, began, ended)


def _print(limited: Limited, began: float, ended: float) -> int:
    let_in = [t for t in limited.let_in if t <= ended]
    refused = [t for t in limited.refused if t <= ended]
    # A sliding window over all that came after the start-up, judged where it is whole.
    ends = [began + WINDOW_S + s for s in range(int(ended - began - WINDOW_S) + 1)]
    used = [sum(e - WINDOW_S < t <= e for t in let_in) / limited.rpm for e in ends]
    share = len(refused) / max(1, len(let_in) + len(refused))
    mean = sum(used) / max(1, len(used))
    print(f"{len(let_in)} calls let in, {len(refused)} refused with 429: {share:.2%}; below {MAX_REFUSED:.1%}: {mark(share, MAX_REFUSED, less=True)}")  # fmt: skip  # noqa: E501
    print(f"of the limit used, mean over all 60 s windows: {mean:.1%}, least {min(used, default=0):.1%}; at least {MIN_USED:.0%}: {mark(mean, MIN_USED)}")  # fmt: skip  # noqa: E501
    tens = [sum(t <= x < t + 10 for x in let_in) for t in range(int(let_in[0]), int(let_in[-1]), 10)]
    print(f"calls in each ten seconds: {' '.join(map(str, tens))}")
    gaps = sorted(b - a for a, b in pairwise(let_in))
    print(f"longest pause between two calls {gaps[-1] if gaps else 0:.1f} s")
    return 0 if share < MAX_REFUSED and mean >= MIN_USED else 1


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Scaling out against a provider's limit.")
    parser.add_argument("--rpm", type=int, default=600)
    parser.add_argument("--workers", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=180)
    parser.add_argument("--without", action="store_true", help="without a governor")
    given = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    print("simulated provider")
    print(conditions(requests_a_minute=given.rpm, worker_processes=given.workers, seconds=given.seconds))
    sys.exit(asyncio.run(measure(given.rpm, given.workers, given.seconds, without=given.without)))


if __name__ == "__main__":
    main()
