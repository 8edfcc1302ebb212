"""An open request with a model behind it: decomposed, worked on in parallel, ended by a synthesis. Over both SDKs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hocket.contracts.records import Answer
from hocket.contracts.topics import Topics
from hocket.runtime.settings import Settings
from tests.support.kafka import Service, producing, read, request, running, send
from tests.support.simulated import Reply, SimulatedProvider, prompt_of, tool_of

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

PLAN = {
    "tasks": [
        {"id": "facts", "specialty": "extraction", "instruction": "Find the parties.", "depends_on": []},
        {"id": "gist", "specialty": "summarisation", "instruction": "Sum up the offers.", "depends_on": []},
        {"id": "mood", "specialty": "sentiment", "instruction": "How do the vendors sound?", "depends_on": []},
        {
            "id": "answer",
            "specialty": "synthesis",
            "instruction": "Recommend one.",
            "depends_on": ["facts", "gist", "mood"],
        },
    ],
    "output_task": "answer",
}
OUTPUTS: dict[str, dict[str, Any]] = {
    "Find the parties.": {"kind": "other", "text": "Three vendors: A, B, C.", "language": "en"},
    "Sum up the offers.": {"summary": "A is cheap.", "language": "en", "source_words": 3},
    "How do the vendors sound?": {"label": "neutral", "score": 0.0, "intensity": "low", "language": "en"},
    "Recommend one.": {"text": "Take vendor A.", "sources": ["facts", "gist", "mood"]},
}


def script(asked: dict[str, Any]) -> Reply:
    """The planner's call gets the plan at once; a worker's gets its specialty's output after 600 ms."""
    if tool_of(asked) == "decompose_task":
        return Reply(data=PLAN)
    prompt = prompt_of(asked)
    return Reply(data=next(v for k, v in OUTPUTS.items() if k in prompt), delay_s=0.6)


@pytest.mark.parametrize("api", ["anthropic", "openai"])
async def test_an_open_request_is_decomposed_worked_in_parallel_and_synthesised(
    api: str, settings: Settings, topics_ready: Topics, tmp_path: Path
) -> None:
    async with SimulatedProvider(script) as provider:
        env = provider.env(api) | {"HOCKET_PROVIDERS": api}
        services = [
            Service("services.aggregator", settings, tmp_path / "aggregator.log", HOCKET_INSTANCE="a"),
            Service("services.planner", settings, tmp_path / "planner.log", **env),
            Service("services.workers", settings, tmp_path / "workers.log", "--all", **env),
        ]
        open_request = request(
            1, text="Compare these three vendors and recommend one.", policy={"strategy": "best"}, workflow=None
        )
        with running(*services):
            async with producing(settings) as producer:
                await send(producer, topics_ready.requests, open_request)
                [answer] = await read(settings, topics_ready.answers, Answer, until=bool, timeout=60)
    assert (answer.status, answer.content) == ("completed", "Take vendor A."), answer
    receipt = answer.receipt
    assert receipt.source == "llm"
    tasks = {t.task_id: t for t in receipt.tasks}
    assert tasks["answer"].depends_on == ("facts", "gist", "mood")
    spans = [(tasks[i].started_at or 0, tasks[i].ended_at or 0) for i in ("facts", "gist", "mood")]
    assert max(s for s, _ in spans) < min(e for _, e in spans), "independent tasks overlap in time"
    assert (tasks["answer"].started_at or 0) >= max(e for _, e in spans) - 50
    assert {t.engine for t in receipt.tasks} <= {t.engine for t in receipt.tasks if (t.engine or "").startswith(api)}
    assert (receipt.calls, len(provider.log)) == (5, 5)
    assert receipt.cost_usd is not None and receipt.cost_usd > 0
