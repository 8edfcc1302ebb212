"""A provider that is away for a minute, in real time: `python -m bench.outage [--seconds 60]`.

Real broker, the services as processes with the settings as shipped, both real SDKs. Requests come at a steady pace; the
preferred provider answers 503 for the length of the outage. Every request must be completed, by the other provider
while the first one is away; the breaker must open and close again, and the worker's own metrics must show it.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import re
import socket
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from bench.chaos import ground
from bench.conditions import conditions, quantile
from hocket.contracts.records import Answer, Policy, Request
from hocket.contracts.topics import Topics
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings
from tests.support.chaotic import WORKFLOW
from tests.support.kafka import Service, producing, read, running, send
from tests.support.simulated import Reply, SimulatedProvider, running_provider

BEFORE_S, AFTER_S = 15.0, 45.0
HAIKU = "anthropic/claude-haiku-5-5"
_BREAKER = re.compile(rf'^hocket_model_breaker{{engine="{HAIKU}"}} (\S+)$', re.MULTILINE)
_CHANGES = re.compile(rf'^hocket_model_breaker_changes_total{{engine="{HAIKU}",state="(\w+)"}} (\S+)$', re.MULTILINE)
_LEVELS = {0.0: "closed", 1.0: "half open", 2.0: "open"}


class Away:
    """A provider of two, of which one can be away."""

    def __init__(self) -> None:
        self.down = False

    def __call__(self, request: dict[str, Any]) -> Reply:
        if self.down and request["api"] == "anthropic":
            return Reply(status=503)
        return Reply(data={"text": request["api"], "language": "en"}, delay_s=0.2)


async def measure(seconds: float, per_second: float) -> int:
    """Prints the figures; the exit code."""
    away = Away()
    with running_provider(away) as provider:
        async with ground() as (settings, folder):
            port = _free_port()
            with ExitStack() as stack:
                stack.enter_context(running(*_services(settings, folder, port, provider.env())))
                feeding = asyncio.create_task(_feed(settings, per_second, BEFORE_S + seconds + AFTER_S, away, seconds))
                seen = await _watch(port, feeding)
                number = await feeding
                answers = await read(
                    settings,
                    Topics(settings.prefix).answers,
                    Answer,
                    until=lambda found: len(found) >= number,
                    timeout=60,
                )
                changes = dict(_CHANGES.findall(await _metrics(port)))
    return _print(answers, number, seen, changes, provider)


def _services(settings: Settings, folder: Path, port: int, env: dict[str, str]) -> list[Service]:
    flows = folder / "flows"
    flows.mkdir()
    (flows / "drafts.yaml").write_text(WORKFLOW)
    env = env | {"HOCKET_WORKFLOWS": str(flows)}
    return [
        Service("services.aggregator", settings, folder / "aggregator.log", HOCKET_INSTANCE="a", **env),
        Service(
            "services.workers",
            settings,
            folder / "workers.log",
            "--specialty",
            "writing",
            HOCKET_HTTP_PORT=str(port),
            **env,
        ),
    ]


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def _feed(settings: Settings, per_second: float, lasting_s: float, away: Away, outage_s: float) -> int:
    """Requests at a steady pace; how many. The provider goes and comes meanwhile."""
    began, number, topic = time.monotonic(), 0, Topics(settings.prefix).requests
    async with producing(settings) as producer:
        while (passed := time.monotonic() - began) < lasting_s:
            away.down = BEFORE_S <= passed < BEFORE_S + outage_s
            due = int(passed * per_second)
            await send(producer, topic, *(_request(n) for n in range(number, due)))
            number = max(number, due)
            await asyncio.sleep(0.1)
    return number


def _request(number: int) -> Request:
    return Request(
        request_id=f"case-{number}-",
        text=f"Write about case-{number}-.",
        workflow="drafts",
        policy=Policy(deadline=now_ms() + 120_000),
        submitted_at=now_ms(),
    )


async def _watch(port: int, feeding: asyncio.Task[int]) -> list[tuple[float, str]]:
    """The breaker's states by the worker's metrics, with the second at which each was first seen."""
    began, seen = time.monotonic(), list[tuple[float, str]]()
    while not feeding.done():
        found = _BREAKER.search(await _metrics(port))
        state = _LEVELS[float(found[1])] if found else ""
        if state and (not seen or seen[-1][1] != state):
            seen.append((time.monotonic() - began, state))
        await asyncio.sleep(0.25)
    return seen


async def _metrics(port: int) -> str:
    def fetch() -> str:
        try:
            with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
                return str(response.read().decode())
        except OSError:  # not up yet
            return ""

    return await asyncio.to_thread(fetch)


def _print(
    answers: list[Answer],
    number: int,
    seen: list[tuple[float, str]],
    changes: dict[str, str],
    provider: SimulatedProvider,
) -> int:
    ended = Counter(a.status for a in answers)
    print(f"{len(answers)} answers to {number} requests: {', '.join(f'{n} {s}' for s, n in ended.most_common())}")
    took = [float(a.receipt.answered_at - a.receipt.admitted_at) for a in answers]
    print(f"from admission to answer: p50 {quantile(took, 0.5):.0f} ms, p99 {quantile(took, 0.99):.0f} ms")
    refused = sum(c.status == 503 for c in provider.log)
    print(f"{refused} of {len(provider.log)} calls met the provider that was away")
    print(f"breaker of {HAIKU} in the worker's metrics: {', '.join(f'{s} at {at:.0f} s' for at, s in seen)}")
    print(f"changes counted: {', '.join(f'{state} {float(n):.0f}' for state, n in sorted(changes.items()))}")
    states = [state for _, state in seen]
    good = ended["completed"] == number and "open" in states and states[-1] == "closed"
    print("all completed, breaker opened and closed" if good else "NOT AS IT MUST BE")
    return 0 if good else 1


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="A provider that is away for a while.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--per-second", type=float, default=3)
    given = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    print("simulated provider")
    print(conditions(outage_seconds=given.seconds, requests_a_second=given.per_second))
    sys.exit(asyncio.run(measure(given.seconds, given.per_second)))


if __name__ == "__main__":
    main()
