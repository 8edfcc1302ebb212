"""Thousands of calls in flight: throughput of one worker process on one partition, and its memory.

A stub call takes 1 s, so the ideal is `concurrency` results per second. The rate is taken from the broker's
timestamps of the results between the middle of the first wave and the middle of the last one. Memory is the process's
resident set, at the same seconds of its life under each backlog.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.conditions import broker, conditions, mark
from tests.support.ground import CODEC, Ground, fresh, pour, stub_task
from tests.support.kafka import reader

PLACE = "r0000000"


def backlog(ground: Ground, count: int, seconds: float) -> Iterator[tuple[bytes, bytes]]:
    """Tasks that differ in their ids only, cut from one template so that a million takes seconds."""
    template = CODEC.encode(stub_task(PLACE, seconds=seconds), ground.tasks)
    before, after = template.split(PLACE.encode(), 1)
    for number in range(count):
        name = b"r%07d" % number
        yield name, before + name + after


def resident_mb(pid: int) -> float:
    """What the process holds in memory now."""
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


@dataclass(kw_only=True)
class Flight:
    """One run."""

    share: float
    peak: float
    last: float


async def stamps(ground: Ground) -> list[int]:
    """The broker's timestamps of all results, in order."""
    found: list[int] = []
    async with reader(ground.settings, ground.topics.results) as consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        while [p for p, end in ends.items() if await consumer.position(p) < end]:
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                found += [r.timestamp for r in batch]
    return sorted(found)


async def fly(bootstrap: str, folder: Path, count: int, arguments: argparse.Namespace) -> Flight:
    settings = fresh(bootstrap, folder, partitions=1, concurrency=arguments.concurrency, grace_seconds=2.0)
    ground = Ground(settings, folder)
    await ground.make_topics()
    await asyncio.to_thread(pour, bootstrap, ground.tasks, backlog(ground, count, arguments.call))
    memory = []
    async with quietly(ground):
        ground.start("flight", STUB_LEDGER="")
        end = time.monotonic() + arguments.seconds
        while time.monotonic() < end:
            await asyncio.sleep(0.5)
            if ground.workers["flight"].process.poll() is not None:  # type: ignore[union-attr]
                raise SystemExit(f"the worker ended:\n{ground.workers['flight'].tail()}")
            memory.append(resident_mb(ground.pid("flight")))
    seen = await stamps(ground)
    half = arguments.concurrency // 2
    if len(seen) < 4 * half:
        raise SystemExit(f"only {len(seen)} results in {arguments.seconds} s: give it more --seconds")
    waves = (len(seen) - half) // arguments.concurrency - 1
    first, last = seen[half], seen[half + waves * arguments.concurrency]
    rate = waves * arguments.concurrency / ((last - first) / 1000)
    ideal = arguments.concurrency / arguments.call
    return Flight(share=rate / ideal, peak=max(memory), last=memory[-1])


class quietly:  # noqa: N801 - used as a context manager
    """The ground without a follower of the results, which would take a core from the worker."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.ground.workers["flight"].kill)


async def main(arguments: argparse.Namespace) -> None:
    print(
        conditions(
            processes=1, partitions=1, in_flight=arguments.concurrency, call=f"{arguments.call} s",
            backlogs=arguments.backlog, seconds=arguments.seconds,
        )
    )  # fmt: skip
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        async with broker() as running:
            for count in arguments.backlog:
                runs[count] = f = await fly(running.bootstrap, Path(folder), count, arguments)
                print(
                    f"backlog {count:>9,}: {100 * f.share:.1f} % of the ideal ({mark(f.share, 0.9, 0.97)}), "
                    f"resident {f.peak:.0f} MB at most ({mark(f.peak, 150, less=True)}), {f.last:.0f} MB at the end"
                )
    if len(runs) > 1:
        low, high = runs[min(runs)].peak, runs[max(runs)].peak
        print(
            f"memory with the largest backlog / with the smallest: {high / low:.2f} ({mark(high / low, 1.1, less=True)})"  # noqa: E501
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.runtime_flight", description=__doc__)
    parser.add_argument(
        "--backlog", type=int, nargs="+", default=[20_000, 1_000_000], help="tasks that wait at the start"
    )
    parser.add_argument("--concurrency", type=int, default=1000, help="calls in flight")
    parser.add_argument("--call", type=float, default=1.0, help="seconds that a stub call takes")
    parser.add_argument(
        "--seconds", type=float, default=16.0, help="how long each run is watched; the backlog must last"
    )
    asyncio.run(main(parser.parse_args()))
