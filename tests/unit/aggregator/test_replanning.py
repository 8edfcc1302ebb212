"""A plan whose required tasks failed is mended: by the planner, for the failed part only, twice at most."""

from __future__ import annotations

import json

import pytest

from hocket.contracts.records import Error, Usage
from tests.support.join_parts import Talk, broke, done, plan, running, task

TASKS = (task("a"), task("b"), task("z", "a", "b"))


def failed() -> Talk:
    return running(*TASKS)(200, done("a"))(300, broke("b"))


def test_the_planner_is_asked_for_the_failed_part_with_what_is_known() -> None:
    talk = failed()
    [asked] = talk.tasks
    assert (asked.specialty, asked.revision, [i.task_id for i in asked.inputs]) == ("planning", 1, ["a"])
    part = json.loads(asked.options)["replan"]
    assert part["failed"] == [{"task_id": "b", "error": {"kind": "broke", "message": "b broke"}}]
    assert part["done"] == ["a"] and [t["task_id"] for t in part["plan"]] == ["a", "b", "z"]


def test_a_revision_takes_the_place_of_the_failed_and_shows_in_the_receipt() -> None:
    usage = (Usage(provider="p", model="m", cost_usd=0.5),)
    talk = failed()(400, plan(task("b2"), task("z", "a", "b2"), revision=1, usage=usage, lost_runs=1))
    assert talk.dispatched == ["b2"] and talk.tasks[0].revision == 1
    assert [t.task_id for t in talk.told[0].tasks] == ["a", "z", "b2"]
    assert talk(500, done("b2")).dispatched == ["z"]
    answer = talk(600, done("z")).answer
    receipt = answer.receipt
    assert (answer.status, answer.error, receipt.revision, receipt.cost_usd) == ("completed", None, 1, 0.5)
    assert receipt.lost_runs == 1, "of the planner, whose calls may be billed"
    first = receipt.tasks[0]
    assert (first.task_id, first.state, first.replaced_by) == ("b", "failed", 1)
    [note] = receipt.replans
    assert (note.failed, set(note.added), note.planner, note.millis) == (("b",), {"b2", "z"}, "p", 20)


def test_the_rest_goes_on_while_the_planner_thinks() -> None:
    tasks = (task("a"), task("b"), task("c", "a"), task("z", "b", "c"))
    talk = running(*tasks)(200, broke("b"))
    assert talk(300, done("a")).dispatched == ["c"]
    assert talk(400, done("c")).sent == []


@pytest.mark.parametrize(
    "bad",
    [
        plan(revision=1, error=Error(kind="overloaded", message="no")),
        plan(task("b2"), revision=1),  # z still needs b
        plan(task("b"), task("z", "a", "b"), revision=1),
        plan(task("b2", specialty="astrology"), task("z", "a", "b2"), revision=1),
    ],
)
def test_without_a_sound_revision_the_failure_stands(bad: object) -> None:
    talk = failed()(400, bad)
    answer = talk.answer
    assert (answer.status, answer.error.kind, answer.error.message) == ("partial", "broke", "b: b broke")
    assert answer.receipt.replans[0].error is not None


def test_after_two_revisions_the_failure_stands() -> None:
    talk = failed()
    for revision in (1, 2):
        name = f"b{revision}"
        talk(400, plan(task(name), task("z", "a", name), revision=revision))(500, broke(name))
    assert talk.dispatched == [] and talk.answer.status == "partial"
    assert [r.error for r in talk.answer.receipt.replans] == [None, None]


def test_a_second_failure_meanwhile_gets_a_revision_of_its_own() -> None:
    tasks = (task("a"), task("b"), task("z", "a", "b"))
    talk = running(*tasks)(200, broke("a"))(300, broke("b"))
    assert talk.dispatched == []
    talk(400, plan(task("a1"), task("z", "a1", "b"), revision=1))
    assert talk.dispatched == ["planning", "a1"]
    assert talk.tasks[0].revision == 2
    talk(500, plan(task("b2"), task("z", "a1", "b2"), revision=2))(600, done("a1"))(700, done("b2"))
    assert talk(800, done("z")).answer.status == "completed"


@pytest.mark.parametrize("kind", ["needs_model", "deadline", "cancelled"])
def test_what_no_plan_can_mend_is_not_replanned(kind: str) -> None:
    talk = running(task("z"))(200, broke("z", kind=kind))
    assert talk.answer.status == "failed" and talk.dispatched == []


@pytest.mark.parametrize("source", ["local", "workflow"])
def test_only_a_models_plan_is_revised(source: str) -> None:
    assert running(task("z"), source=source)(200, broke("z")).dispatched == []


def test_a_plan_that_nobody_asked_for_is_dropped() -> None:
    late = plan(task("x"), revision=1)
    assert running(*TASKS)(200, late).dropped == ["duplicate_plan"]
    assert failed()(400, plan(task("x"), revision=2)).dropped == ["duplicate_plan"]
