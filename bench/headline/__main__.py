"""The command: `python -m bench.headline [--only table|wire|repeats] [--seed N]`; see docs/headline.md."""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from bench.headline import report
from bench.headline.repeats import one, repeats, warmed
from bench.headline.simulate import Figures
from bench.headline.systems import System
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
WIRED = (MONOLITH, FULL, System(name="Hocket, settings as shipped", hedging=None, fast_planning=False))
SETTINGS = """levers: p parallelism, c cascade, k result cache (3,600 s) and prompt caching,
  h HOCKET_HEDGE=0.05 (H: 0.95; shipped: off), o second opinions (HOCKET_SECOND_OPINION; shipped: on),
  f planning by the small model (strategy fast; shipped: balanced), l local engines of extraction and analysis,
  s templates instead of a synthesis call; - off"""
TOLERANCE = 0.10
SPEED, RATE = 4.0, 8.0


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.headline", description=__doc__)
    parser.add_argument("--requests", type=int, default=2_000, help="of the table")
    parser.add_argument("--repeats", type=int, default=500, help="requests of each repeat; 0: none")
    parser.add_argument("--wire", type=int, default=2_000, help="requests through the real SDKs; 0: none")
    parser.add_argument("--seed", type=int, help="of the workload and of all chance")
    parser.add_argument("--inputs", default="*", help="which repeats, with shell wildcards: 'latency*'")
    parser.add_argument("--only", choices=("table", "wire", "repeats"), help="one part of the three")
    given = parser.parse_args()
    report.silent()
    world = World.load().with_workload(requests=given.requests)
    world = world if given.seed is None else world.with_workload(seed=given.seed)
    at_ms = int(time.time() * 1000)
    entries = world.entries(at_ms)
    asked = workload(world)
    print(report.FIRST_LINE, flush=True)
    _told(world, asked, entries)
    if given.only in (None, "table"):
        _table(world, asked, entries)
    if given.only in (None, "wire") and given.wire:
        _wire(world, asked[: given.wire], entries)
    if given.only in (None, "repeats") and given.repeats:
        repeats(world, MONOLITH, FULL, requests=given.repeats, at_ms=at_ms, only=given.inputs)


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
    warmed(world, FULL, asked)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for found in [pool.submit(one, world, s, asked, entries) for s in systems]:
            yield found.result()


def _table(world: World, asked: Sequence[Asked], entries: Sequence[Entry]) -> None:
    print(report.head(), flush=True)
    found: list[Figures] = []
    systems = (MONOLITH, NAIVE, FULL, *LEVERS)
    for system, figures in zip(systems, _figures(world, systems, asked, entries), strict=True):
        found.append(figures)
        print(report.line(figures, found[0], system.levers), flush=True)
    base, full = found[0], found[2]
    print(f"{report.LEGEND}\n{SETTINGS}")
    print(f"where Hocket's tasks ended: {report.share(full.tasks)}")
    print(f"Hocket's own ledgers say ${full.ledger_usd:.5f}, the provider's log ${full.usd:.5f}")
    print("\n".join(report.judged(full, base)), flush=True)
    print("\n".join(report.brought(full, found[3:], base)), flush=True)
    known = [a for a in asked if not a.open]
    print(f"\nonly the {len(known)} requests of known workflows:")
    base_known, full_known = _figures(world, (MONOLITH, FULL), known, entries)
    print("\n".join(report.judged(full_known, base_known)), flush=True)


def _wire(world: World, asked: Sequence[Asked], entries: Sequence[Entry]) -> None:
    print(f"\nthrough both SDKs over loopback, {len(asked)} requests, the provider {SPEED:g} times as fast:")
    print(report.head())
    for system, expected in zip(WIRED, _figures(world, WIRED, asked, entries), strict=True):
        # Imports and first connections are not the provider's time.
        asyncio.run(on_the_wire(world, system, asked[:20], entries, speed=SPEED, rate=RATE))
        real = asyncio.run(on_the_wire(world, system, asked, entries, speed=SPEED, rate=RATE))
        print(report.line(expected, expected, system.levers))
        print(report.line(real, expected, system.levers))
        off = {n: getattr(real, n) / getattr(expected, n) - 1 for n in ("usd", "calls", "p50", "p95", "quality")}
        agree = "agrees" if all(abs(x) <= TOLERANCE for x in off.values()) else "DOES NOT AGREE"
        print(f"  {agree} within {TOLERANCE:.0%}: " + ", ".join(f"{n} {x:+.1%}" for n, x in off.items()), flush=True)


if __name__ == "__main__":
    main()
