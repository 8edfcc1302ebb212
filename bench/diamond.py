"""The diamond job: plan, three parallel tasks, synthesis. Every service a process of its own, on this machine's cores.

Stubs in the place of models; acks=all, exactly-once, answers read with read_committed by a client in this process.

    python -m bench.diamond            latency at 5/s, sustained rate, CPU by process, 100 ms stubs: four minutes
    python -m bench.diamond --kill     kill -9 of planner and workers at 20, 50 and 80 % of the step runs
    python -m bench.diamond --profile  where the aggregator's main thread spends its time
"""

from __future__ import annotations

import argparse
import asyncio
import os
import pstats
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from bench.conditions import broker, conditions, mark, quantile
from bench.diamond_rig import Rig, hops, rig, stamps, threads_s
from hocket.local.broker import BrokerOptions, EmbeddedBroker
from tests.support.ground import fresh
from tests.support.oracle import Call, read_ledger

STEPS = 5
JAVA = ("-XX:TieredStopAtLevel=4",)
"""The broker with its full compiler, as deployed: the embedded one leaves it out, to start sooner."""


def load() -> str:
    return f"load now {os.getloadavg()[0]:.1f}"


async def latency(made: Rig, per_second: float, seconds: float) -> bool:
    """Requests at fixed times, whatever becomes of those before."""
    count, began = int(per_second * seconds), time.monotonic()
    for number in range(count):
        await asyncio.sleep(max(0.0, began + number / per_second - time.monotonic()))
        await made.client.send(f"slow{number}")
    await made.client.until(0, 30)
    took = [
        1000 * (made.client.answered.get(n, float("inf")) - at) for n, at in made.client.sent.items() if n[0] == "s"
    ]
    p50, p99 = quantile(took, 0.5), quantile(took, 0.99)
    print(
        f"latency at {per_second:g} requests/s ({count} requests, from send to answer read): "
        f"p50 {p50:.1f} ms ({mark(p50, 60, 25, less=True)}), "
        f"p99 {p99:.1f} ms ({mark(p99, 200, 80, less=True)}); {load()}"
    )
    print("by the broker's append times:")
    print("\n".join(hops(await stamps(made, "slow"))), flush=True)
    return made.client.open == 0


async def sustained(made: Rig, in_flight: int, seconds: float, warm: float) -> tuple[float, dict[str, float]]:
    """Keeps so many requests open. Requests a second, and CPU milliseconds of each by process, after a warm-up."""
    client, number, end = made.client, 0, time.monotonic() + warm + seconds
    mark_at, done_then = time.monotonic() + warm, 0
    cpu_then: dict[str, float] = {}
    threads_then: dict[str, Counter[str]] = {}
    while (now := time.monotonic()) < end:
        if not cpu_then and now >= mark_at:
            mark_at, done_then, cpu_then = now, len(client.answered), made.cpu()
            threads_then = _threads(made)
        while client.open < in_flight:
            await client.send(f"{in_flight}-{number}")
            number += 1
        await client.until(in_flight - 1, 1)
    cpu, done, span = made.cpu(), len(client.answered) - done_then, time.monotonic() - mark_at
    threads = {name: now - threads_then[name] for name, now in _threads(made).items()}
    await client.until(0, 60)
    per_request = {name: 1000 * (cpu[name] - before) / max(1, done) for name, before in cpu_then.items()}
    per_request = dict(sorted(per_request.items(), key=lambda x: -x[1]))
    print(f"  CPU ms a request: {', '.join(f'{n} {ms:.2f}' for n, ms in per_request.items())}")
    for name, by_thread in threads.items():
        shares = ", ".join(f"{thread} {1000 * s / max(1, done):.2f}" for thread, s in by_thread.most_common(5))
        print(f"  of the {name}'s, by thread: {shares}")
    return done / span, per_request


def _threads(made: Rig) -> dict[str, Counter[str]]:
    """Seconds of CPU by thread, where threads differ: a young broker spends half of its time on compiling."""
    return {name: threads_s(made.pids()[name]) for name in ("aggregator", "broker")}


async def throughput(made: Rig, arguments: argparse.Namespace) -> None:
    rate, cpu = await sustained(made, arguments.in_flight, arguments.seconds, arguments.warm)
    ours = sum(ms for name, ms in cpu.items() if name not in ("broker", "client"))
    print(
        f"sustained at {arguments.in_flight} in flight: {rate:.0f} requests/s ({mark(rate, 140, 300)}); Hocket's own "
        f"processes {ours:.1f} CPU ms a request ({'goal reached' if ours <= 6 else 'the goal is 6'}), "
        f"with broker {ours + cpu['broker']:.1f}; {made.client.faults()}; {load()}",
        flush=True,
    )


async def kills(running: EmbeddedBroker, folder: Path, arguments: argparse.Namespace) -> bool:
    """kill -9 of all workers with all requests under way."""
    good = True
    for share in (0.2, 0.5, 0.8):
        settings = fresh(running.bootstrap, folder, partitions=arguments.partitions, concurrency=arguments.concurrency)
        where = folder / f"kill-{share}"
        async with rig(running, settings, where, stub_ms=arguments.kill_stub_ms, ledger=True) as made:
            good &= await _kill_once(made, share, arguments.kill_requests)
    return good


async def _kill_once(made: Rig, share: float, count: int) -> bool:
    client, runs = made.client, count * STEPS
    for number in range(count):
        await client.send(f"k{number}")
    while sum(c.end is not None for c in _mine(made)) < share * runs:
        await asyncio.sleep(0.02)
    killed, victims = time.monotonic(), {s.process.pid for s in made.workers.values() if s.process is not None}
    await asyncio.to_thread(made.kill_workers)
    await client.until(0, 60)
    calls = _mine(made)
    in_flight = sum(c.end is None and c.pid in victims for c in calls)  # no clock: a kill takes effect when it does
    repeated = len(calls) - len({c.task for c in calls})
    print(
        f"kill -9 of planner and workers after {100 * share:.0f} % of {runs} step runs: "
        f"{sum(n in client.answered for n in (f'k{i}' for i in range(count)))}/{count} answered, last answer "
        f"{(last := max(client.answered.values()) - killed):.1f} s after it ({mark(last, 12, less=True)}); "
        f"{client.faults()}\n  {repeated} step runs repeated, {in_flight} in flight at the kill "
        f"({mark(repeated, in_flight, less=True)}); {_whence(calls, killed, victims)}; {load()}",
        flush=True,
    )
    return client.open == 0 and not client.again and not client.wrong


def _whence(calls: list[Call], killed: float, victims: set[int]) -> str:
    """How the repeated runs that were not in flight came about."""
    first: dict[str, Call] = {}
    late, again = [], 0
    for call in calls:
        before = first.setdefault(call.task, call)
        if before is call:
            continue
        if before.pid not in victims:
            again += 1
        elif before.end is not None:
            late.append(killed - before.end)
    ended = f", {1000 * min(late):.0f} to {1000 * max(late):.0f} ms before" if late else ""
    return f"{len(late)} had ended before the kill, their outcome not yet sent{ended}; {again} begun twice after it"


def _mine(made: Rig) -> list[Call]:
    return [c for c in read_ledger(made.ledger) if c.task.startswith("k")]


async def main(arguments: argparse.Namespace) -> int:
    sizes = {"partitions": arguments.partitions, "concurrency": arguments.concurrency, "aggregators": 1, "processes": 6}
    print(conditions(**sizes, session_timeout="6 s", commit="acks=all, exactly-once"), flush=True)
    with tempfile.TemporaryDirectory(prefix="hocket-diamond-") as name:
        folder = Path(name)
        async with broker(BrokerOptions(heap="1g", java_flags=JAVA)) as running:
            if arguments.kill:
                return 0 if await kills(running, folder, arguments) else 1
            profile = folder / "profile" if arguments.profile else None
            settings = fresh(
                running.bootstrap, folder, partitions=arguments.partitions, concurrency=arguments.concurrency
            )
            async with rig(running, settings, folder / "fast", profile=profile) as made:
                await throughput(made, arguments)
                await latency(made, arguments.rate, arguments.latency_seconds)
                good = not made.client.open and not made.client.again and not made.client.wrong
            if profile is not None:
                pstats.Stats(str(profile)).sort_stats("tottime").print_stats(arguments.lines)
                return 0 if good else 1
            settings = fresh(
                running.bootstrap, folder, partitions=arguments.partitions, concurrency=arguments.concurrency
            )
            async with rig(running, settings, folder / "stubs", stub_ms=100) as made:
                rate, _ = await sustained(made, 64, arguments.seconds, arguments.warm)
                print(
                    f"100 ms stubs, 64 in flight: {rate:.0f} requests/s of the ideal 213 "
                    f"({mark(rate, 150, 195)}); {load()}"
                )
                good &= not made.client.open and not made.client.again and not made.client.wrong
    return 0 if good else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.diamond", description=__doc__)
    parser.add_argument("--rate", type=float, default=5, help="requests a second for the latency")
    parser.add_argument("--latency-seconds", type=float, default=40)
    parser.add_argument("--in-flight", type=int, default=256, help="open requests for the sustained rate")
    parser.add_argument("--seconds", type=float, default=25, help="of each sustained run, after its warm-up")
    parser.add_argument("--warm", type=float, default=20, help="seconds of load before it: the broker compiles itself")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--concurrency", type=int, default=256, help="calls in flight in each worker")
    parser.add_argument("--kill", action="store_true", help="the crash of all workers instead")
    parser.add_argument("--kill-requests", type=int, default=500)
    parser.add_argument("--kill-stub-ms", type=float, default=100)
    parser.add_argument("--profile", action="store_true", help="the aggregator under cProfile (it runs slower)")
    parser.add_argument("--lines", type=int, default=45, help="functions to list with --profile")
    sys.exit(asyncio.run(main(parser.parse_args())))
