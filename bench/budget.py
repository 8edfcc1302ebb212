"""Caps kept under load: `python -m bench.budget`.

500 requests of three tasks, each with a cap, 200 of them in flight, over a real broker, the services as processes, the
real SDKs, and a simulated provider with faults and calls that are broken off. The oracle is the provider's own log at
list price; what a broken-off call would have cost counts whole. First the same workflow runs without caps: its mean is
the natural cost, and the caps are 0.25, 0.5, 1 and 2 times that.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
from collections import Counter
from pathlib import Path

from bench.conditions import broker, conditions
from hocket.contracts.specialties import load_specialties
from hocket.contracts.topics import Topics
from hocket.kafka.admin import apply_topics
from tests.support.capped import Capped, run_capped
from tests.support.ground import fresh

PARTS = (0.25, 0.5, 1.0, 2.0)


async def measure(requests: int, at_once: int) -> int:
    """Prints the figures; the exit code."""
    async with broker() as running:
        free = await _run(running.bootstrap, [None] * max(20, requests // 10), at_once)
        natural = sum(free.costs.values()) / len(free.caps)
        print(f"natural cost: ${natural:.4f} a request (mean of {len(free.caps)} without a cap, {free.calls} calls)")
        caps = [PARTS[n % len(PARTS)] * natural for n in range(requests)]
        found = await _run(running.bootstrap, list(caps), at_once)
    _print(found, natural)
    return 1 if found.overshoots else 0


async def _run(bootstrap: str, caps: list[float | None], at_once: int) -> Capped:
    with tempfile.TemporaryDirectory() as folder:
        settings = fresh(bootstrap, Path(folder), partitions=4)
        await apply_topics(settings, load_specialties(settings.specialties))
        return await run_capped(settings, Topics(settings.prefix), Path(folder), caps, at_once=at_once, slow_s=0.8)


def _print(found: Capped, natural: float) -> None:
    total = sum(found.costs.values())
    print(f"{len(found.answers)} answers, {found.calls} calls, at most {found.most_at_once} at once, ${total:.4f}")
    print("cap / natural   completed  partial  failed   mean cost / cap")
    for part in PARTS:
        mine = [n for n, cap in found.caps.items() if cap is not None and abs(cap - part * natural) < 1e-12]
        ended = Counter(found.answers[n].status for n in mine)
        share = {s: ended[s] / max(1, len(mine)) for s in ("completed", "partial", "failed")}
        used = sum(found.costs.get(n, 0.0) for n in mine) / max(1e-12, part * natural * len(mine))
        shown = "  ".join(f"{share[s]:7.1%}" for s in share)
        print(f"{part:13.2f}   {shown}   {used:8.1%}")
    worst = max(found.overshoots.values(), default=0.0)
    print(f"overshoot: {len(found.overshoots)} requests, worst ${worst:.6f}; must be 0")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Caps kept under load.")
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--at-once", type=int, default=200)
    given = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    print("simulated provider, list prices of the catalogue's models")
    print(conditions(requests=given.requests, at_once=given.at_once))
    sys.exit(asyncio.run(measure(given.requests, given.at_once)))


if __name__ == "__main__":
    main()
