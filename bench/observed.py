"""The dashboards and alerts on a running stack: a real Prometheus scrapes it, and every condition is really caused.

Aggregator, planner, three worker processes and the monitor, open requests over a scripted provider. First load, with a
few bad replies and one unreadable record; then the provider answers 529 to everything; then, when all is well again,
one worker is frozen and another stopped while tasks come. Every query of every panel must have given data at some
point. No alert may fire before its condition has begun, and each must fire after it: one that still fires from what was
before is waited out first. The rules are the shipped ones without their `for`, and with 20 s in the place of the 300 s
of HocketWorkersLate. Needs the `prometheus` binary. Takes about five minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from bench.conditions import broker, conditions
from hocket.cli.ask import Wish, build_request, submit
from hocket.contracts.specialties import load_specialties
from hocket.contracts.topics import Topics
from hocket.kafka.admin import apply_topics
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings
from tests.support.dashboards import plain, queries
from tests.support.ground import fresh, stub_task
from tests.support.kafka import Service, producing, running, send
from tests.support.otlp import Receiver, receiving
from tests.support.prometheus import Prometheus, free_port, impatient, prometheus
from tests.support.simulated import Reply, SimulatedProvider, prompt_of, tool_of

PLAN = {
    "tasks": [
        {"id": "facts", "specialty": "extraction", "instruction": "Find the parties.", "depends_on": []},
        {"id": "gist", "specialty": "summarisation", "instruction": "Sum up the offers.", "depends_on": []},
        {"id": "mood", "specialty": "sentiment", "instruction": "How do they sound?", "depends_on": []},
        {"id": "answer", "specialty": "synthesis", "instruction": "Recommend one.", "depends_on": ["facts", "gist"]},
    ],
    "output_task": "answer",
}
OUTPUTS: dict[str, dict[str, Any]] = {
    "Find the parties.": {"kind": "other", "text": "Three vendors: A, B, C.", "language": "en"},
    "Sum up the offers.": {"summary": "A is cheap.", "language": "en", "source_words": 3},
    "How do they sound?": {"label": "neutral", "score": 0.0, "intensity": "low", "language": "en"},
    "Recommend one.": {"text": "Take vendor A.", "sources": ["facts", "gist"]},
}
MALFORMED = "You already replied with:"
"""Stands in the prompt that asks to mend a reply."""
OUTAGE = ("HocketProviderErrors", "HocketBreakerOpen")
STANDING = ("HocketWorkersLate", "HocketPartitionStuck", "HocketNoConsumer")


class Script:
    """The provider: a plan, outputs; now and then a bad reply; in an outage only 529."""

    def __init__(self) -> None:
        self.calls, self.outage = 0, False

    def __call__(self, asked: dict[str, Any]) -> Reply:
        self.calls += 1
        if self.outage or self.calls % 25 == 0:
            return Reply(status=529)
        if tool_of(asked) == "decompose_task":
            return Reply(data=PLAN, delay_s=0.05)
        prompt = prompt_of(asked)
        if self.calls % 17 == 0 or (MALFORMED in prompt and self.calls % 2):  # mended sometimes, sometimes not
            return Reply(data={"not": "it"}, delay_s=0.05)
        found = next((v for k, v in OUTPUTS.items() if k in prompt), OUTPUTS["Sum up the offers."])
        return Reply(data=found, delay_s=0.1, cached_tokens=20)


class Stack:
    """The services, each with metrics on a port of its own."""

    def __init__(self, settings: Settings, folder: Path, env: dict[str, str]) -> None:
        self.settings, self.ports = settings, []
        # A frozen worker must keep its partitions, and one that is told to stop must not linger over a retry.
        env = env | {
            "HOCKET_PROVIDERS": "anthropic",
            "HOCKET_SESSION_TIMEOUT_MS": "180000",
            "HOCKET_GRACE_SECONDS": "5",
        }

        def service(name: str, module: str, *arguments: str, **more: str) -> Service:
            self.ports.append(free_port())
            own = {"HOCKET_INSTANCE": name, "HOCKET_HTTP_PORT": str(self.ports[-1]), **env, **more}
            return Service(module, settings, folder / f"{name}.log", *arguments, **own)

        workers = "services.workers"
        self.frozen = service("w-gist", workers, "--specialty", "summarisation")
        self.stopped = service("w-mood", workers, "--specialty", "sentiment")
        self.all = (
            service("a", "services.aggregator", HOCKET_SESSION_TIMEOUT_MS="6000"),
            service("p", "services.planner"),
            service("m", "services.monitor", HOCKET_SESSION_TIMEOUT_MS="6000"),
            service("w", workers, "--specialty", "extraction", "--specialty", "synthesis"),
            self.frozen,
            self.stopped,
        )


class Watch:
    """Asks Prometheus over and over; keeps which queries gave data, what fires now and what has ever fired."""

    def __init__(self, prom: Prometheus) -> None:
        self.prom = prom
        self.data: set[str] = set()
        self.firing: set[str] = set()
        self.fired: set[str] = set()

    def look(self) -> None:
        self.firing = self.prom.firing()
        self.fired |= self.firing
        for _, expression in queries():
            asked = plain(expression, specialty="summarisation")
            if asked not in self.data and self.prom.query(asked):
                self.data.add(asked)

    @property
    def empty(self) -> list[str]:
        return [f"{w}: {e}" for w, e in queries() if plain(e, specialty="summarisation") not in self.data]

    async def during(self, seconds: float) -> None:
        """Looks for so long."""
        await self._looking(lambda: False, seconds)

    async def quiet(self, alerts: Collection[str], seconds: float) -> None:
        """Waits until none of them fires. Raises AssertionError when they do not end."""
        ended = await self._looking(lambda: not self.firing & set(alerts), seconds)
        assert ended, f"still firing after {seconds:.0f} s: {self.firing & set(alerts)}"

    async def until(self, alerts: Collection[str], seconds: float) -> dict[str, float]:
        """Looks until each has fired; after how many seconds each did. NaN for one that did not in time."""
        since, found = time.monotonic(), dict.fromkeys(alerts, float("nan"))

        def all_seen() -> bool:
            for alert in self.firing & found.keys():
                if found[alert] != found[alert]:
                    found[alert] = time.monotonic() - since
            return not any(after != after for after in found.values())

        await self._looking(all_seen, seconds)
        return found

    async def _looking(self, enough: Callable[[], bool], seconds: float) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.to_thread(self.look)
            if enough():
                return True
            await asyncio.sleep(1)
        return False


async def load(settings: Settings, per_second: float) -> None:
    """Open requests until it is cancelled."""
    number = 0
    while True:
        number += 1
        wish = Wish(text=f"Compare the vendors, take {number}.", strategy="best")
        request = build_request(wish, settings, request_id=f"r-{number}", now_ms=now_ms())
        await submit(settings, request)
        await asyncio.sleep(1 / per_second)


async def loose(settings: Settings, specialty: str, name: str, count: int) -> None:
    """Tasks that no request stands behind."""
    tasks = [stub_task(f"{name}-{n}", specialty=specialty, instruction="Sum up the offers.") for n in range(count)]
    async with producing(settings) as producer:
        await send(producer, Topics(settings.prefix).tasks(specialty), *tasks)


def because(what: str, found: dict[str, float]) -> dict[str, float]:
    """What was found, with its cause before it."""
    return {f"{what} -> {alert}": after for alert, after in found.items()}


async def story(stack: Stack, script: Script, watch: Watch, seconds: float) -> dict[str, float]:
    """What is done to the stack; seconds from each condition to its alerts."""
    settings, found = stack.settings, {}
    asking = asyncio.create_task(load(settings, 1.0))
    try:
        await loose(settings, "summarisation", "early", 5)
        await watch.during(seconds)
        early = watch.fired & {*OUTAGE, *STANDING, "HocketDeadLetters"}
        assert not early, f"fired without a reason: {early}"
        async with producing(settings) as producer:
            await producer.send_and_wait(Topics(settings.prefix).requests, b"no record", key=b"bad")
        found |= because("one unreadable record", await watch.until(("HocketDeadLetters",), 60))
        early = watch.fired & {*OUTAGE, *STANDING}
        assert not early, f"fired without a reason: {early}"
        script.outage = True
        found |= because("529 to every call", await watch.until(OUTAGE, 150))
        script.outage = False
        await watch.during(20)  # requests go on, so that the models are tried again and what was held up is done
        assert not asking.done(), "the load has ended by itself"
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    await watch.quiet(STANDING, 120)
    stack.frozen.signal(signal.SIGSTOP)
    await asyncio.to_thread(stack.stopped.stop)
    for specialty in ("summarisation", "sentiment"):
        await loose(settings, specialty, "late", 12)
    return found | because("one worker frozen, one stopped", await watch.until(STANDING, 180))


async def all_ready(stack: Stack) -> None:
    """Returns when every service says so: load that comes before them would look like lag."""
    waiting = set(stack.ports)
    async with asyncio.timeout(180):
        while waiting:
            waiting -= {p for p in waiting if await asyncio.to_thread(ready, p)}
            ended = [s for s in stack.all if s.process is not None and s.process.poll() is not None]
            assert not ended, f"{ended[0].log.name}:\n{ended[0].tail()}"
            await asyncio.sleep(0.5)


def ready(port: int) -> bool:
    """Whether a service answers that it is."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


async def run(settings: Settings, folder: Path, seconds: float, got: Receiver) -> int:
    script = Script()
    await apply_topics(settings, load_specialties(None))
    async with SimulatedProvider(script) as provider:
        stack = Stack(settings, folder, provider.env("anthropic") | got.env())
        rules = impatient(folder, {"HocketWorkersLate": ("> 300", "> 20")})
        with running(*stack.all):
            await all_ready(stack)
            with prometheus(folder, stack.ports, rules) as prom:
                watch = Watch(prom)
                found = await story(stack, script, watch, seconds)
                exemplars = prom.exemplars("hocket_task_seconds_bucket")
    return report(found, watch, exemplars, got)


def report(found: dict[str, float], watch: Watch, exemplars: list[dict[str, Any]], got: Receiver) -> int:
    for what, after in found.items():
        print(f"{what}: {'NOT FIRED' if after != after else f'fired {after:.0f} s later'}")
    print(f"all alerts that fired: {', '.join(sorted(watch.fired))}")
    empty = watch.empty
    print(f"dashboard queries: {len(queries())}, without data at any time: {len(empty)}")
    for line in empty:
        print(f"  {line}")
    traces = {s.trace for s in got.spans}
    known = sum(e["labels"].get("trace_id") in traces for e in exemplars)
    print(f"exemplars in Prometheus: {len(exemplars)}, of traces that the receiver has: {known}")
    late = [w for w, after in found.items() if after != after]
    return 1 if late or empty or not known else 0


async def main(arguments: argparse.Namespace) -> int:
    print(conditions(load=f"{arguments.seconds:.0f} s at 1 request/s"))
    with tempfile.TemporaryDirectory() as name, receiving() as got:
        async with broker() as kafka:
            settings = fresh(kafka.bootstrap, Path(name), partitions=4)
            return await run(settings, Path(name), arguments.seconds, got)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.observed", description=__doc__)
    parser.add_argument("--seconds", type=float, default=45, help="load before anything is broken")
    sys.exit(asyncio.run(main(parser.parse_args())))
