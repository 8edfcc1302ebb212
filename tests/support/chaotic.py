"""Requests over a real broker, real services and real SDKs, to a provider that fails in every way at once.

The oracle is twofold: the provider's own log, and the attempts that the workers' results tell.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hocket.contracts.records import Answer, Attempt, Policy, Request, Result
from hocket.contracts.topics import Topics
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings
from tests.support.kafka import Service, answers_of, read, running
from tests.support.simulated import Logged, Reply, prompt_of, tool_of

WORKFLOW = """\
name: drafts
description: Two drafts side by side, one of them optional, and one that joins them.
tasks:
  - {id: first, specialty: writing, instruction: Draft it.}
  - {id: second, specialty: writing, instruction: Draft it otherwise., optional: true}
  - {id: last, specialty: writing, instruction: Join the drafts., needs: [first, second]}
output: last
"""
PLAN = {
    "tasks": [
        {"id": "first", "specialty": "writing", "instruction": "Draft it.", "depends_on": []},
        {"id": "last", "specialty": "writing", "instruction": "Better it.", "depends_on": ["first"]},
    ]
}
OPEN_EVERY = 10
"""One request in so many is planned by a model."""
RETRY_AFTER_S = 1
QUICK = {
    "HOCKET_RETRY_MS": "50,200",
    "HOCKET_BREAKER_OPEN_MS": "200",
    "HOCKET_STALL_MS": "1000",
    "HOCKET_PATIENCE_MS": "10000",
}
"""Waits that suit a provider which answers in 50 ms."""
_CASE = re.compile(r"case-\d+-")


class Chaos:
    """Fails one call in five, each time in another way; slow first pieces beside that."""

    def __init__(self, seed: int, *, rate: float = 0.2) -> None:
        self.chance, self.rate = random.Random(seed), rate
        self.injected: Counter[str] = Counter()

    def __call__(self, request: dict[str, Any]) -> Reply:
        good = self.good(request)
        if self.chance.random() >= self.rate:
            slow = self.chance.random() < 0.02
            self.injected["slow first piece"] += slow
            return Reply(data=good, delay_s=0.3 if slow else self.chance.uniform(0.01, 0.05))
        name, reply = self.chance.choice(self._faults(good, streams=bool(request.get("stream"))))
        self.injected[name] += 1
        return reply

    def good(self, request: dict[str, Any]) -> Any:
        """What a call that goes well is answered."""
        return PLAN if tool_of(request) == "decompose_task" else {"text": "A draft. " * 8, "language": "en"}

    @staticmethod
    def _faults(good: Any, *, streams: bool) -> list[tuple[str, Reply]]:
        wait = {"retry-after": str(RETRY_AFTER_S)}
        errors = [
            ("429", Reply(status=429, code="rate_limit_error", headers=wait)),
            ("529", Reply(status=529, code="overloaded_error")),
            ("500", Reply(status=500)),
            ("dropped", Reply(drop=True)),
            ("no JSON", Reply(raw="<html>bad gateway</html>")),
        ]
        broken = [
            (f"stream: {f}", Reply(data=good, fault=f)) for f in ("drop", "truncate", "malform", "stall", "error")
        ]
        return errors + broken if streams else errors


@dataclass(frozen=True, kw_only=True)
class Survived:
    """What came of it."""

    answers: Sequence[Answer]
    results: Sequence[Result]
    seconds: float

    @property
    def ended(self) -> Counter[str]:
        """Answers by status."""
        return Counter(a.status for a in self.answers)

    @property
    def dishonest(self) -> list[str]:
        """Answers that neither deliver all, nor deliver what there is and say what is missing."""
        return [a.request_id for a in self.answers if not _is_honest(a)]

    @property
    def early(self) -> list[tuple[Attempt, Attempt]]:
        """Calls of any task that a worker began within a Retry-After that it had been told before."""
        return early_in([a for r in self.results for a in r.attempts])


def _is_honest(answer: Answer) -> bool:
    if answer.status == "completed":
        return bool(answer.content) and answer.error is None
    return answer.status == "partial" and bool(answer.content) and bool(answer.receipt.left_out)


def early_in(attempts: Iterable[Attempt], rest_ms: int = 1_000 * RETRY_AFTER_S) -> list[tuple[Attempt, Attempt]]:
    """Attempts at a model that were begun within a Retry-After that had been told before, by the worker's clock.

    The provider's log cannot tell them from calls that were on their way when the refusal arrived.
    """
    tried = [a for a in attempts if a.engine != "local"]
    refused = [a for a in tried if a.outcome == "rate_limited"]
    return [
        (r, a)
        for r in refused
        for a in tried
        if a.engine == r.engine and r.ended_at < a.started_at < r.ended_at + rest_ms
    ]


def task_of(request: dict[str, Any]) -> tuple[str, str]:
    """Case and instruction of the task that a call is for."""
    prompt = prompt_of(request)
    found = _CASE.search(prompt)
    assert found is not None, prompt[:200]
    return found.group(), prompt.split("\n", 2)[1]


def early_by_log(log: Sequence[Logged]) -> list[tuple[Logged, Logged]]:
    """By the provider's log: calls of a task to a model within the Retry-After that this task had been told before."""
    by_task: dict[tuple[Any, ...], list[Logged]] = {}
    for call in log:
        by_task.setdefault((task_of(call.request), call.api, call.model), []).append(call)
    return [
        (refused, c)
        for calls in by_task.values()
        for refused in calls
        for c in calls
        if refused.status == 429 and refused.started_at < c.started_at < (refused.ended_at or 0.0) + RETRY_AFTER_S
    ]


async def run_chaotic(
    settings: Settings, topics: Topics, folder: Path, requests: int, *, at_once: int, plans: bool = True, **env: str
) -> Survived:
    """Sends the requests, `at_once` of them in flight, and waits for all answers."""
    flows = folder / "flows"
    flows.mkdir(exist_ok=True)
    (flows / "drafts.yaml").write_text(WORKFLOW)
    more = {"HOCKET_WORKFLOWS": str(flows), "HOCKET_CONCURRENCY": str(max(64, 2 * at_once))} | QUICK | env
    loop = asyncio.get_running_loop()
    with ExitStack() as stack:
        stack.enter_context(
            running(
                Service("services.aggregator", settings, folder / "aggregator.log", HOCKET_INSTANCE="a", **more),
                Service("services.planner", settings, folder / "planner.log", **more),
                Service("services.workers", settings, folder / "workers.log", "--specialty", "writing", **more),
            )
        )
        began = loop.time()
        wanted = (_request(n, plans=plans) for n in range(requests))  # each is made when it is sent
        answers = await answers_of(settings, topics, wanted, requests, at_once=at_once)
        seconds = loop.time() - began
    results = await read(settings, topics.results, Result, until=lambda _: False, timeout=3)
    return Survived(answers=answers, results=results, seconds=seconds)


def _request(number: int, *, plans: bool) -> Request:
    return Request(
        request_id=f"case-{number}-",
        text=f"Write about case-{number}- and what came of it.",
        workflow=None if plans and number % OPEN_EVERY == 0 else "drafts",
        policy=Policy(deadline=now_ms() + 300_000),
        submitted_at=now_ms(),
    )
