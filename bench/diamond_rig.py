"""The diamond's rig: its processes, its client, and two looks from outside: CPU time, and the broker's stamps."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Literal

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from bench.conditions import quantile
from bench.diamond_stub import ANSWERS, LAST, PARALLEL, ROLES
from hocket.contracts.codec import Codec
from hocket.contracts.records import Answer, Policy, Request
from hocket.contracts.specialties import load_specialties
from hocket.contracts.topics import Topics
from hocket.kafka.admin import apply_topics
from hocket.local.broker import EmbeddedBroker
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings
from services.planner.service import PLANNING
from tests.support.kafka import Service, producing, reader

CODEC = Codec()
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used, in all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def threads_s(pid: int) -> Counter[str]:
    """The same by thread; the first one is called main."""
    found: Counter[str] = Counter()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            name, _, rest = (task / "stat").read_text().partition("(")[2].rpartition(")")
            fields = rest.split()
            found["main" if int(task.name) == pid else name] += (int(fields[11]) + int(fields[12])) / _TICKS
    return found


class Rig:
    """One installation: an aggregator, a planner and four workers, each a process. Every one is gone at the end."""

    def __init__(
        self, broker: EmbeddedBroker, settings: Settings, folder: Path, *, stub_ms: float, ledger: bool, plan: str,
        real: Mapping[str, str],
    ) -> None:  # fmt: skip
        self.broker, self.settings, self.folder = broker, settings, folder
        self.topics = Topics(settings.prefix)
        self.ledger = folder / f"{settings.prefix}ledger"
        self._stub = {"STUB_MS": str(stub_ms), "STUB_LEDGER": str(self.ledger) if ledger else ""}
        self._stub["STUB_PLAN"] = plan
        self._real = real
        self.aggregator = Service(
            "services.aggregator", settings, folder / "aggregator.log", HOCKET_INSTANCE="a0", **self._limits
        )
        self.workers = {r: self._worker(r) for r in ROLES}
        self.client: Client

    @property
    def _limits(self) -> dict[str, str]:
        s = self.settings
        return {
            "HOCKET_CONCURRENCY": str(s.concurrency),
            "HOCKET_SESSION_TIMEOUT_MS": str(s.session_timeout_ms),
            "HOCKET_BUNDLES": str(s.bundles),
        }

    def _worker(self, role: str) -> Service:
        log = self.folder / f"{role}.log"
        if self._real:
            words = ("services.planner",) if role == PLANNING else ("services.workers", "--specialty", role)
            given = self._limits | dict(self._real) | {"HOCKET_INSTANCE": f"w-{role}"}
            return Service(words[0], self.settings, log, *words[1:], **given)
        return Service(
            "bench.diamond_stub", self.settings, log, role, HOCKET_INSTANCE=f"w-{role}", **self._limits, **self._stub
        )

    def profiled(self, where: Path) -> None:
        """The aggregator is to write a profile of its main thread when it stops."""
        self.aggregator.command = [sys.executable, "-m", "cProfile", "-o", str(where), "-m", "services.aggregator"]

    def pids(self) -> dict[str, int]:
        """Of every process, the client's and the broker's among them."""
        services = {"aggregator": self.aggregator, **self.workers}
        started = {name: s.process.pid for name, s in services.items() if s.process is not None}
        return started | {"broker": self.broker.pid, "client": os.getpid()}

    def cpu(self) -> dict[str, float]:
        """Seconds of CPU so far, by process."""
        return {name: cpu_s(pid) for name, pid in self.pids().items()}

    def kill_workers(self) -> None:
        """kill -9 of the planner and all workers, and each started again at once."""
        for service in self.workers.values():
            assert service.process is not None
            service.process.kill()
        for service in self.workers.values():
            assert service.process is not None
            service.process.wait()
            service.start()


class Client:
    """Sends requests and reads their answers, read_committed; remembers when, and what was answered twice or wrong."""

    def __init__(self, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer, topics: Topics, right: str) -> None:
        self._producer, self._consumer, self._topics, self._right = producer, consumer, topics, right
        self.bundled = 0
        self.strategy: Literal["balanced", "best"] = "balanced"
        self.sent: dict[str, float] = {}
        self.answered: dict[str, float] = {}
        self.again: Counter[str] = Counter()
        self.wrong: dict[str, str] = {}
        self._came = asyncio.Event()

    async def send(self, name: str) -> None:
        """Returns when it is handed to the client; the answer comes when it comes."""
        text, policy = "Weigh these three offers, please.", Policy(strategy=self.strategy)
        record = Request(request_id=name, text=text, policy=policy, submitted_at=now_ms())
        self.sent[name] = time.monotonic()
        value = CODEC.encode(record, self._topics.requests)
        await self._producer.send(self._topics.requests, value, key=name.encode())

    @property
    def open(self) -> int:
        return len(self.sent) - len(self.answered)

    async def follow(self) -> None:
        """Reads answers until cancelled."""
        while True:
            for batch in (await self._consumer.getmany(timeout_ms=1000)).values():
                for r in batch:
                    self._take(r.key.decode(), CODEC.decode(r.value, Answer))
            self._came.set()

    def _take(self, name: str, answer: Answer) -> None:
        if name in self.answered:
            self.again[name] += 1
            return
        self.answered[name] = time.monotonic()
        self.bundled += sum(t.bundled_with is not None for t in answer.receipt.tasks)
        if answer.content != self._right:
            self.wrong[name] = f"{answer.status}: {answer.content or answer.error}"

    async def until(self, most_open: int, seconds: float) -> bool:
        """Waits until so many requests are open at most; False when time is over."""
        end = time.monotonic() + seconds
        while self.open > most_open:
            self._came.clear()
            try:
                await asyncio.wait_for(self._came.wait(), max(0.0, end - time.monotonic()))
            except TimeoutError:
                return False
        return True

    def faults(self) -> str:
        """What a good run has none of."""
        wrong = f" ({next(iter(self.wrong.values()))})" if self.wrong else ""
        return f"unanswered {self.open}, answered twice {len(self.again)}, wrong {len(self.wrong)}{wrong}"


@contextlib.asynccontextmanager
async def rig(broker: EmbeddedBroker, settings: Settings, folder: Path, *, stub_ms: float = 0, ledger: bool = False,
              profile: Path | None = None, plan: str = "diamond", real: Mapping[str, str] | None = None,
              right: str = "") -> AsyncIterator[Rig]:  # fmt: skip
    """A warm rig: some requests have been answered. Raises SystemExit with a log's end when it does not come up.

    `real`: the shipped planner and workers in the place of stubs, with this environment, whose `right` answer every
    request wants (with the strategy best, so that all tasks go to models).
    """
    folder.mkdir(parents=True, exist_ok=True)
    await apply_topics(settings, load_specialties(settings.specialties))
    made = Rig(broker, settings, folder, stub_ms=stub_ms, ledger=ledger, plan=plan, real=real or {})
    if profile is not None:
        made.profiled(profile)
    following: asyncio.Task[None] | None = None
    try:
        for service in (made.aggregator, *made.workers.values()):
            service.start()
        async with producing(settings) as producer, reader(settings, made.topics.answers) as consumer:
            made.client = Client(producer, consumer, made.topics, right or ANSWERS[plan])
            made.client.strategy = "best" if real else "balanced"
            following = asyncio.create_task(made.client.follow())
            for number in range(50):
                await made.client.send(f"warm{number}")
            if not await made.client.until(0, 120):  # a loaded machine takes long to start six processes
                raise SystemExit(f"the rig does not answer:\n{made.aggregator.tail()}\n{made.workers[PLANNING].tail()}")
            yield made
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
    finally:
        if following is not None:
            following.cancel()
        await asyncio.gather(*(asyncio.to_thread(_ended, s) for s in (made.aggregator, *made.workers.values())))


def _ended(service: Service) -> None:
    if service.process is not None and service.process.poll() is None:
        try:
            service.stop()
        except subprocess.TimeoutExpired:  # it was killed after its time-out: nothing is left
            print(f"{service.log.name} did not stop in time")


HOPS = (
    ("request -> planning task", "requests", "planning task", "aggregator, transaction"),
    ("planning task -> plan", "planning task", "plan", "planner"),
    ("plan -> first task", "plan", "first task", "aggregator, transaction"),
    ("first task -> last of three results", "first task", "third result", "three workers"),
    ("third result -> synthesis task", "third result", "synthesis task", "aggregator, transaction"),
    ("synthesis task -> result", "synthesis task", "last result", "worker"),
    ("last result -> answer", "last result", "answers", "aggregator, transaction"),
)


async def stamps(made: Rig, prefix: str) -> dict[str, dict[str, int]]:
    """For each request whose id begins so: when the broker appended each of its records, in milliseconds."""
    t = made.topics
    names = {t.requests: "requests", t.plans: "plan", t.tasks(PLANNING): "planning task", t.answers: "answers"}
    names |= {t.tasks(LAST): "synthesis task", t.results: "result"} | {t.tasks(p): "task" for p in PARALLEL}
    found: dict[str, dict[str, list[int]]] = {}
    async with reader(made.settings, *names) as consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        while [p for p, end in ends.items() if await consumer.position(p) < end]:
            for place, batch in (await consumer.getmany(timeout_ms=200)).items():
                for r in batch:
                    if (name := r.key.decode()).startswith(prefix):
                        found.setdefault(name, {}).setdefault(names[place.topic], []).append(r.timestamp)
    return {n: _moments(f) for n, f in found.items() if len(f.get("result", ())) == 4 and "answers" in f}


def _moments(found: dict[str, list[int]]) -> dict[str, int]:
    results = sorted(found["result"])
    first = {name: min(at) for name, at in found.items()}
    return first | {"first task": first["task"], "third result": results[2], "last result": results[3]}


def hops(seen: dict[str, dict[str, int]]) -> list[str]:
    """One line for each hop: its median and p95 by the broker's stamps."""
    lines = []
    for what, start, end, who in HOPS:
        took = [float(m[end] - m[start]) for m in seen.values()]
        lines.append(f"  {what:<36} p50 {quantile(took, 0.5):5.0f} ms   p95 {quantile(took, 0.95):5.0f} ms   {who}")
    return lines
