"""Requests with caps over a real broker, real services and real SDKs, to a simulated provider that keeps the books."""

from __future__ import annotations

import random
import re
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hocket.contracts.records import Answer, Policy, Request
from hocket.contracts.topics import Topics
from hocket.llm.catalogue import load_catalogue
from hocket.llm.prices import Tokens, cost_usd
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings
from tests.support.kafka import Service, answers_of, running
from tests.support.simulated import Logged, Reply, SimulatedProvider, prompt_of, tool_of

WORKFLOW = """\
name: twice
description: Two drafts side by side, one of them optional, and one that joins them.
tasks:
  - {id: first, specialty: writing, instruction: Draft it.}
  - {id: second, specialty: writing, instruction: Draft it otherwise., optional: true}
  - {id: last, specialty: writing, instruction: Join the drafts., needs: [first, second]}
output: last
"""
_NUMBER = re.compile(r"case-(\d+)-")
_PRICES = {e.id: e for e in load_catalogue()}


class Books:
    """The provider's side: what it would answer, and what each request has cost by its own log at list price.

    A call that the client broke off costs what had been sent when it broke: here all of its input, and all the output
    that a reply would have had.
    """

    def __init__(self, seed: int, *, faults: float = 0.1, slow_s: float) -> None:
        self._dice, self._faults, self._slow_s = random.Random(seed), faults, slow_s
        self.bills: dict[int, tuple[int, int]] = {}

    def script(self, asked: dict[str, Any]) -> Reply:
        """A draft of a length by chance, or a fault; the input is counted as four characters to a token."""
        dice = self._dice
        given, wanted = len(str(asked)) // 4, dice.randint(50, 900)
        delay = dice.uniform(0.5, 1.5) * self._slow_s if dice.random() < 0.97 else 5.0  # then it is broken off
        if dice.random() < self._faults:
            return Reply(status=529, code="overloaded_error", delay_s=delay)
        if tool_of(asked) == "decompose_task":
            raise AssertionError("nothing is planned here")
        wrote = min(wanted, asked["max_tokens"])
        self.bills[id(asked)] = (given, wrote)
        text = "A draft. " * 20
        stop = "max_tokens" if wrote < wanted else None
        data = {"text": text, "language": "en"}
        return Reply(data=data, delay_s=delay, input_tokens=given, output_tokens=wrote, stop=stop)

    def cost_of(self, call: Logged) -> float:
        """What one call cost at list price."""
        bill = self.bills.get(id(call.request))
        if bill is None:
            return 0.0
        found = cost_usd(_PRICES[call.model], Tokens(input=bill[0], output=bill[1]), at_ms=int(call.started_at * 1000))
        assert found is not None
        return found

    def by_case(self, log: list[Logged]) -> dict[int, float]:
        """What each case cost."""
        costs: Counter[int] = Counter()
        for call in log:
            case = _NUMBER.search(prompt_of(call.request))
            assert case is not None
            costs[int(case.group(1))] += self.cost_of(call)  # type: ignore[assignment]
        return dict(costs)


@dataclass(frozen=True, kw_only=True)
class Capped:
    """What came of it: answers by case, each case's cap, and what the provider's log says it cost."""

    answers: dict[int, Answer]
    caps: dict[int, float | None]
    costs: dict[int, float]
    calls: int
    most_at_once: int

    @property
    def overshoots(self) -> dict[int, float]:
        """By how much a cap was exceeded, of those that were."""
        over = {n: self.costs.get(n, 0.0) - cap for n, cap in self.caps.items() if cap is not None}
        return {n: o for n, o in over.items() if o > 1e-12}


async def run_capped(
    settings: Settings,
    topics: Topics,
    folder: Path,
    caps: list[float | None],
    *,
    at_once: int,
    slow_s: float = 0.05,
    **env: str,
) -> Capped:
    """Sends one request for each cap, `at_once` of them in flight, and waits for all answers."""
    flows = folder / "flows"
    flows.mkdir(exist_ok=True)
    (flows / "twice.yaml").write_text(WORKFLOW)
    books = Books(11, slow_s=slow_s)
    with ExitStack() as stack:
        provider = SimulatedProvider(books.script).start_in_thread()
        stack.callback(provider.stop_thread)
        more = (
            provider.env("anthropic")
            | {"HOCKET_PROVIDERS": "anthropic", "HOCKET_RETRY_MS": "20,50", "HOCKET_PATIENCE_MS": "1500"}
            | env
        )
        more |= {"HOCKET_WORKFLOWS": str(flows), "HOCKET_CONCURRENCY": str(max(64, 2 * at_once))}
        stack.enter_context(
            running(
                Service("services.aggregator", settings, folder / "aggregator.log", HOCKET_INSTANCE="a", **more),
                Service("services.workers", settings, folder / "workers.log", "--specialty", "writing", **more),
            )
        )
        wanted = (_request(n, cap) for n, cap in enumerate(caps))  # each is made when it is sent
        answers = await answers_of(settings, topics, wanted, len(caps), at_once=at_once)
    return Capped(
        answers={int(a.request_id.split("-")[1]): a for a in answers},
        caps=dict(enumerate(caps)),
        costs=books.by_case(provider.log),
        calls=len(provider.log),
        most_at_once=_most(provider.log),
    )


def _request(number: int, cap: float | None) -> Request:
    return Request(
        request_id=f"case-{number}-",
        text=f"Write about case-{number}- and what came of it. " * 4,
        workflow="twice",
        policy=Policy(max_cost_usd=cap),
        submitted_at=now_ms(),
    )


def _most(log: list[Logged]) -> int:
    """The most calls that the provider had open at one moment."""
    steps = sorted([(c.started_at, 1) for c in log] + [(c.ended_at or c.started_at, -1) for c in log])
    open_now = most = 0
    for _, step in steps:
        open_now += step
        most = max(most, open_now)
    return most
