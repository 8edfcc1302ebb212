"""The planner as deployed: its own process, a real broker, a real SDK against a scripted provider."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hocket.contracts.records import Attachment, Plan, Task
from hocket.contracts.topics import Topics
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings
from tests.support.kafka import Service, producing, read, running, send
from tests.support.simulated import Reply, SimulatedProvider, tool_of

DRAFT = {
    "tasks": [
        {"id": "read", "specialty": "Extraction", "instruction": "Read the offers.", "depends_on": []},
        {"id": "answer", "specialty": "synthesis", "instruction": "Compare them.", "depends_on": ["read"]},
    ]
}
MAIL = Attachment(name="complaint.eml", media_type="message/rfc822", data=b"Subject: complaint\n\nRefund me.", size=32)


def planning(request_id: str, **fields: Any) -> Task:
    given: dict[str, Any] = {
        "request_id": request_id,
        "task_id": "planning",
        "specialty": "planning",
        "instruction": "Decompose the request into tasks.",
        "text": "Compare these offers.",
        "deadline": now_ms() + 60_000,
        "dispatched_at": now_ms(),
    }
    return Task(**(given | fields))


async def plans(settings: Settings, *tasks: Task) -> dict[str, Plan]:
    topics = Topics(settings.prefix)
    async with producing(settings) as producer:
        await send(producer, topics.tasks("planning"), *tasks)
    enough: Callable[[Any], bool] = lambda found: len(found) >= len(tasks)  # noqa: E731
    found = await read(settings, topics.plans, Plan, until=enough, settle=0.3)
    assert len(found) == len(tasks), "one plan for each"
    return {p.request_id: p for p in found}


async def test_open_requests_are_planned_by_a_model(topics_ready: Topics, settings: Settings, tmp_path: Path) -> None:
    replies = {"claude-opus-5-5": Reply(status=529, code="overloaded_error", headers={"retry-after-ms": "50"})}
    provider = SimulatedProvider(lambda r: replies.get(r["model"]) or Reply(data=DRAFT, input_tokens=900))
    async with provider:
        service = Service("services.planner", settings, tmp_path / "planner.log", **provider.env("anthropic"))
        with running(service):
            found = (await plans(settings, planning("r1")))["r1"]
            assert service.stop() == 0, service.tail()
    assert found.error is None
    assert (found.source, found.output_task) == ("llm", "answer")
    assert [(t.task_id, t.specialty, t.depends_on) for t in found.tasks] == [
        ("read", "extraction", ()),
        ("answer", "synthesis", ("read",)),
    ]
    assert [c.model for c in provider.log] == ["claude-opus-5-5"] * 3 + ["claude-sonnet-5-5"]
    assert tool_of(provider.log[0].request) == "decompose_task"
    assert [(u.model, u.input_tokens) for u in found.usage] == [("claude-sonnet-5-5", 900)]
    assert (found.usage[0].cost_usd or 0) > 0


async def test_without_a_key_known_shapes_run_and_others_say_what_to_do(
    topics_ready: Topics, settings: Settings, tmp_path: Path
) -> None:
    with running(Service("services.planner", settings, tmp_path / "planner.log")):
        found = await plans(settings, planning("known", text="", attachments=(MAIL,)), planning("open"))
    assert (found["known"].source, found["known"].workflow) == ("local", "complaint-triage")
    assert found["known"].error is None
    error = found["open"].error
    assert error is not None
    assert error.kind == "needs_model"
    assert "ANTHROPIC_API_KEY or OPENAI_API_KEY" in error.message
    assert "complaint-triage" in error.message
