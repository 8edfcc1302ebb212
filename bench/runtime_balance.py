"""Who gets how much work: three workers of which one is slow or sick, and one partition that is much hotter than all.

Shares are counted in the stubs' ledger while every worker still has a backlog, beside what their speeds would give.
Partitions belong to workers, so a slow worker's backlog stays its own: what it has not done at the end is printed, too.
A hot partition's neighbours: the wait from the broker's acknowledgement to the call's start, on the worker that holds
the hot partition and on the others.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bench.conditions import broker, conditions, mark, quantile
from hocket.kafka.client import partition_of
from tests.support.ground import CODEC, Ground, fresh, open_ground, pour, stub_task
from tests.support.kafka import Service, producing, send
from tests.support.oracle import Call, read_ledger

PARTITIONS = 6
NAMES = ("one", "two", "odd")


def start(ground: Ground, name: str, **state: str) -> None:
    """A worker in its state; `open_ground` ends it."""
    env = {
        "HOCKET_INSTANCE": name,
        "HOCKET_CONCURRENCY": str(ground.settings.concurrency),
        "STUB_LEDGER": str(ground.ledger),
    }
    log = ground.folder / f"{ground.settings.prefix}{name}.log"
    ground.workers[name] = Service("bench.uneven_worker", ground.settings, log, **(env | state)).start()


def warmers(attempt: int) -> list[str]:
    """One name for each partition: who calls for it holds it."""
    names = [f"w{attempt}-{i}" for i in range(200)]
    found = {partition_of(n.encode(), PARTITIONS): n for n in names}
    return [found[p] for p in range(PARTITIONS)]


async def settled(ground: Ground, **odd: str) -> dict[str, set[int]]:
    """Starts the three and returns the partitions of each, once all of them have called."""
    for name in NAMES:
        start(ground, name, **(odd if name == "odd" else {}))
    await ground.until_joined(len(NAMES))
    attempt = 0
    async with asyncio.timeout(60):
        while len(owners := _owners(ground, read_ledger(ground.ledger)[-PARTITIONS:])) < len(NAMES):
            await asyncio.sleep(2)
            attempt += 1
            await ground.put(*(stub_task(n, seconds=0.01) for n in warmers(attempt)))
            await asyncio.sleep(1)
    return owners


def _owners(ground: Ground, calls: list[Call]) -> dict[str, set[int]]:
    names = {ground.pid(name): name for name in ground.workers}
    found: dict[str, set[int]] = {}
    for call in calls:
        found.setdefault(names[call.pid], set()).add(call.partition)
    return found if sum(len(p) for p in found.values()) == PARTITIONS else {}


def tasks(ground: Ground, label: str, count: int, call: float) -> Iterator[tuple[bytes, bytes]]:
    for number in range(count):
        name = f"{label}{number}"
        yield name.encode(), CODEC.encode(stub_task(name, seconds=call), ground.tasks)


async def shares(bootstrap: str, folder: Path, arguments: argparse.Namespace, **odd: str) -> None:
    """One worker is odd; who does how much, and what is left of the odd one's."""
    settings = fresh(bootstrap, folder, partitions=PARTITIONS, concurrency=arguments.concurrency)
    capacity = arguments.concurrency / arguments.call
    count = int(3.5 * capacity * arguments.seconds)
    async with open_ground(settings, folder) as ground:
        owners = await settled(ground, **odd)
        began = time.monotonic()
        await asyncio.to_thread(pour, bootstrap, ground.tasks, tasks(ground, "t", count, arguments.call))
        await asyncio.sleep(arguments.seconds - (time.monotonic() - began))
        names = {ground.pid(name): name for name in ground.workers}
        end = time.monotonic()
        done = Counter(names[c.pid] for c in read_ledger(ground.ledger) if began < (c.end or c.start) < end)
    what = "fails every call at once" if "STUB_SICK" in odd else f"{odd['STUB_FACTOR']}x slower"
    print(f"one of three {what}, {arguments.seconds:.0f} s of a backlog of {count:,}:")
    for name in NAMES:
        print(
            f"  {name}: {done[name]:5} calls, {100 * done[name] / done.total():.0f} % of the work, "
            f"{done[name] / arguments.seconds / capacity:.2f} of a healthy worker's capacity, "
            f"partitions {sorted(owners[name])}"
        )
    healthy = min(done["one"], done["two"]) / arguments.seconds / capacity
    print(f"  the healthy ones are busy: {100 * healthy:.0f} % ({mark(healthy, 0.8)})")
    ratio = done["odd"] / (done["one"] + done["two"]) * 2
    print(f"  the odd one's calls / a healthy one's: {ratio:.2f} ({mark(ratio, 0.5, less=True)})")


async def hot(bootstrap: str, folder: Path, arguments: argparse.Namespace) -> None:
    """One partition has a backlog, the others a trickle."""
    settings = fresh(bootstrap, folder, partitions=PARTITIONS, concurrency=arguments.concurrency)
    names = [f"c{i}" for i in range(100_000)]
    async with open_ground(settings, folder) as ground:
        owners = await settled(ground)
        hottest = min(owners["one"])
        keys = [n for n in names if partition_of(n.encode(), PARTITIONS) == hottest][: arguments.hot]
        records = [(n.encode(), CODEC.encode(stub_task(n, seconds=arguments.call), ground.tasks)) for n in keys]
        await asyncio.to_thread(pour, bootstrap, ground.tasks, records)
        cold = [n for n in names if partition_of(n.encode(), PARTITIONS) != hottest]
        sent: dict[str, float] = {}
        began, due = time.monotonic(), time.monotonic()
        async with producing(settings) as producer:
            while time.monotonic() < began + arguments.seconds:
                name = cold[len(sent)]
                await send(producer, ground.tasks, stub_task(name, seconds=arguments.call))
                sent[name] = time.monotonic()
                due += 1 / arguments.rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        await asyncio.sleep(3)
        calls = {c.task: c for c in read_ledger(ground.ledger)}
        over = time.monotonic()
    beside = [n for n in sent if partition_of(n.encode(), PARTITIONS) in owners["one"]]
    waits = {n: calls[n].start - at if n in calls else over - at for n, at in sent.items()}
    other = [waits[n] for n in sent if n not in set(beside)]
    busy = sum(1 for n in keys if n in calls) / (over - began) / (arguments.concurrency / arguments.call)
    print(f"one hot partition ({len(keys):,} tasks) and {arguments.rate}/s over the other five; wait of the cold ones:")
    print(f"  on the other workers: p50 {quantile(other, 0.5):.3f} s, p95 {quantile(other, 0.95):.3f} s "
          f"({mark(quantile(other, 0.95), 0.1, less=True)})")  # fmt: skip
    there = [waits[n] for n in beside]
    idle = sum(n not in calls for n in beside)
    print(f"  on the hot one's worker: p50 {quantile(there, 0.5):.3f} s, p95 {quantile(there, 0.95):.3f} s, "
          f"{idle} of {len(beside)} not begun at the end; it is {100 * busy:.0f} % busy with the hot one")  # fmt: skip


async def main(arguments: argparse.Namespace) -> None:
    print(conditions(workers=3, partitions=PARTITIONS, concurrency=arguments.concurrency, call=f"{arguments.call} s"))
    with tempfile.TemporaryDirectory() as name:
        async with broker() as running:
            await shares(running.bootstrap, Path(name), arguments, STUB_FACTOR="5")
            await shares(running.bootstrap, Path(name), arguments, STUB_SICK="1")
            await hot(running.bootstrap, Path(name), arguments)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.runtime_balance", description=__doc__)
    parser.add_argument("--concurrency", type=int, default=16, help="calls in flight in each worker")
    parser.add_argument("--call", type=float, default=0.2, help="seconds that a healthy stub call takes")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each part is watched")
    parser.add_argument("--hot", type=int, default=3000, help="tasks that wait in the hot partition")
    parser.add_argument("--rate", type=float, default=30.0, help="cold tasks per second")
    asyncio.run(main(parser.parse_args()))
