"""A task that fails for good is replaced by the planner, over Kafka, and the receipt shows it."""

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
        {"id": "gist", "specialty": "summarisation", "instruction": "Sum up the offers.", "depends_on": []},
        {"id": "choose", "specialty": "decision", "instruction": "Choose by criteria.", "depends_on": ["gist"]},
        {"id": "answer", "specialty": "synthesis", "instruction": "Recommend.", "depends_on": ["gist", "choose"]},
    ]
}
REVISION = {
    "tasks": [{"id": "mood", "specialty": "sentiment", "instruction": "Judge the tone.", "depends_on": ["gist"]}]
}
OUTPUTS: dict[str, dict[str, Any]] = {
    "Sum up the offers.": {"summary": "A is cheap.", "language": "en", "source_words": 3},
    "Judge the tone.": {"label": "positive", "score": 0.7, "intensity": "high", "language": "en"},
    "Recommend.": {"text": "Take vendor A.", "sources": ["gist", "mood-r1"]},
}


class Provider:
    """Plans, refuses one of the tasks whatever is asked, and plans another way."""

    def __init__(self) -> None:
        self.revisions: list[str] = []

    def __call__(self, asked: dict[str, Any]) -> Reply:
        prompt = prompt_of(asked)
        if tool_of(asked) == "decompose_task":
            if "have failed" not in prompt:
                return Reply(data=PLAN)
            self.revisions.append(prompt)
            return Reply(data=REVISION)
        if "Choose by criteria." in prompt:
            return Reply(text="I will not.", stop="refusal")
        return Reply(data=next(v for k, v in OUTPUTS.items() if k in prompt))


async def test_a_failed_task_is_replaced_and_the_answer_completed(
    settings: Settings, topics_ready: Topics, tmp_path: Path
) -> None:
    script = Provider()
    async with SimulatedProvider(script) as provider:
        env = provider.env("anthropic") | {"HOCKET_PROVIDERS": "anthropic"}
        services = [
            Service("services.aggregator", settings, tmp_path / "aggregator.log", HOCKET_INSTANCE="a"),
            Service("services.planner", settings, tmp_path / "planner.log", **env),
            Service("services.workers", settings, tmp_path / "workers.log", "--all", **env),
        ]
        with running(*services):
            async with producing(settings) as producer:
                wish = request(1, text="Compare these vendors and recommend one.", policy={"strategy": "best"})
                await send(producer, topics_ready.requests, wish)
                [answer] = await read(settings, topics_ready.answers, Answer, until=bool, timeout=90)
    assert (answer.status, answer.content) == ("completed", "Take vendor A."), answer
    [asked] = script.revisions
    assert "refused" in asked
    assert "A is cheap." in asked, "the planner is told what is known already"
    receipt = answer.receipt
    [note] = receipt.replans
    assert (note.revision, note.failed, note.error) == (1, ("choose",), None)
    assert set(note.added) == {"mood-r1", "answer"}
    states = {t.task_id: t.state for t in receipt.tasks}
    assert states == {"choose": "failed", "gist": "completed", "mood-r1": "completed", "answer": "completed"}
    assert sum("Your task:\nSum up the offers." in prompt_of(x.request) for x in provider.log) == 1, "done is done"
    assert receipt.calls == len(provider.log)
