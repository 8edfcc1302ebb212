"""The join, record by record: what each phase does with each event."""

from __future__ import annotations

from typing import Any

import pytest

from hocket.contracts.records import (
    Attachment,
    Control,
    Error,
    Output,
    Plan,
    PlannedTask,
    Policy,
    Request,
    Result,
    Usage,
)
from hocket.contracts.workflows import Step, Workflow
from services.aggregator.admission import World
from services.aggregator.join import Arrival, Dispatch, Drop, Effect, Remind, Reply, Tell, give_up, step
from services.aggregator.row import Row

INVOICE = Workflow(
    name="invoice",
    description="-",
    tasks=(
        Step(id="extract", specialty="extraction", instruction="read"),
        Step(id="mood", specialty="sentiment", instruction="feel", optional=True),
        Step(id="decide", specialty="decision", instruction="decide", needs=("extract", "mood")),
    ),
    output="decide",
)
WORLD = World(
    specialties={"extraction", "sentiment", "decision", "synthesis"},
    workflows={"invoice": INVOICE},
    reply_topics=("answers-mine",),
    max_attachment_bytes=1000,
)
TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


def request(**changes: Any) -> Request:
    return Request(**({"request_id": "r1", "text": "hello", "workflow": "invoice", "submitted_at": 1} | changes))


def result(task_id: str, *, status: str = "completed", kind: str = "x", at: int = 50, **changes: Any) -> Result:
    good = status == "completed"
    fields: dict[str, Any] = {
        "request_id": "r1",
        "task_id": task_id,
        "specialty": "any",
        "status": status,
        "output": Output(specialty="any", text=f"text of {task_id}", data="{}") if good else None,
        "error": None if good else Error(kind=kind, message=f"{task_id} broke"),
        "worker": "w1",
        "started_at": at - 10,
        "ended_at": at,
    }
    return Result(**(fields | changes))


def plan(*tasks: PlannedTask, output: str = "z", **changes: Any) -> Plan:
    return Plan(
        **(
            {
                "request_id": "r1",
                "source": "llm",
                "tasks": tasks,
                "output_task": output,
                "worker": "p1",
                "started_at": 10,
                "ended_at": 20,
            }
            | changes
        )
    )


def task(task_id: str, *needs: str, specialty: str = "extraction", optional: bool = False) -> PlannedTask:
    return PlannedTask(task_id=task_id, specialty=specialty, instruction="-", depends_on=needs, optional=optional)


def run(*records: Any, world: World = WORLD) -> tuple[Row | None, list[list[Effect]]]:
    row: Row | None = None
    seen = []
    for now, record in enumerate(records, start=100):
        row, effects = step(row, Arrival(key="r1", record=record, trace=TRACE), now, world)
        seen.append(effects)
    return row, seen


def dispatched(effects: list[Effect]) -> list[str]:
    return [e.task.task_id for e in effects if isinstance(e, Dispatch)]


def reply(effects: list[Effect]) -> Reply:
    found = [e for e in effects if isinstance(e, Reply)]
    assert len(found) == 1, effects
    return found[0]


def test_a_declared_workflow_is_expanded_at_once_and_its_roots_dispatched() -> None:
    row, [effects] = run(request())
    assert dispatched(effects) == ["extract", "mood"]
    told = [e.progress for e in effects if isinstance(e, Tell)]
    assert [(p.kind, [t.task_id for t in p.tasks]) for p in told] == [("planned", ["extract", "mood", "decide"])]
    assert row is not None and row.phase == "running" and row.trace == TRACE


def test_a_task_is_dispatched_when_its_own_dependencies_are_there_and_gets_their_outputs() -> None:
    _, [_, first, second] = run(request(), result("extract"), result("mood"))
    assert dispatched(first) == []
    assert dispatched(second) == ["decide"]
    sent = next(e.task for e in second if isinstance(e, Dispatch))
    assert [(i.task_id, i.output.text) for i in sent.inputs] == [
        ("extract", "text of extract"),
        ("mood", "text of mood"),
    ]


def test_the_last_result_ends_the_request_with_one_complete_answer() -> None:
    row, [*_, last] = run(request(), result("extract"), result("mood"), result("decide", at=90))
    answer = reply(last).answer
    assert (answer.status, answer.content, answer.error) == ("completed", "text of decide", None)
    assert [o.task_id for o in answer.outputs] == ["extract", "mood", "decide"]
    assert answer.receipt.critical_path[-1] == "decide"
    assert (answer.receipt.admitted_at, answer.receipt.answered_at) == (100, 103)
    assert row == Row(phase="ended", admitted_at=100, ended_at=103, trace=TRACE, alarm=103 + WORLD.done_marker_ms)


def test_a_failed_optional_task_does_not_fail_the_request() -> None:
    _, [*_, last] = run(request(), result("mood", status="failed"), result("extract"), result("decide"))
    answer = reply(last).answer
    assert answer.status == "completed"
    assert [(x.what, x.why) for x in answer.receipt.left_out] == [("mood", "mood broke")]


def test_a_failed_required_task_skips_what_needs_it_and_says_why() -> None:
    _, [_, first, last] = run(request(), result("extract", status="failed", kind="bad_input"), result("mood"))
    assert first == []
    answer = reply(last).answer
    assert (answer.status, answer.content) == ("partial", "mood:\ntext of mood")
    assert answer.error == Error(kind="bad_input", message="extract: extract broke")
    states = {t.task_id: t.state for t in answer.receipt.tasks}
    assert states == {"extract": "failed", "mood": "completed", "decide": "skipped"}


def test_when_nothing_completed_the_answer_is_failed() -> None:
    _, [*_, last] = run(request(), result("extract", status="failed"), result("mood", status="failed"))
    assert reply(last).answer.status == "failed"


def test_once_the_answer_is_out_of_reach_nothing_more_is_begun() -> None:
    tasks = (task("a"), task("b"), task("c", "b"), task("z", "a"))
    known = plan(*tasks, source="local")
    _, [_, _, failed, last] = run(request(workflow=None), known, result("a", status="failed"), result("b"))
    assert failed == [] and dispatched(last) == []
    states = {t.task_id: t.state for t in reply(last).answer.receipt.tasks}
    assert states == {"a": "failed", "b": "completed", "c": "skipped", "z": "skipped"}


def test_an_unnamed_request_asks_the_planner_and_waits() -> None:
    row, [effects] = run(request(workflow=None))
    assert [(e.task.specialty, e.task.text) for e in effects if isinstance(e, Dispatch)] == [("planning", "hello")]
    assert row is not None and row.phase == "planning"


def test_a_plan_is_joined_once() -> None:
    first = plan(task("a"), task("z", "a"))
    _, [_, joined, again] = run(request(workflow=None), first, first)
    assert dispatched(joined) == ["a"]
    assert again == [Drop(reason="duplicate_plan")]


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (plan(task("z", specialty="astrology")), "unknown specialty 'astrology'"),
        (plan(task("a", "z"), task("z", "a")), "circle"),
        (plan(task("z", "gone")), "'gone', which is not in the plan"),
        (plan(), "no tasks"),
        (plan(error=Error(kind="needs_model", message="set ANTHROPIC_API_KEY")), "ANTHROPIC_API_KEY"),
    ],
)
def test_an_unsound_plan_ends_the_request_with_the_reason(bad: Plan, word: str) -> None:
    row, [_, effects] = run(request(workflow=None), bad)
    answer = reply(effects).answer
    assert answer.status == "failed" and answer.error is not None and word in answer.error.message
    assert row is not None and row.phase == "ended"


@pytest.mark.parametrize(
    ("changes", "kind", "word"),
    [
        ({"workflow": "nope"}, "unknown_workflow", "there are: invoice"),
        ({"text": "", "attachments": ()}, "invalid_request", "neither text nor attachments"),
        ({"policy": Policy(priority=11)}, "invalid_request", "0 to 9"),
        ({"policy": Policy(max_cost_usd=0.0)}, "invalid_request", "more than 0"),
        ({"session_id": "s" * 101}, "invalid_request", "session_id"),
        ({"tenant": "t" * 101}, "invalid_request", "tenant"),
        ({"text": "x" * 200_000}, "too_large", "send long text as an attachment"),
        ({"attachments": (Attachment(name="a", media_type="t", uri="s3://x", size=1001),)}, "too_large", "1001 bytes"),
        ({"reply_topic": "requests"}, "invalid_request", "reply_topic"),
    ],
)
def test_what_cannot_be_admitted_is_answered_with_a_reason(changes: dict[str, Any], kind: str, word: str) -> None:
    row, [effects] = run(request(**changes))
    answer = reply(effects).answer
    assert answer.status == "failed" and answer.error is not None
    assert answer.error.kind == kind and word in answer.error.message
    assert row is not None and row.phase == "ended"


def test_the_answer_goes_where_the_request_asked() -> None:
    _, [*_, last] = run(request(reply_topic="answers-mine"), result("extract"), result("mood"), result("decide"))
    assert reply(last).topic == "answers-mine"


def test_the_same_request_twice_is_one_request() -> None:
    _, [first, second] = run(request(), request())
    assert dispatched(first) and second == [Drop(reason="duplicate_request")]
    _, [*_, late] = run(request(workflow="nope"), request(workflow="nope"))
    assert late == [Drop(reason="duplicate_request")]


def test_the_first_result_of_a_task_wins_and_the_second_is_counted() -> None:
    again = result("extract", output=Output(specialty="any", text="other", data="{}"))
    row, [_, _, second, _, last] = run(request(), result("extract"), again, result("mood"), result("decide"))
    assert second == [Drop(reason="duplicate_result")]
    answer = reply(last).answer
    assert answer.receipt.duplicates == 1
    assert answer.outputs[0].output.text == "text of extract"
    assert row is not None


def test_results_nobody_asked_for_change_nothing() -> None:
    assert run(result("extract"))[1] == [[Drop(reason="stray_result")]]
    row, [_, before_time] = run(request(), result("decide"))
    assert before_time == [Drop(reason="duplicate_result")]
    assert row is not None and not row.tasks["decide"].settled


def test_late_results_after_the_end_change_nothing() -> None:
    row, [*_, late] = run(request(workflow="nope"), result("extract"))
    assert late == [Drop(reason="late_result")]
    assert row is not None and row.phase == "ended"


def cancel() -> Control:
    return Control(request_id="r1", action="cancel", reason="changed my mind", by="me", at=1)


def test_cancel_answers_with_what_there_is() -> None:
    used = (Usage(provider="anthropic", model="m", cost_usd=0.25),)
    _, [*_, last] = run(request(), result("extract", usage=used), cancel())
    answer = reply(last).answer
    assert answer.status == "cancelled" and answer.error is not None
    assert answer.error.message == "cancelled by me: changed my mind"
    assert answer.receipt.cost_usd == 0.25
    assert [o.task_id for o in answer.outputs] == ["extract"]


def test_a_cancel_that_overtakes_its_request_still_counts() -> None:
    row, [first, second] = run(cancel(), request())
    assert [type(e) for e in first] == [Remind] and reply(second).answer.status == "cancelled"
    assert row is not None and row.phase == "ended"


def test_a_cancel_after_the_end_changes_nothing() -> None:
    _, [_, late] = run(request(workflow="nope"), cancel())
    assert late == [Drop(reason="late_control")]


def test_unknown_prices_make_the_sum_unknown_never_zero() -> None:
    unknown = (Usage(provider="openai", model="m", cost_usd=None),)
    _, [*_, last] = run(request(), result("extract", usage=unknown), result("mood"), result("decide"))
    assert reply(last).answer.receipt.cost_usd is None


def test_a_crashed_step_ends_only_its_request_with_an_answer() -> None:
    row, _ = run(request())
    arrival = Arrival(key="r1", record=result("extract"), trace=TRACE)
    after, effects = give_up(row, arrival, 200)
    error = reply(effects).answer.error
    assert error is not None and error.kind == "internal"
    assert after is not None and after.phase == "ended"


def test_a_row_survives_its_own_serialisation() -> None:
    row, _ = run(request(attachments=(Attachment(name="a", media_type="t", data=b"\xff\x00"),)), result("extract"))
    assert row is not None
    assert Row.model_validate_json(row.model_dump_json(exclude_defaults=True)) == row
