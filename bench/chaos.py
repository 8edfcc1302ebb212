"""Requests through a provider that fails in every way at once: `python -m bench.chaos [--judge]`.

Real broker, the services as processes, both real SDKs. The simulated provider fails one call in five: 429 with
Retry-After, 529, 500, dropped connections, bodies that are no JSON, streams that are cut, malformed, stalled, ended
early or by an error, and slow first pieces beside that. Every request must get a complete or an honestly partial
answer, without a storm of retries, and no Retry-After may be violated.

`--judge`: against llmock at half the rates, whose own judge then says in strict mode what the clients did wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bench.conditions import broker, conditions
from hocket.contracts.specialties import load_specialties
from hocket.contracts.topics import Topics
from hocket.kafka.admin import apply_topics
from hocket.runtime.settings import Settings
from tests.support.chaotic import Chaos, Survived, early_by_log, run_chaotic, task_of
from tests.support.ground import fresh
from tests.support.simulated import SimulatedProvider

MOST_CALLS = 12
"""What one task may ask of models, all told: HOCKET_MAX_CALLS."""
RATES = {429: 0.04, 529: 0.04, 500: 0.04}
STREAM_RATES = (("disconnect", 0.02), ("truncate", 0.02), ("malformed", 0.02), ("stall", 0.02))


@asynccontextmanager
async def ground(**changes: Any) -> AsyncIterator[tuple[Settings, Path]]:
    """A broker with topics, and a folder. `changes` are settings other than the usual ones."""
    async with broker() as running:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            settings = fresh(running.bootstrap, folder, **({"partitions": 4} | changes))
            await apply_topics(settings, load_specialties(settings.specialties))
            yield settings, folder


async def chaos(requests: int, at_once: int, seed: int) -> int:
    """Against the simulated provider; the exit code."""
    script = Chaos(seed)
    provider = SimulatedProvider(script).start_in_thread()
    try:
        async with ground() as (settings, folder):
            topics = Topics(settings.prefix)
            found = await run_chaotic(settings, topics, folder, requests, at_once=at_once, **provider.env())
    finally:
        provider.stop_thread()
    faults = sum(script.injected.values()) - script.injected["slow first piece"]
    print(f"{faults} of {len(provider.log)} calls failed by order ({faults / len(provider.log):.1%}): {_told(script)}")
    ok = _answers(found, requests)
    by_task = Counter(task_of(c.request) for c in provider.log)
    storm = max(by_task.values()) > MOST_CALLS or len(provider.log) >= 2 * len(by_task)
    print(
        f"{len(provider.log)} calls for {len(by_task)} tasks: {len(provider.log) / len(by_task):.2f} a task, at most "
        f"{max(by_task.values())}: {'A STORM' if storm else 'no storm (fewer than twice the tasks, at most 12)'}"
    )
    early = len(early_by_log(provider.log)) + len(found.early)
    print(f"calls within a Retry-After that was known: {early}; must be 0")
    return 0 if ok and not storm and not early else 1


def _told(script: Chaos) -> str:
    return ", ".join(f"{name} {n}" for name, n in sorted(script.injected.items()))


def _answers(found: Survived, requests: int) -> bool:
    ended = ", ".join(f"{n} {status}" for status, n in found.ended.most_common())
    print(f"{len(found.answers)} answers to {requests} requests in {found.seconds:.0f} s: {ended}")
    print(f"neither complete nor honestly partial: {len(found.dishonest)}; must be 0")
    return len(found.answers) == requests and not found.dishonest


async def judged(requests: int, at_once: int) -> int:
    """Against llmock, judged by it; the exit code."""
    from llmock.chaos import ChaosSettings, StreamChaos
    from llmock.testing import LLMockServer
    from llmock.verdict import judge

    # The judge sees one model at a time: a call whose third try breaks off, too, goes to another model, which looks to
    # it as if half a reply had been used. With faults in a fifth of the tries that is one call in a hundred, with a
    # tenth one in a thousand.
    errors = {status: share / 2 for status, share in RATES.items()}
    breaks = tuple((what, share / 2) for what, share in STREAM_RATES)
    with LLMockServer(chaos=ChaosSettings(error_rates=errors)) as server:
        # Paced, because a stream that is written at once has ended before its client can turn away from it.
        server.state.stream_chaos = StreamChaos(fault_rates=breaks, stall_seconds=5, chunk_delay_ms=60)
        # Waits as shipped: on a busy machine short ones all look alike, and the judge calls them constant.
        env = {"HOCKET_ALLOW_REAL_MODELS": "0", "HOCKET_RETRY_MS": ""}
        for api in ("anthropic", "openai"):
            env |= {f"{api.upper()}_BASE_URL": server.base_url(api), f"{api.upper()}_API_KEY": "sk-test-llmock"}
        async with ground() as (settings, folder):
            topics = Topics(settings.prefix)
            found = await run_chaotic(settings, topics, folder, requests, at_once=at_once, plans=False, **env)
        verdict = judge(server.state.journal.records())
    ok = _answers(found, requests)
    print(verdict.render()[:6_000])
    return 0 if ok and not verdict.findings else 1


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Requests through a provider that fails in every way.")
    parser.add_argument("--requests", type=int, default=1_000)
    parser.add_argument("--at-once", type=int, default=50)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--judge", action="store_true", help="against llmock, judged by it in strict mode")
    given = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    print("llmock" if given.judge else "simulated provider")
    print(conditions(requests=given.requests, at_once=given.at_once))
    work = judged(given.requests, given.at_once) if given.judge else chaos(given.requests, given.at_once, given.seed)
    sys.exit(asyncio.run(work))


if __name__ == "__main__":
    main()
