"""Bundles: which chains are sent as one, and that whatever comes back of them ends as it would have without."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hocket.contracts.records import BundledResult, Output, PlannedTask, Result
from services.aggregator.bundling import BUSY_MS, MAX_STEPS
from services.aggregator.fleet import Fleet, SpecialtyView
from tests.support.join_parts import PLAIN, Talk, broke, command, done, plan, request, task

PRESSED = replace(PLAIN, pressed=True, local={"balanced": {"research", "writing", "synthesis"}, "fast": {"writing"}})
CHAIN = (task("a"), task("b", "a"), task("c", "b", specialty="writing"))


def begun(*tasks: PlannedTask, world: Any = PRESSED, policy: dict[str, Any] | None = None) -> Talk:
    return Talk(world=world)(0, request(policy))(1, plan(*tasks))


def steps(talk: Talk) -> dict[str, list[str]]:
    return {t.task_id: [s.task_id for s in t.bundle] for t in talk.tasks}


def behind(task_id: str, **changes: Any) -> BundledResult:
    fields = {
        "task_id": task_id,
        "specialty": "research",
        "output": Output(specialty="research", text=task_id, data="{}"),
    }
    return BundledResult(**(fields | {"attempt": 1, "started_at": 2, "ended_at": 3} | changes))


def with_bundle(result: Result, *behind_it: BundledResult) -> Result:
    return result.model_copy(update={"bundle": behind_it})


def test_a_chain_is_sent_as_one_only_while_the_aggregator_is_behind() -> None:
    assert steps(begun(*CHAIN)) == {"a": ["b", "c"]}
    assert steps(begun(*CHAIN, world=replace(PRESSED, pressed=False))) == {"a": []}


@pytest.mark.parametrize(
    ("tasks", "sent"),
    [
        ((task("a"), task("b", "a"), task("c", "a"), task("d", "b", "c")), {"a": []}),
        ((task("a"), task("b", "a", specialty="research-far")), {"a": []}),
        ((task("a"), task("b", "a", kind="approval"), task("c", "b")), {"a": []}),
        ((task("a"), task("b", "a", strategy="fast"), task("c", "b")), {"a": []}),
        ((task("a", optional=True), task("b", "a")), {"a": []}),
        ((task("a"), task("b", "a", condition='{"task": "a", "field": "v", "equals": 1}'), task("c", "b")), {"a": []}),
        ((task("a"), task("b"), task("c", "a", "b")), {"a": [], "b": []}),
        ((task("a"), task("b", "a", specialty="synthesis")), {"a": []}),
        ((task("a"), task("b", "a", specialty="synthesis", options='{"template": "x"}')), {"a": ["b"]}),
    ],
    ids=["fork", "heavy", "approval", "strategy", "optional", "condition", "join", "repeats", "template"],
)
def test_only_simple_steps_that_nothing_else_waits_for_are_bundled(
    tasks: tuple[PlannedTask, ...], sent: dict[str, list[str]]
) -> None:
    assert steps(begun(*tasks)) == sent


def test_a_bundle_is_bounded_and_keeps_off_busy_specialties() -> None:
    many = [task("t0"), *(task(f"t{n}", f"t{n - 1}") for n in range(1, 8))]
    assert steps(begun(*many)) == {"t0": [f"t{n}" for n in range(1, MAX_STEPS + 1)]}
    busy = SpecialtyView(p50_millis=BUSY_MS, workers=1, queue=2)
    assert steps(begun(*CHAIN, world=replace(PRESSED, fleet=Fleet(specialties={"research": busy})))) == {"a": []}


def test_what_is_reported_together_counts_and_the_receipt_says_who_was_bundled() -> None:
    talk = begun(*CHAIN)(5, with_bundle(done("a"), behind("b"), behind("c", specialty="writing")))
    assert talk.dispatched == []
    answer = talk.sent[0].answer  # type: ignore[union-attr]
    assert (answer.status, answer.content) == ("completed", "c")
    assert [(t.task_id, t.state, t.bundled_with, t.worker) for t in answer.receipt.tasks] == [
        ("a", "completed", None, "w1"),
        ("b", "completed", "a", "w1"),
        ("c", "completed", "a", "w1"),
    ]


def test_a_step_that_was_left_goes_the_ordinary_way_with_what_is_there() -> None:
    talk = begun(*CHAIN)(5, with_bundle(done("a"), behind("b")))
    assert steps(talk) == {"c": []}
    assert [i.output.text for i in talk.tasks[0].inputs] == ["b"]
    assert talk.tasks[0].attempt == 1


def test_the_first_one_left_may_begin_another_bundle() -> None:
    assert steps(begun(*CHAIN)(5, done("a"))) == {"b": ["c"]}


def test_a_failed_first_task_is_tried_again_alone_and_the_steps_wait_for_it() -> None:
    talk = begun(*CHAIN)(5, broke("a", retryable=True))
    assert (talk.dispatched, steps(talk)) == (["a#2"], {"a": []})
    talk(6, done("a", attempt=2))
    assert steps(talk) == {"b": ["c"]}


def test_the_same_report_twice_counts_once() -> None:
    report = with_bundle(done("a"), behind("b"))
    talk = begun(*CHAIN)(5, report)
    before = talk.row
    talk(6, report)
    assert talk.dispatched == []
    assert talk.row is not None
    assert before is not None
    assert talk.row.tasks == before.tasks


def test_a_report_after_the_deadline_counts_only_its_first_task() -> None:
    talk = begun(*CHAIN, policy={"deadline": 50})(60, with_bundle(done("a"), behind("b")))
    answer = talk.sent[0].answer  # type: ignore[union-attr]
    assert (answer.status, [o.task_id for o in answer.outputs]) == ("expired", ["a"])


def test_a_cancelled_bundle_ends_like_any_task() -> None:
    talk = begun(*CHAIN)(5, command("cancel"))
    assert talk.sent[0].answer.status == "cancelled"  # type: ignore[union-attr]
    talk(6, with_bundle(done("a"), behind("b")))
    assert [type(e).__name__ for e in talk.sent] == ["Drop"]


def test_the_steps_cost_nothing_of_the_cap_and_get_their_share_when_they_go_the_ordinary_way() -> None:
    talk = begun(*CHAIN, policy={"max_cost_usd": 3.0})
    first = talk.tasks[0]
    talk(5, done("a", cost=0.5))
    assert first.budget_usd == pytest.approx(1.0, rel=0.5)
    assert talk.tasks[0].budget_usd is not None
    assert talk.tasks[0].budget_usd <= 2.5
