"""One request's spans from six processes, by a real OTLP receiver: one tree; and with a worker killed in its call.

Not in the usual run, for it takes minutes on a busy machine: `make trace-processes`. The tree itself is held by
tests/simulation/test_trace_world.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hocket.contracts.topics import Topics
from hocket.runtime.settings import Settings
from tests.support.kafka import Service
from tests.support.otlp import Got, Receiver, receiving
from tests.support.simulated import Reply, SimulatedProvider, prompt_of, tool_of
from tests.support.streams import CLI

pytestmark = [pytest.mark.kafka, pytest.mark.e2e, pytest.mark.timeout(400)]

PLAN = {
    "tasks": [
        {"id": "facts", "specialty": "extraction", "instruction": "Find the parties.", "depends_on": []},
        {"id": "gist", "specialty": "summarisation", "instruction": "Sum up the offers.", "depends_on": []},
        {"id": "answer", "specialty": "synthesis", "instruction": "Recommend one.", "depends_on": ["facts", "gist"]},
    ],
    "output_task": "answer",
}
OUTPUTS: dict[str, dict[str, Any]] = {
    "Find the parties.": {"kind": "other", "text": "Three vendors: A, B, C.", "language": "en"},
    "Sum up the offers.": {"summary": "A is cheap.", "language": "en", "source_words": 3},
    "Recommend one.": {"text": "Take vendor A.", "sources": ["facts", "gist"]},
}
TEXT = "Compare these three vendors and recommend one."
WORKERS = ("extraction", "summarisation", "synthesis")


class Fleet:
    """Aggregator, planner and a process for each specialty, all tracing to one receiver; and a provider."""

    def __init__(self, settings: Settings, folder: Path, receiver: Receiver, provider: SimulatedProvider) -> None:
        env = receiver.env() | provider.env("anthropic") | {"HOCKET_PROVIDERS": "anthropic"}
        self.settings, self.receiver, self.env = settings, receiver, env
        self.aggregator = Service("services.aggregator", settings, folder / "a.log", HOCKET_INSTANCE="a", **env)
        self.planner = Service("services.planner", settings, folder / "p.log", HOCKET_INSTANCE="p", **env)
        self.workers = {
            name: Service(
                "services.workers", settings, folder / f"{name}.log", "--specialty", name, HOCKET_INSTANCE=name, **env
            )
            for name in WORKERS
        }
        self.all = (self.aggregator, self.planner, *self.workers.values())

    async def ask(self, request_id: str) -> str:
        """By the command line, in a process that traces, too. What it printed."""
        where = ["--bootstrap", self.settings.bootstrap, "--prefix", self.settings.prefix]
        asked = await asyncio.create_subprocess_exec(
            *CLI, *where, "ask", TEXT, "--id", request_id, "--strategy", "best", "--timeout", "240",
            env=self.aggregator.env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await asked.communicate()
        assert asked.returncode == 0, (out.decode(), err.decode(), self.aggregator.tail())
        return out.decode()

    async def traced(self, request_id: str) -> str:
        """Asks, and waits until the whole tree is in."""
        printed = await self.ask(request_id)
        async with asyncio.timeout(60):
            while not (
                self.receiver.named("orchestrate") and self.receiver.named(f"send {self.settings.prefix}answers")
            ):
                await asyncio.sleep(0.1)
        await asyncio.to_thread(self.stop)  # what is left leaves with the processes
        return printed

    def stop(self) -> None:
        """Whatever happens to one, none is left."""
        for service in self.all:
            if service.process is not None and service.process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    service.stop()


def only(found: list[Got]) -> Got:
    assert len(found) == 1, found
    return found[0]


async def test_a_request_is_one_tree_over_six_processes(
    settings: Settings, topics_ready: Topics, tmp_path: Path
) -> None:
    def script(asked: dict[str, Any]) -> Reply:
        if tool_of(asked) == "decompose_task":
            return Reply(data=PLAN)
        return Reply(data=next(v for k, v in OUTPUTS.items() if k in prompt_of(asked)))

    async with SimulatedProvider(script) as provider:
        with receiving() as got:
            fleet = Fleet(settings, tmp_path, got, provider)
            try:
                for service in fleet.all:
                    service.start()
                await fleet.traced("r-1")
            finally:
                fleet.stop()
    print(got.drawn())
    t = topics_ready
    assert {s.trace for s in got.spans} == {hashlib.sha256(b"r-1").hexdigest()[:32]}, "one trace, known by the id"
    assert len({(s.service, s.instance) for s in got.spans}) == 6
    assert got.orphans() == []
    root = only([s for s in got.spans if not s.parent])
    assert (root.name, root.service) == (f"send {t.requests}", "hocket-client")
    whole = only(got.named("orchestrate"))
    assert whole.parent == root.id
    assert whole.attributes["hocket.task.type"] == "open"
    assert whole.attributes["hocket.request.length"] == len(TEXT)
    assert "hocket.task.description" not in whole.attributes, "texts only when asked for"
    assert whole.events["decomposing_task"] == {"request.length": len(TEXT)}
    assert whole.events["synthesis_started"] == {"result.count": 2}
    for topic in (t.tasks("planning"), *map(t.tasks, WORKERS)):
        sent, done = only(got.named(f"send {topic}")), only(got.named(f"process {topic}"))
        assert sent.service == "hocket-aggregator"
        assert (done.parent, done.links) == (whole.id, (sent.id,)), "below the request, linked to who sent it"
        assert done.attributes["messaging.system"] == "kafka"
        assert done.attributes["messaging.destination.name"] == topic
    joined(got, t)
    chats = [s for s in got.spans if s.name.startswith("chat ")]
    assert len(chats) == 4
    tops = {got.by_id()[s.parent].name for s in chats}
    assert tops == {"plan", "worker_task"}
    assert all(s.kind == 3 and s.attributes["gen_ai.operation.name"] == "chat" for s in chats)
    assert all(s.attributes["gen_ai.usage.input_tokens"] > 0 for s in chats)
    assert not [s for s in got.spans if any("messages" in k for k in s.attributes)], "prompts only when asked for"


def joined(got: Receiver, t: Topics) -> None:
    """Results join in the aggregator: the step on each, and what is made of them, are linked to who sent them."""
    results = got.named(f"send {t.results}")
    assert {got.by_id()[got.by_id()[s.parent].id].name for s in results} == {f"process {t.tasks(w)}" for w in WORKERS}
    taken = got.named(f"process {t.results}")
    assert {link for s in taken for link in s.links} == {s.id for s in results}
    inputs = {s.id for s in results if s.instance != "synthesis"}
    assert set(only(got.named(f"send {t.tasks('synthesis')}")).links) == inputs
    assert set(only(got.named(f"send {t.answers}")).links) == {s.id for s in results}
    plan = only(got.named(f"send {t.plans}"))
    assert only(got.named(f"process {t.plans}")).links == (plan.id,)


async def test_a_killed_worker_leaves_no_broken_tree(settings: Settings, topics_ready: Topics, tmp_path: Path) -> None:
    """It dies in its second call: the first has ended, and must not stand in the trace without its parents."""
    calls: list[str] = []
    hangs = asyncio.Event()

    def script(asked: dict[str, Any]) -> Reply:
        if tool_of(asked) == "decompose_task":
            return Reply(data=PLAN)
        prompt = prompt_of(asked)
        if "Find the parties." in prompt:
            calls.append("call")
            if len(calls) == 1:
                return Reply(status=529)
            if len(calls) == 2:
                hangs.set()
                return Reply(data=OUTPUTS["Find the parties."], delay_s=60)
        return Reply(data=next(v for k, v in OUTPUTS.items() if k in prompt))

    async with SimulatedProvider(script) as provider:
        with receiving() as got:
            fleet = Fleet(settings, tmp_path, got, provider)
            try:
                for service in fleet.all:
                    service.start()
                asked = asyncio.create_task(fleet.traced("r-2"))
                async with asyncio.timeout(200):
                    await hangs.wait()
                await asyncio.sleep(0.5)  # longer than spans are gathered
                fleet.workers["extraction"].kill()
                fleet.workers["extraction"].start()
                printed = await asked
            finally:
                fleet.stop()
    print(got.drawn(), printed)
    assert "1 run that was lost with its worker (what it called may be billed), 4 model calls" in printed
    assert got.orphans() == []
    assert len([s for s in got.spans if not s.parent]) == 1
    run = only(got.named(f"process {topics_ready.tasks('extraction')}"))
    assert run.attributes["hocket.task.lost_workers"] == 1
    assert run.links == (only(got.named(f"send {topics_ready.tasks('extraction')}")).id,)
    joined(got, topics_ready)
