"""Who waits when there is too much work: classes at an overload, and a small tenant beside a large one.

Priority: one worker, offered four times what it can do, evenly spread over the classes 0-9; the wait of a task is
from the broker's acknowledgement to the start of its call, and what is left at the end is worked off, so no long wait
is left out. Fairness: a small tenant's tasks, from the broker to the end of the call, alone and beside a tenant that
has put 1,000.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from pathlib import Path

from bench.conditions import broker, conditions, mark, quantile
from tests.support.ground import Ground, fresh, open_ground, stub_task
from tests.support.kafka import producing, send
from tests.support.oracle import read_ledger


async def offer(ground: Ground, tasks: list[dict[str, object]], rate: float, call: float) -> dict[str, float]:
    """Writes tasks at a steady rate; when each was safe at the broker. `call` is their seconds."""
    sent: dict[str, float] = {}
    dice = random.Random(len(tasks))  # calls of one length would end in waves, and everybody would wait for one
    async with producing(ground.settings) as producer:
        due = time.monotonic()
        for fields in tasks:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            name = str(fields["request_id"])
            ground.expected.add(name)
            sending = asyncio.create_task(
                send(
                    producer,
                    ground.tasks,
                    stub_task(name, seconds=call * dice.uniform(0.5, 1.5), **{**fields, "request_id": name}),
                )
            )
            sending.add_done_callback(lambda _, name=name: sent.__setitem__(name, time.monotonic()))
            due += 1 / rate
        async with asyncio.timeout(10):
            while len(sent) < len(tasks):
                await asyncio.sleep(0.01)
    return sent


async def priority(bootstrap: str, folder: Path, arguments: argparse.Namespace) -> None:
    settings = fresh(bootstrap, folder, partitions=4, concurrency=arguments.concurrency)
    capacity = arguments.concurrency / arguments.call
    count = int(arguments.overload * capacity * arguments.seconds)
    async with open_ground(settings, folder) as ground:
        ground.start("one", **({"HOCKET_WINDOW": str(arguments.window)} if arguments.window else {}))
        await ground.put(stub_task("warm", seconds=0.01))
        await ground.until_missing(0, 30)
        tasks = [{"request_id": f"p{i}", "priority": i % 10} for i in range(count)]
        sent = await offer(ground, tasks, arguments.overload * capacity, arguments.call)
        over = time.monotonic()
        assert await ground.until_missing(0, arguments.overload * arguments.seconds * 2 + 60), "work was left"
        started = {c.task: c.start for c in read_ledger(ground.ledger)}
    by_class = {k: [f"p{i}" for i in range(k, count, 10)] for k in range(10)}
    p95 = {k: quantile([max(0.0, started[n] - sent[n]) for n in names], 0.95) for k, names in by_class.items()}
    print(
        f"priority, {arguments.overload:g}x overload of {capacity:.0f}/s for {arguments.seconds:.0f} s; p95 wait by class:"  # noqa: E501
    )
    print("  " + "  ".join(f"{k}: {p95[k]:.2f} s" for k in sorted(p95, reverse=True)))
    moving = sum(started[n] < over for n in by_class[0])
    print(f"  class 9 / class 0: {p95[9] / p95[0]:.3f} ({mark(p95[9] / p95[0], 0.1, less=True)})")
    print(f"  class 0 during the overload: {moving} of {len(by_class[0])} started ({mark(moving, 1)})")


async def fairness(bootstrap: str, folder: Path, arguments: argparse.Namespace) -> None:
    settings = fresh(bootstrap, folder, partitions=4, concurrency=arguments.concurrency)
    p95 = {}
    async with open_ground(settings, folder) as ground:
        ground.start("one", **({"HOCKET_WINDOW": str(arguments.window)} if arguments.window else {}))
        await ground.put(stub_task("warm", seconds=0.01, tenant="small"))
        await ground.until_missing(0, 30)
        for case in ("alone", "beside"):
            if case == "beside":
                large = [
                    stub_task(f"large{i}", seconds=arguments.call * (0.5 + i % 101 / 100), tenant="large")
                    for i in range(arguments.backlog)
                ]
                await ground.put(*large)
            tasks = [{"request_id": f"{case}{i}", "tenant": "small"} for i in range(arguments.small)]
            rate = arguments.small / (0.7 * arguments.backlog * arguments.call / arguments.concurrency)
            sent = await offer(ground, tasks, rate, arguments.call)
            assert await ground.until_missing(0, 60), "work was left"
            ended = {c.task: c.end or float("inf") for c in read_ledger(ground.ledger)}
            p95[case] = quantile([ended[n] - sent[n] for n in sent], 0.95)
    ratio = p95["beside"] / p95["alone"]
    print(
        f"fairness, {arguments.small} small tasks of {arguments.call} s beside a backlog of {arguments.backlog}; p95 to the end:"  # noqa: E501
    )
    print(f"  alone {p95['alone']:.3f} s, beside {p95['beside']:.3f} s: {ratio:.2f}x ({mark(ratio, 1.5, less=True)})")


async def main(arguments: argparse.Namespace) -> None:
    print(
        conditions(
            workers=1,
            partitions=4,
            concurrency=arguments.concurrency,
            call=f"{arguments.call} s, 0.5x to 1.5x",
            window=arguments.window or "default",
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        async with broker() as running:
            await fairness(running.bootstrap, Path(folder), arguments)
            await priority(running.bootstrap, Path(folder), arguments)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.runtime_priority", description=__doc__)
    parser.add_argument("--overload", type=float, default=4.0, help="offered work / what the worker can do")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long the overload lasts")
    parser.add_argument("--concurrency", type=int, default=16, help="calls in flight")
    parser.add_argument("--call", type=float, default=0.2, help="seconds that a stub call takes")
    parser.add_argument(
        "--window", type=int, help="tasks fetched ahead, HOCKET_WINDOW; the runtime's default if not given"
    )
    parser.add_argument("--backlog", type=int, default=1000, help="tasks of the large tenant")
    parser.add_argument(
        "--small", type=int, default=60, help="tasks of the small tenant, spread over the backlog's time"
    )
    asyncio.run(main(parser.parse_args()))
