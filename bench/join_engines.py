"""The engines that the join might run on, under the same load and the same kills (docs/decisions/0001).

A counting join, see bench.join_engine_app. For each engine: a backlog through one process (events/s), single requests
(hop: last event appended to output read), then two processes of which one after the other is killed with kill -9 and
started again at once while events flow. The reader is read_committed and outside the system; an output that is missing
when nothing more comes for a while is lost.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import logging
import os
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from bench.conditions import broker, conditions, quantile
from bench.diamond import JAVA
from bench.join_engine_app import ENGINES, EVENTS, JOINED, PARTITIONS, PARTS
from hocket.kafka.admin import admin
from hocket.local.broker import BrokerOptions
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings
from tests.support.ground import fresh, pour
from tests.support.kafka import Service, producing, reader

HOPS = 100


@dataclass(kw_only=True)
class Figures:
    """What was seen of one engine."""

    lost: int = 0
    doubled: int = 0
    requests: int = 0
    rate: float = float("nan")
    hops: list[float] = field(default_factory=list)
    deaths: int = 0
    silent: float = 0.0
    """The longest time without any output while events flowed, in seconds."""
    fate: str = ""

    def line(self, engine: str) -> str:
        """A row of the table."""
        hop = f"{quantile(self.hops, 0.5):.0f} / {quantile(self.hops, 0.95):.0f} ms" if self.hops else "-"
        return (
            f"| {engine} | {self.lost} of {self.requests} | {self.doubled} | {hop} | {self.rate:,.0f} | "
            f"{self.silent:.0f} s | {self.fate} |"
        )


class Outputs:
    """Reads the outputs: when each came, how often, and when it was appended."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self.at: dict[str, float] = {}
        self.at_ms: dict[str, int] = {}

    async def follow(self, settings: Settings) -> None:
        async with reader(settings, settings.prefix + JOINED) as consumer:
            while True:
                for batch in (await consumer.getmany(timeout_ms=100)).values():
                    for r in batch:
                        name = r.key.decode()
                        self.count[name] += 1
                        self.at.setdefault(name, time.monotonic())
                        self.at_ms.setdefault(name, now_ms())

    async def until(self, names: list[str], seconds: float, quiet: float) -> bool:
        """Waits for an output of each; gives up after `seconds`, or when none has come for `quiet` seconds."""
        end, last, known = time.monotonic() + seconds, time.monotonic(), 0
        while missing := sum(n not in self.count for n in names):
            if missing != known:
                last, known = time.monotonic(), missing
            if time.monotonic() > end or time.monotonic() - last > quiet:
                return False
            await asyncio.sleep(0.05)
        return True


class Trial:
    """One engine on topics of its own."""

    def __init__(self, engine: str, settings: Settings, folder: Path) -> None:
        self.settings, self.events = settings, settings.prefix + EVENTS
        self.services = {
            n: Service("bench.join_engine_app", settings, folder / f"{engine}-{n}.log", engine, HOCKET_INSTANCE=n)
            for n in "ab"
        }
        self.outputs = Outputs()

    async def backlog(self, count: int) -> float:
        """Events a second through one process, from the first output to the last."""
        names = [f"b{n}" for n in range(count // PARTS)]
        records = [(n.encode(), b"%d" % part) for n in names for part in range(PARTS)]
        await asyncio.to_thread(pour, self.settings.bootstrap, self.events, records)
        self.services["a"].start()
        complete = await self.outputs.until(names, 180, 40)
        process = self.services["a"].process
        if not self.outputs.count and process is not None and process.poll() is not None:
            raise SystemExit(f"it does not start:\n{self.services['a'].tail()}")
        if not complete:
            return float("nan")
        came = sorted(self.outputs.at[n] for n in names)
        return PARTS * (len(came) - 1) / (came[-1] - came[0]) if came[-1] > came[0] else float("nan")

    async def hops(self, producer: AIOKafkaProducer) -> list[float]:
        """Milliseconds from the last event's append to its output's reading, one request at a time, 20 a second."""
        sent: dict[str, int] = {}
        for number in range(HOPS):
            name = f"h{number}"
            for part in range(PARTS):
                meta = await producer.send_and_wait(self.events, b"%d" % part, key=name.encode())
            sent[name] = meta.timestamp
            await asyncio.sleep(0.05)
        await self.outputs.until(list(sent), 20, 10)
        return [float(self.outputs.at_ms[n] - at) for n, at in sent.items() if n in self.outputs.at_ms]

    async def kills(self, producer: AIOKafkaProducer, count: int, kills: int, every: float, figures: Figures) -> None:
        """Events at a steady rate while one process after the other is killed."""
        self.services["b"].start()
        await asyncio.sleep(12)  # until both have their partitions
        names = [f"k{n}" for n in range(count // PARTS)]
        rate, began = len(names) / (kills * every), time.monotonic()
        killer = asyncio.create_task(self._kill(kills, every, figures))
        for number, name in enumerate(names):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            for part in range(PARTS):
                await producer.send(self.events, b"%d" % part, key=name.encode())
        await killer
        complete = await self.outputs.until(names, 120, 40)
        await asyncio.sleep(3)
        came = sorted(self.outputs.at[n] for n in names if n in self.outputs.at)
        figures.requests = len(names)
        figures.lost = sum(n not in self.outputs.count for n in names)
        figures.doubled = sum(self.outputs.count[n] > 1 for n in names)
        figures.silent = max((b - a for a, b in itertools.pairwise(came)), default=float("inf"))
        figures.fate = "all out" if complete else "gave up: no output for 40 s"

    async def _kill(self, kills: int, every: float, figures: Figures) -> None:
        for number in range(kills):
            await asyncio.sleep(every)
            victim = self.services["ab"[number % 2]]
            assert victim.process is not None
            figures.deaths += victim.process.poll() is not None
            await asyncio.to_thread(victim.kill)
            victim.start()


@contextlib.asynccontextmanager
async def trial(engine: str, bootstrap: str, folder: Path) -> AsyncIterator[Trial]:
    folder.mkdir()
    settings = fresh(bootstrap, folder, partitions=PARTITIONS)
    async with admin(settings) as client:
        stamped = {"message.timestamp.type": "LogAppendTime"}
        names = (EVENTS, JOINED)
        await client.create_topics([NewTopic(settings.prefix + n, PARTITIONS, 1, topic_configs=stamped) for n in names])
        await asyncio.sleep(1)
    made = Trial(engine, settings, folder)
    following = asyncio.create_task(made.outputs.follow(settings))
    try:
        yield made
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        for service in made.services.values():
            if service.process is not None and service.process.poll() is None:
                await asyncio.to_thread(service.kill)


async def measure(engine: str, bootstrap: str, folder: Path, arguments: argparse.Namespace) -> Figures:
    figures = Figures()
    async with trial(engine, bootstrap, folder) as made, producing(made.settings) as producer:
        figures.rate = await made.backlog(arguments.events)
        figures.hops = await made.hops(producer)
        await made.kills(producer, arguments.events, arguments.kills, arguments.every, figures)
        if figures.deaths:
            figures.fate += f", ended by itself {figures.deaths} times"
        if figures.lost and arguments.verbose:
            for service in made.services.values():
                print(f"--- {service.log.name}\n{service.tail(12)}")
    return figures


async def main(arguments: argparse.Namespace) -> None:
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    sizes = {"events": arguments.events, "kills": f"{arguments.kills}, one every {arguments.every:g} s"}
    versions = ", ".join(f"{n} {version(n)}" for n in ("faust-streaming", "quixstreams"))
    print(conditions(**sizes, partitions=PARTITIONS, processes=2, session_timeout="6 s", engines=versions))
    print("| engine | lost | doubled | hop p50 / p95 | events/s, one process | longest silence | fate |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="hocket-engines-") as name:
        async with broker(BrokerOptions(heap="1g", java_flags=JAVA)) as running:
            for engine in arguments.only:
                figures = await measure(engine, running.bootstrap, Path(name) / engine, arguments)
                print(figures.line(engine), flush=True)
    print(f"load at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.join_engines", description=__doc__)
    parser.add_argument("--events", type=int, default=12_000, help="in the backlog, and again during the kills")
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--every", type=float, default=10, help="seconds between two kills")
    parser.add_argument("--only", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--verbose", action="store_true", help="show the end of the logs when something is lost")
    asyncio.run(main(parser.parse_args()))
