"""The join under faults: three aggregators, requests of five tasks at a fixed rate, and one fault after the other.

kill -9 of one (every other time its state folder is lost with it), a rebalance while another one recovers, a zombie
(SIGSTOP beyond session and transaction time-outs, then SIGCONT), a broker restart. Planner and workers are scripted.
The oracle reads the answers from their start with read_committed when all is over, and recomputes each of them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from bench.conditions import broker, conditions, mark, quantile
from bench.join_work import PLANNING, SPECIALTIES, TASKS, answer_of, work
from hocket.contracts.codec import Codec
from hocket.contracts.records import Answer, Heartbeat, Plan, Record, Request, Task
from hocket.contracts.specialties import load_specialties
from hocket.contracts.topics import Topics
from hocket.kafka.admin import apply_topics
from hocket.local.broker import EmbeddedBroker
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings
from tests.support.ground import fresh
from tests.support.kafka import Service, producing, reader

CODEC = Codec()
PAUSE_S = 13.0
"""Beyond the session time-out (6 s) and the transaction time-out (10 s)."""
_STRAY_MS = 50
"""What a killed process had in its sockets is appended within this time."""


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A fault: which partitions' rows it struck, when (seconds of the monotonic clock, and milliseconds)."""

    what: str
    at: float
    at_ms: int
    partitions: frozenset[int]


@dataclass(kw_only=True)
class Run:
    """One run: its processes, and what was seen of it."""

    settings: Settings
    topics: Topics
    aggregators: dict[str, Service]
    broker: EmbeddedBroker
    sent: dict[str, float] = field(default_factory=dict)
    seen: list[tuple[int, float, int]] = field(default_factory=list)
    """Answers as they came: partition, when read, when appended."""
    answered: set[str] = field(default_factory=set)
    held: dict[str, frozenset[int]] = field(default_factory=dict)
    """Which partitions each aggregator holds, by its last heartbeat."""
    hits: list[Hit] = field(default_factory=list)

    def hit(self, what: str, *names: str) -> None:
        """Notes a fault of these aggregators."""
        struck = frozenset().union(*(self.held.get(n, frozenset()) for n in names))
        self.hits.append(Hit(what=what, at=time.monotonic(), at_ms=now_ms(), partitions=struck))

    def kill(self, name: str, *, disk: bool = False) -> None:
        """kill -9 and an immediate restart; with `disk` its local state is gone, too."""
        self.hit("kill -9", name)
        self.aggregators[name].kill()
        if disk:
            shutil.rmtree(self.settings.state_dir / name, ignore_errors=True)
        self.aggregators[name].start()


async def kill_one(run: Run, name: str, disk: bool) -> None:
    await asyncio.to_thread(run.kill, name, disk=disk)


async def rebalance_in_recovery(run: Run, name: str, _: bool) -> None:
    """One loses its disk, and while it replays its changelog another one is killed."""
    other = next(n for n in run.aggregators if n != name)
    await asyncio.to_thread(run.kill, name, disk=True)
    await asyncio.sleep(4)  # it has imported its libraries and joins
    await asyncio.to_thread(run.kill, other)


async def zombie(run: Run, name: str, _: bool) -> None:
    """It is taken for dead, its work goes on elsewhere, and then it wakes up in the middle of its transaction."""
    run.hit("pause", name)
    run.aggregators[name].signal(signal.SIGSTOP)
    await asyncio.sleep(PAUSE_S)
    run.aggregators[name].signal(signal.SIGCONT)


async def broker_restart(run: Run, _: str, __: bool) -> None:
    run.hit("broker restart", *run.aggregators)
    await asyncio.to_thread(run.broker.restart)


FAULTS = {f.__name__: f for f in (kill_one, rebalance_in_recovery, zombie, broker_restart)}


async def faults(run: Run, chosen: Sequence[str], every: Sequence[float], seed: int, done: Callable[[], bool]) -> None:
    """One after the other until `done`, each kind once at least. A process that ended by itself is started again, as
    its supervisor would."""
    names, disks, rng = itertools.cycle(run.aggregators), itertools.cycle((False, True)), random.Random(seed)
    for number, fault in enumerate(FAULTS[n] for n in itertools.cycle(chosen)):
        await asyncio.sleep(rng.uniform(*every))
        if number >= len(chosen) and done():
            return
        name = next(names)
        await fault(run, name, next(disks))
        print(f"  {time.monotonic() - next(iter(run.sent.values())):5.0f} s: {fault.__name__} of {name}, "
              f"{len(run.answered)} of {len(run.sent)} answered", flush=True)  # fmt: skip


async def supervise(run: Run, deaths: Counter[str]) -> None:
    """Starts again what has ended by itself."""
    while True:
        await asyncio.sleep(0.5)
        for name, service in run.aggregators.items():
            if service.process is not None and service.process.poll() is not None and service.process.returncode != -9:
                deaths[f"{name} ended with {service.process.returncode}"] += 1
                service.start()


async def load(run: Run, count: int, per_second: float, busy: Callable[[], bool]) -> None:
    """Requests at fixed times: so many, and on while `busy`."""
    began = time.monotonic()
    async with producing(run.settings) as producer:
        for number in itertools.count():
            if number >= count and not busy():
                break
            await asyncio.sleep(max(0.0, began + number / per_second - time.monotonic()))
            name = f"f{number}"
            record = Request(request_id=name, text="-", submitted_at=now_ms())
            run.sent[name] = time.monotonic()
            await put(producer, run.topics.requests, record)


async def put(producer: AIOKafkaProducer, topic: str, *records: Record) -> None:
    """Writes records; tries again, as a client does, when the broker is away for longer than its library's patience."""
    while True:
        try:
            sent = [await producer.send(topic, CODEC.encode(r, topic), key=r.request_id.encode()) for r in records]
            if len(records) > 1:
                await asyncio.gather(*sent)
        except KafkaError:
            await asyncio.sleep(0.5)
        else:
            return


async def workers(run: Run) -> None:
    """The scripted planner and workers: answer each committed task once, and remember nothing."""
    names = [run.topics.tasks(s) for s in (PLANNING, *SPECIALTIES)]
    async with reader(run.settings, *names) as consumer, producing(run.settings) as producer:
        while True:
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                done = [work(CODEC.decode(r.value, Task)) for r in batch]
                await put(producer, run.topics.plans, *(d for d in done if isinstance(d, Plan)))
                await put(producer, run.topics.results, *(d for d in done if not isinstance(d, Plan)))


async def follow(run: Run) -> None:
    """Notes when answers come, and who holds what."""
    async with reader(run.settings, run.topics.answers, run.topics.heartbeats) as consumer:
        while True:
            for place, batch in (await consumer.getmany(timeout_ms=200)).items():
                for r in batch:
                    if place.topic == run.topics.answers:
                        run.seen.append((place.partition, time.monotonic(), r.timestamp))
                        run.answered.add(r.key.decode())
                        continue
                    beat, start = CODEC.decode(r.value, Heartbeat), f"{run.topics.requests}/"
                    mine = frozenset(int(p.removeprefix(start)) for p in beat.partitions if p.startswith(start))
                    if beat.service == "aggregator" and mine:
                        run.held[beat.worker.partition("/")[0]] = mine


async def read_all(settings: Settings, topics: list[str]) -> AsyncIterator[tuple[str, bytes]]:
    """Every committed record of the topics, from the start to the end: topic and value."""
    async with reader(settings, *topics) as consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        while [p for p, end in ends.items() if await consumer.position(p) < end]:
            for place, batch in (await consumer.getmany(timeout_ms=200)).items():
                for r in batch:
                    yield place.topic, r.value


def outages(run: Run, what: str) -> list[float]:
    """Seconds from each such fault to the next answer in each partition that it struck."""
    found = []
    for hit in run.hits:
        for partition in hit.partitions if hit.what == what else ():
            later = (at for p, at, stamp in run.seen if p == partition and stamp > hit.at_ms + _STRAY_MS)
            found.append(next(later, float("inf")) - hit.at)
    return found


async def judge(run: Run) -> bool:
    """The oracle's verdict."""
    answers: Counter[str] = Counter()
    wrong: dict[str, str] = {}
    async for _, value in read_all(run.settings, [run.topics.answers]):
        answer = CODEC.decode(value, Answer)
        answers[answer.request_id] += 1
        if answer.status != "completed" or answer.content != answer_of(answer.request_id):
            wrong[answer.request_id] = f"{answer.status} {answer.error or answer.content}"
    dispatched: Counter[tuple[str, str, int]] = Counter()
    async for _, value in read_all(run.settings, [run.topics.tasks(s) for s in SPECIALTIES]):
        task = CODEC.decode(value, Task)
        dispatched[task.request_id, task.task_id, task.attempt] += 1
    lost = len(set(run.sent) - set(answers))
    twice = sum(n > 1 for n in answers.values())
    repeats = sum(n > 1 for n in dispatched.values())
    again = sum(attempt > 1 for _, _, attempt in dispatched)
    print(
        f"{len(run.sent)} requests: lost {lost}, answered twice {twice}, wrong {len(wrong)}; "
        f"{len(dispatched) - again} of {TASKS * len(run.sent)} tasks dispatched, {repeats} of them twice; "
        f"sent again for silence {again}"
    )
    for name, what in list(wrong.items())[:5]:
        print(f"  wrong: {name}: {what}")
    for what in ("kill -9", "pause", "broker restart"):
        if not (took := outages(run, what)):
            continue
        told = mark(quantile(took, 0.99), 15, less=True) if what == "kill -9" else "no floor"
        print(f"  {what} -> next answer on the struck partitions: p50 {quantile(took, 0.5):.1f} s, "
              f"p99 {quantile(took, 0.99):.1f} s of {len(took)} ({told})")  # fmt: skip
    return not (lost or twice or wrong or repeats)


@contextlib.asynccontextmanager
async def begun(running: EmbeddedBroker, folder: Path) -> AsyncIterator[Run]:
    """Three aggregators that hold their partitions. None is left at the end."""
    settings = fresh(running.bootstrap, folder)
    await apply_topics(settings, load_specialties(settings.specialties))
    made = {n: Service("services.aggregator", settings, folder / f"{n}.log", HOCKET_INSTANCE=n) for n in "abc"}
    run = Run(settings=settings, topics=Topics(settings.prefix), aggregators=made, broker=running)
    beside = [asyncio.create_task(follow(run)), asyncio.create_task(workers(run))]
    try:
        for service in made.values():
            service.start()
        async with asyncio.timeout(60):
            while len(run.held) < len(made) or sum(map(len, run.held.values())) < settings.partitions:
                await asyncio.sleep(0.2)
        yield run
        for task in beside:
            if task.done():
                task.result()
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        for service in made.values():
            if service.process is not None and service.process.poll() is None:
                await asyncio.to_thread(service.kill)


async def main(arguments: argparse.Namespace) -> int:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a broker that is away is part of this
    sizes = {"requests": arguments.requests, "rate": f"{arguments.rate:g}/s", "seed": arguments.seed}
    print(
        conditions(**sizes, partitions=6, aggregators=3, session_timeout="6 s", faults_every=arguments.every),
        flush=True,
    )
    deaths: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="hocket-faults-") as name:
        async with broker() as running, begun(running, Path(name)) as run:
            at_once = asyncio.create_task(supervise(run, deaths))
            done = lambda: len(run.sent) >= arguments.requests  # noqa: E731
            hitting = asyncio.create_task(faults(run, arguments.only, arguments.every, arguments.seed, done))
            began = time.monotonic()
            await load(run, arguments.requests, arguments.rate, lambda: not hitting.done())
            await hitting
            span, end = time.monotonic() - began, time.monotonic() + 90
            while len(run.answered) < len(run.sent) and time.monotonic() < end:
                await asyncio.sleep(0.2)
            drained = time.monotonic() - began - span
            await asyncio.sleep(3)  # for strays
            at_once.cancel()
            good = await judge(run)
            print(
                f"sent {len(run.sent) / span:.0f} requests/s for {span:.0f} s, the last answer {drained:.1f} s later; "
                f"ended by themselves, as they should when fenced: {dict(deaths) or 'none'}; "
                f"load at the end {os.getloadavg()[0]:.1f}"
            )
            if arguments.keep:
                shutil.copytree(name, arguments.keep, dirs_exist_ok=True)
    print("nothing lost, nothing twice, nothing wrong" if good else "THE JOIN IS NOT RIGHT")
    return 0 if good else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.join_faults", description=__doc__)
    parser.add_argument("--requests", type=int, default=3_000, help="at least; 20000 is the full run")
    parser.add_argument("--rate", type=float, default=100, help="requests a second")
    parser.add_argument("--every", type=float, nargs=2, default=[20.0, 30.0], help="seconds between two faults")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="where to copy logs and state")
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS), help="which faults, in turn")
    sys.exit(asyncio.run(main(parser.parse_args())))
