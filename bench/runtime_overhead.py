"""What the runtime costs: a stub that answers at once, against a bare aiokafka consume-and-produce loop.

Both read the same records, one consumer and one idempotent acks=all producer each, alternating A B A B in one
process. The bare loop: getmany, send each value on, await all acknowledgements, commit. The runtime: consume, decode,
schedule, encode with headers, produce, commit. Both have as many records under way at once, the window: 64 as shipped,
and wider ones, which help the bare loop most, because all it does in between is wait for the broker. Both run with the
cycle collector as a service sets it. CPU time per record says more than the rate when the machine is busy. With
--profile, where the runtime's time goes in the last window.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from bench.conditions import broker, conditions, mark
from bench.runtime_flight import backlog
from hocket.kafka.aio import open_producer
from hocket.runtime.lifecycle import collect_rarely
from tests.support.ground import Ground, fresh, pour
from tests.support.stub_worker import stub_runtime

STAGES = {
    "aiokafka/producer": "aiokafka: produce",
    "aiokafka/record": "aiokafka: record batches",
    "_crecords": "aiokafka: record batches",
    "aiokafka/consumer": "aiokafka: consume",
    "aiokafka": "aiokafka: connection, group",
    "contracts/codec": "codec",
    "contracts/headers": "headers",
    "datetime": "headers",
    "fastavro": "codec",
    "pydantic": "records (pydantic)",
    "core/": "pure decisions",
    "kafka/outbox": "outbox",
    "kafka/desk": "desk",
    "kafka/runtime": "runtime",
    "hocket/kafka": "runtime",
    "prometheus_client": "metrics",
    "asyncio": "event loop",
    "_asyncio": "event loop",
    "selectors": "event loop: waiting",
    "poll": "event loop: waiting",
    "support/stub": "the stub itself",
}


async def prepare(bootstrap: str, folder: Path, arguments: argparse.Namespace, window: int) -> Ground:
    settings = fresh(bootstrap, folder, partitions=arguments.partitions, concurrency=window)
    ground = Ground(settings, folder)
    await ground.make_topics()
    await asyncio.to_thread(pour, bootstrap, ground.tasks, backlog(ground, arguments.tasks, 0.0))
    return ground


async def bare(ground: Ground, count: int, room: int) -> float:
    """Records per second of the bare loop."""
    common = {"bootstrap_servers": ground.settings.bootstrap}
    consumer = AIOKafkaConsumer(
        ground.tasks, group_id=f"{ground.tasks}-bare", auto_offset_reset="earliest", enable_auto_commit=False,
        isolation_level="read_committed", **common,
    )  # fmt: skip
    producer = AIOKafkaProducer(acks="all", enable_idempotence=True, **common)
    await consumer.start()
    await producer.start()
    try:
        began, seen = 0.0, 0
        while seen < count:
            batches = await consumer.getmany(timeout_ms=200, max_records=room)
            began = began or (time.monotonic() if batches else 0.0)
            sent = []
            for batch in batches.values():
                for r in batch:
                    sent.append(await producer.send(ground.topics.results, r.value, key=r.key))  # noqa: PERF401
            if sent:
                await asyncio.gather(*sent)
                await consumer.commit()
            seen += len(sent)
        return count / (time.monotonic() - began)
    finally:
        await producer.stop()
        await consumer.stop()


async def ours(ground: Ground, count: int, profile: cProfile.Profile | None = None) -> float:
    """Tasks per second of the runtime, from the first call's start to the last commit."""
    began = 0.0
    async with open_producer(ground.settings, "bench") as producer:
        runtime = stub_runtime(ground.settings, producer)
        run = asyncio.create_task(runtime.run())
        try:
            while not runtime.stats.completed and not run.done():
                await asyncio.sleep(0.001)
                if runtime.stats.in_flight and not began:
                    began = time.monotonic()
            began = began or time.monotonic()
            skipped = runtime.stats.completed
            if profile:
                profile.enable()
            while runtime.stats.completed < count and not run.done():
                await asyncio.sleep(0.01)
            if profile:
                profile.disable()
            rate = (count - skipped) / (time.monotonic() - began)
        finally:
            await runtime.stop(5)
            await run
    return rate


def stages(profile: cProfile.Profile) -> list[tuple[float, str]]:
    """Share of time by stage: each function's own time, counted for the first stage whose name its file bears."""
    own: Counter[str] = Counter()
    for (file, _, name), (_, _, seconds, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        place = f"{file}:{name}".replace("\\", "/")
        own[next((stage for mark_, stage in STAGES.items() if mark_ in place), "Python itself")] += seconds
    total = sum(own.values())
    return sorted(((seconds / total, stage) for stage, seconds in own.items()), reverse=True)


@dataclass
class Pair:
    """Rates and CPU of both in one window: records a second, and microseconds a record, round by round."""

    bare: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    cpu_bare: list[float] = field(default_factory=list)
    cpu_ours: list[float] = field(default_factory=list)

    def say(self, window: int) -> None:
        bare, ours, cpu_bare, cpu_ours = map(statistics.median, (self.bare, self.ours, self.cpu_bare, self.cpu_ours))
        print(
            f"window {window}: the runtime reaches {100 * ours / bare:.0f} % of the bare loop (medians; "
            f"{mark(ours / bare, 0.35, 0.6)}); CPU per record: bare {cpu_bare:.0f} us, runtime {cpu_ours:.0f} us",
            flush=True,
        )


async def compare(bootstrap: str, folder: Path, arguments: argparse.Namespace, window: int) -> None:
    """A B A B in one window."""
    pair, count = Pair(), arguments.tasks
    for _ in range(arguments.rounds):
        ground = await prepare(bootstrap, folder, arguments, window)
        began = time.process_time()
        pair.bare.append(await bare(ground, count, window))
        between = time.process_time()
        pair.ours.append(await ours(ground, count))
        pair.cpu_bare.append(1e6 * (between - began) / count)
        pair.cpu_ours.append(1e6 * (time.process_time() - between) / count)
        a, b = pair.bare[-1], pair.ours[-1]
        print(f"  bare {a:8,.0f} /s   runtime {b:8,.0f} /s   {100 * b / a:5.1f} %", flush=True)
    pair.say(window)


async def main(arguments: argparse.Namespace) -> None:
    sizes = {k: getattr(arguments, k) for k in ("tasks", "partitions", "windows", "rounds")}
    print(conditions(**sizes))
    collect_rarely()
    profile = cProfile.Profile() if arguments.profile else None
    with tempfile.TemporaryDirectory() as name:
        async with broker() as running:
            for window in arguments.windows:
                await compare(running.bootstrap, Path(name), arguments, window)
            if profile:
                ground = await prepare(running.bootstrap, Path(name), arguments, arguments.windows[-1])
                await ours(ground, arguments.tasks, profile)
    if profile:
        print("where the runtime's time goes (cProfile, own time; the profiler itself slows small functions most):")
        for part, stage in stages(profile):
            print(f"  {100 * part:5.1f} %  {stage}")
        pstats.Stats(profile).sort_stats("tottime").print_stats(arguments.lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.runtime_overhead", description=__doc__)
    parser.add_argument("--tasks", type=int, default=20_000, help="records in each round")
    parser.add_argument("--partitions", type=int, default=4, help="of the task topic")
    parser.add_argument(
        "--windows",
        type=int,
        nargs="+",
        default=[64, 256, 500],
        help="calls in flight, records per poll of the bare loop",
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often A B")
    parser.add_argument("--profile", action="store_true", help="one more run of the runtime under cProfile")
    parser.add_argument("--lines", type=int, default=30, help="functions to list with --profile")
    asyncio.run(main(parser.parse_args()))
