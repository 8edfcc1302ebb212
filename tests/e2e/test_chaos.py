"""Providers that fail in every way at once, and one that is away for a while. The provider's own log is the oracle."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from hocket.contracts.specialties import Specialty, load_specialty
from hocket.contracts.topics import Topics
from hocket.core.work import Work
from hocket.llm.models import Models
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings
from services.workers.engine import Engines, Outcome
from tests.support.chaotic import QUICK, Chaos, early_by_log, early_in, run_chaotic, task_of
from tests.support.simulated import Reply, SimulatedProvider, running_provider

OUTPUT = '{"type": "record", "name": "Echo", "fields": [{"name": "text", "type": "string"}]}'
HEAD = 'name = "echo"\npurpose = "Echoes."\ntext = "text"\nmax_output_tokens = 200\n[ladder]\n'
NEEDS = """
from hocket.core.work import NeedsModel

def run(work):
    if "{mark}" in work.text:
        return {{"text": "local " + work.text}}
    raise NeedsModel("Needs a model.")
"""


def specialty(folder: Path, rungs: str, local: str | None = None) -> Specialty:
    root = folder / "echo"
    root.mkdir()
    (root / "specialty.toml").write_text(HEAD + "\n".join(f"{s} = [{rungs}]" for s in ("fast", "balanced", "best")))
    (root / "prompt.md").write_text("Echo.")
    (root / "output.avsc").write_text(OUTPUT)
    if local is not None:
        (root / "local.py").write_text(NEEDS.format(mark=local))
    return load_specialty(root, builtin=False)


class Echoing(Chaos):
    """Chaos whose good reply echoes the task."""

    def good(self, request: dict[str, Any]) -> Any:
        """See Chaos."""
        return {"text": task_of(request)[0].strip("-")}


@pytest.mark.parametrize("streamed", [False, True])
async def test_every_task_ends_and_no_retry_storm_rises(tmp_path: Path, streamed: bool) -> None:
    what, chaos, tasks = specialty(tmp_path, '"small", "middle"'), Echoing(7), 300
    async with SimulatedProvider(chaos) as provider:
        engines = Engines(Models.from_env(provider.env() | QUICK), now_ms)
        room = asyncio.Semaphore(30)

        async def one(n: int) -> Outcome:
            work = Work(task_id=f"task-{n}", specialty="echo", instruction=f"Echo case-{n}-.", text="x")
            async with room:
                told = (lambda _: None) if streamed else None
                return await engines.run(what, work, strategy="fast", deadline_ms=now_ms() + 90_000, on_text=told)

        outcomes = await asyncio.gather(*(one(n) for n in range(tasks)))
        await engines.close()
    for n, outcome in enumerate(outcomes):
        if outcome.error is None:
            assert outcome.output == {"text": f"case-{n}"}
        else:
            assert outcome.error.message, "a failure says why"
            assert outcome.attempts
    done = sum(o.error is None for o in outcomes)
    calls = Counter(task_of(c.request) for c in provider.log)
    print(f"{done}/{tasks} completed, {len(provider.log)} calls, at most {max(calls.values())} for a task")
    assert done >= 0.99 * tasks
    assert max(calls.values()) <= 12
    assert len(provider.log) < 2 * tasks, "a storm would be more"
    assert any(c.status == 429 for c in provider.log)
    assert early_by_log(provider.log) == []
    assert early_in([a for o in outcomes for a in o.attempts]) == []


@pytest.mark.kafka
@pytest.mark.e2e
async def test_requests_through_chaos_are_all_answered(
    settings: Settings, topics_ready: Topics, tmp_path: Path
) -> None:
    """The short form of bench.chaos: the real services, also a planner."""
    chaos = Chaos(3)
    with running_provider(chaos) as provider:
        found = await run_chaotic(settings, topics_ready, tmp_path, 20, at_once=10, **provider.env())
    assert len(found.answers) == 20
    assert found.dishonest == []
    by_task = Counter(task_of(c.request) for c in provider.log)
    assert {"Draft it.", "Better it.", "Decompose the request into tasks."} < {what for _, what in by_task}
    assert max(by_task.values()) <= 12
    assert len(provider.log) < 2 * len(by_task), "a storm would be more"
    assert sum(chaos.injected.values()) > 5
    assert early_by_log(provider.log) == []
    assert found.early == []


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_an_outage_is_survived_on_the_other_provider_and_by_the_local_engine(tmp_path: Path) -> None:
    """Two seconds of outage stand for a minute; the breaker's times are shortened alike."""
    what = specialty(tmp_path, '"local", "small"', "local-too")
    haiku = "anthropic/claude-haiku-5-5"
    down = {"anthropic": False}

    def script(request: dict[str, Any]) -> Reply:
        return Reply(status=503) if down.get(request["api"]) else Reply(data={"text": request["api"]}, delay_s=0.01)

    async with SimulatedProvider(script) as provider:
        engines = Engines(Models.from_env(provider.env() | QUICK | {"HOCKET_RETRY_MS": "20,50"}), now_ms)

        async def ask(n: int, text: str = "x") -> Outcome:
            work = Work(task_id=f"task-{n}", specialty="echo", instruction=f"Echo task-{n}.", text=text)
            return await engines.run(what, work, strategy="fast", deadline_ms=now_ms() + 10_000)

        opened = metric("hocket_model_breaker_changes_total", engine=haiku, state="open")
        assert (await ask(0)).text == "anthropic"
        down["anthropic"] = True
        during: list[Outcome] = []
        ends = time.monotonic() + 2
        while time.monotonic() < ends:
            during += await asyncio.gather(*(ask(n) for n in range(5)))
        assert {o.text for o in during} == {"openai"}
        assert metric("hocket_model_breaker", engine=haiku) in (1, 2)
        assert metric("hocket_model_breaker_changes_total", engine=haiku, state="open") > opened
        refused = sum(c.status == 503 for c in provider.log)
        assert refused < 40 < len(during), "the provider that is away is left alone, but for probes"
        assert any("left alone after failures" in (o.why or "") for o in during), "the receipt says why"
        assert (await ask(1, "local-too")).engine == "local"

        down["anthropic"] = False
        async with asyncio.timeout(60):
            while (await ask(2)).text != "anthropic":
                await asyncio.sleep(0.05)
        assert metric("hocket_model_breaker", engine=haiku) == 0
        await engines.close()


async def test_with_every_provider_away_the_failure_is_honest_and_nobody_is_stormed(tmp_path: Path) -> None:
    what = specialty(tmp_path, '"small"')
    async with SimulatedProvider(lambda _: Reply(status=503)) as provider:
        engines = Engines(Models.from_env(provider.env() | QUICK), now_ms)
        works = [Work(task_id=f"task-{n}", specialty="echo", instruction=f"Echo task-{n}.") for n in range(50)]
        jobs = (engines.run(what, w, strategy="fast", deadline_ms=now_ms() + 5_000) for w in works)
        outcomes = await asyncio.gather(*jobs)
        await engines.close()
    assert {o.error.kind for o in outcomes if o.error} == {"unavailable"}
    assert all(o.error is not None and o.error.retryable for o in outcomes)
    print(f"{len(provider.log)} calls for {len(works)} tasks")
    assert len(provider.log) < 3 * len(works), "without a breaker it would be six for each"
