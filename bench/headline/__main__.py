"""The command: `python -m bench.headline [--requests N] [--repeats N] [--wire N]`; see docs/headline.md."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import structlog

from bench.headline import report
from bench.headline.oracle import BenchHooks, warm
from bench.headline.simulate import Figures, simulate
from bench.headline.systems import System, specialties_for
from bench.headline.wire import on_the_wire
from bench.headline.workload import KINDS, Asked, workload
from bench.headline.world import World
from hocket.llm.catalogue import Entry

MONOLITH = System(
    name="monolith, frontier, sequential", hocket=False, parallel=False, hedging=None, second_opinion=False
)
NAIVE = System(name="naive parallel, frontier", hocket=False, hedging=None, second_opinion=False)
FULL = System(name="Hocket, every lever on")
LEVERS = (
    System(name="  without parallelism", parallel=False),
    System(name="  without cascade", cascade=False),
    System(name="  without caching", caching=False),
    System(name="  hedging at the 95th percentile", hedging=0.95),
    System(name="  without hedging", hedging=None),
    System(name="  without second opinions", second_opinion=False),
    System(name="  planning at the frontier", fast_planning=False),
    System(name="  the settings as shipped", hedging=None, fast_planning=False),
    System(name="  without the local rung", local=False),
    System(name="  without the synthesis skip", skip=False),
    System(name="  ladders as shipped", shipped=True),
    System(name="  the other provider first", providers=("openai", "anthropic")),
)
REPEATS = (
    "latency of all models",
    "latency of the small model",
    "small model's errors",
    "check's errors",
    "price of the small model",
    "error rate",
    "workload.open_share",
    "workload.repeat_share",
    "latency.sigma",
)
OPEN_SHARES = (0.0, 0.02, 0.10, 1.0)
TOLERANCE = 0.10
SPEED, RATE = 4.0, 8.0


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.headline", description=__doc__)
    parser.add_argument("--requests", type=int, default=2_000, help="of the table")
    parser.add_argument("--repeats", type=int, default=500, help="requests of each repeat; 0: none")
    parser.add_argument("--wire", type=int, default=2_000, help="requests through the real SDKs; 0: none")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    world = World.load()
    world.data["workload"]["requests"] = given.requests
    entries = world.entries(int(time.time() * 1000))
    asked = workload(world)
    print(report.FIRST_LINE, flush=True)
    _told(world, asked, entries)
    base, full = _table(world, asked, entries)
    if given.wire:
        _wire(world, asked[: given.wire], entries, base if given.wire >= len(asked) else None, full)
    if given.repeats:
        _repeats(world, given.repeats)


def _told(world: World, asked: Sequence[Asked], entries: Sequence[Entry]) -> None:
    steps = sum(len(a.steps) for a in asked)
    print(f"workload: {len(asked)} requests, {steps} steps, {len(KINDS)} kinds of task ({', '.join(KINDS)}),")
    print(f"  {sum(a.open for a in asked)} need a planning call; seed {world['workload']['seed']}")
    for e in entries:
        print(f"  {e.engine}: {e.alias}, ${e.input_usd:g} in, ${e.output_usd:g} out per million (genai-prices)")
    print(f"conditions: virtual clock; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n", flush=True)


def _figures(
    world: World, systems: Sequence[System], asked: Sequence[Asked], entries: Sequence[Entry]
) -> Iterator[Figures]:
    """In as many processes as there are cores, each figure as soon as it is there; virtual time is not disturbed."""
    # Forked processes know what local engines gave here.
    steps = {s.case: s for a in asked for s in a.steps}
    warm(BenchHooks(world, steps, checking=False), specialties_for(FULL), steps.values())
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for one in [pool.submit(_one, world, s, asked, entries) for s in systems]:
            yield one.result()


def _one(world: World, system: System, asked: Sequence[Asked], entries: Sequence[Entry]) -> Figures:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    return simulate(world, system, asked, entries).figures


def _table(world: World, asked: Sequence[Asked], entries: Sequence[Entry]) -> tuple[Figures, Figures]:
    print(report.head(), flush=True)
    found: list[Figures] = []
    for one in _figures(world, (MONOLITH, NAIVE, FULL, *LEVERS), asked, entries):
        found.append(one)
        print(report.line(one, found[0]), flush=True)
    base, full = found[0], found[2]
    print(report.LEGEND)
    print(f"where Hocket's tasks ended: {report.share(full.tasks)}")
    print(f"Hocket's own ledgers say ${full.ledger_usd:.5f}, the provider's log ${full.usd:.5f}")
    print("\n".join(report.judged(full, base)), flush=True)
    known = [a for a in asked if not a.open]
    print(f"\nonly the {len(known)} requests of known workflows:")
    base_known, full_known = _figures(world, (MONOLITH, FULL), known, entries)
    print("\n".join(report.judged(full_known, base_known)), flush=True)
    return base, full


def _wire(world: World, asked: Sequence[Asked], entries: Sequence[Entry], base: Figures | None, full: Figures) -> None:
    print(f"\nthrough both SDKs over loopback, {len(asked)} requests, the provider {SPEED:g} times as fast:")
    print(report.head())
    for system, virtual in ((MONOLITH, base), (FULL, full if base is not None else None)):
        expected = virtual or simulate(world, system, asked, entries).figures
        # Imports and first connections are not the provider's time.
        asyncio.run(on_the_wire(world, system, asked[:20], entries, speed=SPEED, rate=RATE))
        real = asyncio.run(on_the_wire(world, system, asked, entries, speed=SPEED, rate=RATE))
        print(report.line(expected, expected))
        print(report.line(real, expected))
        off = {n: getattr(real, n) / getattr(expected, n) - 1 for n in ("usd", "calls", "p50", "p95", "quality")}
        agree = "agrees" if all(abs(x) <= TOLERANCE for x in off.values()) else "DOES NOT AGREE"
        print(f"  {agree} within {TOLERANCE:.0%}: " + ", ".join(f"{n} {x:+.1%}" for n, x in off.items()), flush=True)


def _repeats(world: World, requests: int) -> None:
    world.data["workload"]["requests"] = requests
    print(f"\nrepeats, {requests} requests each; ! misses its floor")
    print(f"{'':40} {'cost':>6}  {'p95':>6}  {'small':>6}  {'quality':>7}")
    _repeat("as assumed", world)
    for what in REPEATS:
        for factor in (0.5, 1.5):
            _repeat(f"{what} x {factor:g}", world.changed(what, factor))
    for share in OPEN_SHARES:
        changed = world.changed("workload.open_share", 1.0)
        changed.data["workload"]["open_share"] = share
        _repeat(f"{share:.0%} open requests", changed)


def _repeat(name: str, world: World) -> None:
    entries, asked = world.entries(int(time.time() * 1000)), workload(world)
    base, full = _figures(world, (MONOLITH, FULL), asked, entries)
    print(report.short(name, full, base), flush=True)


if __name__ == "__main__":
    main()
