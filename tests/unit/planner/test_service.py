"""planner/service.py: plans by model, by rule, or a clear reason why there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hocket.contracts.records import Attachment, Output, Task, TaskInput
from hocket.contracts.specialties import Specialty
from hocket.contracts.workflows import Match, Step, Workflow
from hocket.core.plan import PlanLimits, faults
from hocket.llm.base import ModelError
from services.planner.decompose import MAX_OUTPUT_TOKENS, MAX_SHOWN_CHARS, planning_call, tool_schema
from services.planner.service import Planner, runs_locally
from tests.support.scripted import Clock, ScriptedProvider, in_turn, models_of


def specialty(name: str, folder: Path, *, local: bool = True) -> Specialty:
    place = folder / name
    place.mkdir(exist_ok=True)
    if local:
        (place / "local.py").write_text("")
    return Specialty(
        name=name,
        purpose=f"Does {name}.",
        text_field="text",
        max_output_tokens=100,
        ladder=dict.fromkeys(("fast", "balanced", "best"), ("local", "small")),
        prompt="p",
        output_schema={},
        folder=place,
        builtin=False,
    )


INVOICE = Workflow(
    name="invoice",
    description="An invoice.",
    match=Match(media_types=("application/pdf",), words=("invoice",)),
    tasks=(
        Step(id="read", specialty="extraction", instruction="Read it."),
        Step(id="answer", specialty="synthesis", instruction="Write it.", needs=("read",)),
    ),
    output="answer",
)
STUDY = Workflow(
    name="study", description="A study.", tasks=(Step(id="a", specialty="research", instruction="Search."),), output="a"
)
PDF = Attachment(name="invoice-7.pdf", media_type="application/pdf", data=b"%PDF-", size=5)
DRAFT = {
    "tasks": [
        {"id": "look", "specialty": "Research", "instruction": "Look.", "depends_on": []},
        {"id": "say", "specialty": "synthesis", "instruction": "Say.", "depends_on": ["look"]},
    ]
}
CIRCLE = {"tasks": [{"id": i, "specialty": "research", "instruction": "x", "depends_on": [j]} for i, j in ("ab", "ba")]}
OPUS, SONNET = "claude-opus-5-5", "claude-sonnet-5-5"


@pytest.fixture
def planner(tmp_path: Path) -> Any:
    known = {n: specialty(n, tmp_path, local=n != "research") for n in ("research", "extraction", "synthesis")}
    clock = Clock()

    def build(*providers: ScriptedProvider) -> Planner:
        return Planner(
            specialties=known,
            workflows={w.name: w for w in (INVOICE, STUDY)},
            models=models_of(*providers),
            plans_topic="t-plans",
            worker="host/planning",
            now_ms=clock.now_ms,
            sleep=clock.sleep,
        )

    return build


def task(**fields: Any) -> Task:
    given: dict[str, Any] = {
        "request_id": "r1",
        "task_id": "planning",
        "specialty": "planning",
        "instruction": "Decompose the request into tasks.",
        "text": "Compare three vendors.",
        "dispatched_at": 1,
    }
    return Task(**(given | fields))


async def test_without_a_model_a_known_shape_is_planned_by_rule(planner: Any) -> None:
    plan = await planner().plan(task(text="Please process this invoice", attachments=(PDF,), priority=7))
    assert (plan.source, plan.workflow, plan.output_task, plan.error) == ("local", "invoice", "answer", None)
    assert [(t.task_id, t.depends_on, t.priority) for t in plan.tasks] == [("read", (), 7), ("answer", ("read",), 7)]
    assert plan.usage == ()


async def test_without_a_model_an_open_request_is_told_in_one_sentence_what_to_do(planner: Any) -> None:
    plan = await planner().plan(task())
    assert plan.tasks == ()
    assert plan.error is not None
    assert (plan.error.kind, plan.error.retryable) == ("needs_model", False)
    assert plan.error.message == (
        "This open request needs a model to plan it: set ANTHROPIC_API_KEY or OPENAI_API_KEY, "
        "or name a workflow that runs without one (invoice)."
    )


async def test_a_model_plans_from_the_frontier_and_its_slips_are_mended(planner: Any) -> None:
    provider = ScriptedProvider("anthropic", in_turn(DRAFT))
    plan = await planner(provider).plan(task())
    assert (plan.source, plan.output_task, plan.error) == ("llm", "say", None)
    assert [t.specialty for t in plan.tasks] == ["research", "synthesis"]
    assert len(plan.usage) == 1
    asked = provider.calls[0]
    assert (asked.model, asked.tool_name) == (OPUS, "decompose_task")
    assert asked.max_output_tokens == MAX_OUTPUT_TOKENS + 8_000, "room for thinking comes on top"


async def test_an_unsound_plan_is_asked_for_once_more_with_its_faults(planner: Any) -> None:
    provider = ScriptedProvider("anthropic", in_turn(CIRCLE, DRAFT))
    plan = await planner(provider).plan(task())
    assert plan.error is None
    assert "wait for each other in a circle: a, b" in provider.calls[1].prompt
    assert len(plan.usage) == 2


async def test_a_plan_that_stays_unsound_is_refused_with_the_reason(planner: Any) -> None:
    provider = ScriptedProvider("anthropic", in_turn(CIRCLE))
    plan = await planner(provider).plan(task())
    assert plan.error is not None
    assert plan.error.kind == "invalid_plan"
    assert "in a circle: a, b" in plan.error.message
    assert [c.model for c in provider.calls] == [OPUS, OPUS]
    assert len(plan.usage) == 2


async def test_without_the_frontier_model_the_middle_one_plans(planner: Any) -> None:
    provider = ScriptedProvider("anthropic", lambda c: ModelError("quota", "x") if c.model == OPUS else DRAFT)
    plan = await planner(provider).plan(task())
    assert plan.error is None
    assert [c.model for c in provider.calls] == [OPUS, SONNET]


async def test_without_any_model_in_reach_the_rules_plan_what_they_know(planner: Any) -> None:
    provider = ScriptedProvider("anthropic", in_turn(ModelError("unavailable", "down")))
    plan = await planner(provider).plan(task(text="invoice", attachments=(PDF,)))
    assert (plan.source, plan.workflow) == ("local", "invoice")
    plan = await planner(provider).plan(task())
    assert plan.error is not None
    assert (plan.error.kind, plan.error.message, plan.error.retryable) == ("unavailable", "down", True)


async def test_a_replan_is_not_answered_with_the_same_rules_again(planner: Any) -> None:
    plan = await planner().plan(task(text="invoice", attachments=(PDF,), revision=1))
    assert plan.revision == 1
    assert plan.error is not None


async def test_the_handler_sends_one_plan_keyed_by_the_request(planner: Any) -> None:
    made = planner()
    (sent,) = await made.handle(task(), None)
    assert (sent.topic, sent.key, sent.event_id) == ("t-plans", "r1", "r1/plan/0")
    (crashed,) = made.on_crash(task(revision=2), None, KeyError("x"))
    assert crashed.record.error.kind == "crashed"
    assert crashed.event_id == "r1/plan/2"


def test_the_tools_choices_are_the_loaded_specialties(planner: Any) -> None:
    schema = tool_schema(planner().specialties, PlanLimits())
    choice = schema["properties"]["tasks"]["items"]["properties"]["specialty"]
    assert choice["enum"] == ["research", "extraction", "synthesis"]
    assert "- research: Does research." in choice["description"]


async def test_a_fast_plan_is_asked_of_the_small_model_and_an_unsound_one_climbs(planner: Any) -> None:
    provider = ScriptedProvider("anthropic", in_turn(CIRCLE, CIRCLE, DRAFT))
    plan = await planner(provider).plan(task(strategy="fast"))
    assert (plan.source, plan.error) == ("llm", None)
    assert [c.model for c in provider.calls] == ["claude-haiku-5-5", "claude-haiku-5-5", SONNET]


def test_small_texts_are_shown_and_everything_else_is_named(planner: Any) -> None:
    attachments = (
        Attachment(name="a.txt", media_type="text/plain; charset=utf-8", data="größe".encode()),
        Attachment(name="b.txt", media_type="text/plain", data=b"x" * MAX_SHOWN_CHARS),
        Attachment(name="c.json", media_type="application/json", data=b'{"k": 1}'),
        Attachment(name="d.txt", media_type="text/plain", data=b"\xff\xfe\x00"),
        Attachment(name="e.txt", media_type="text/plain", uri="file:///e", size=999_999),
        PDF,
    )
    inputs = (TaskInput(task_id="t1", output=Output(specialty="research", text="found", data='{"text": "all of it"}')),)
    given = task(
        attachments=attachments, constants={"city": "Ghent"}, context=json.dumps({"before": "x"}), inputs=inputs
    )
    prompt = planning_call(given, planner().specialties, PlanLimits()).prompt
    for shown in ("größe", '{"k": 1}', '"city": "Ghent"', '"before": "x"', "all of it", "Compare three vendors."):
        assert shown in prompt
    for named in ("b.txt", "(20000 bytes;", "d.txt", "e.txt", "(999999 bytes;", "invoice-7.pdf"):
        assert named in prompt
    assert "xxxx" not in prompt
    assert "%PDF" not in prompt


def test_a_workflow_runs_locally_when_all_that_it_needs_does(planner: Any) -> None:
    known = planner().specialties
    assert runs_locally(INVOICE, known)
    assert not runs_locally(STUDY, known)
    optional = STUDY.tasks[0].model_copy(update={"optional": True})
    assert runs_locally(INVOICE.model_copy(update={"tasks": (*INVOICE.tasks, optional)}), known)


async def test_what_is_planned_is_sound(planner: Any) -> None:
    made = planner(ScriptedProvider("openai", in_turn(DRAFT)))
    plan = await made.plan(task())
    assert faults(plan.tasks, plan.output_task, list(made.specialties), PlanLimits()) == []


async def test_a_cancelled_planning_is_answered(planner: Any) -> None:
    [sent] = planner().on_cancel(task(), None)
    assert (sent.key, sent.record.error.kind, sent.record.tasks) == (task().request_id, "cancelled", ())


FAILED_PART = json.dumps(
    {
        "replan": {
            "failed": [{"task_id": "look", "error": {"kind": "malformed", "message": "no JSON"}}],
            "done": [],
            "plan": [
                {"task_id": "look", "specialty": "research", "instruction": "Look."},
                {"task_id": "say", "specialty": "synthesis", "instruction": "Say.", "depends_on": ["look"]},
            ],
        }
    }
)


async def test_a_model_replaces_the_failed_part_only(planner: Any) -> None:
    provider = ScriptedProvider("anthropic", in_turn({"tasks": [DRAFT["tasks"][0] | {"specialty": "extraction"}]}))
    plan = await planner(provider).plan(task(revision=1, options=FAILED_PART))
    assert (plan.revision, plan.source, plan.error) == (1, "llm", None)
    assert [(t.task_id, t.depends_on) for t in plan.tasks] == [("look-r1", ()), ("say", ("look-r1",))]
    assert "malformed: no JSON" in provider.calls[0].prompt


async def test_without_a_model_nothing_is_replanned(planner: Any) -> None:
    plan = await planner().plan(task(revision=1, options=FAILED_PART))
    assert plan.error is not None
    assert plan.error.kind == "cannot_replan"
    assert plan.error.message.startswith("look failed")


class Emitted:
    """A delivery that keeps what it is told to emit."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def emit(self, outgoing: Any) -> None:
        self.sent.append(outgoing)


async def test_followers_hear_that_planning_is_under_way(planner: Any) -> None:
    made, delivery = planner(), Emitted()
    made.progress_topic = "t-progress"
    await made.handle(task(), delivery)
    (told,) = delivery.sent
    assert (told.topic, told.record.kind, told.record.task_id) == ("t-progress", "assigned", "planning")
    assert told.record.worker == "host/planning"
