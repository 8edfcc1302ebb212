"""Results, retries, commands and approvals of a request under way."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from services.aggregator.fleet import Fleet, SpecialtyView
from services.aggregator.running import MAX_PAST
from tests.support.join_parts import PLAIN, broke, command, done, fleet, running, task


def test_a_failure_that_may_pass_is_sent_out_once_more_and_only_once() -> None:
    talk = running(task("a"), source="local")(200, broke("a", retryable=True))
    assert talk.dispatched == ["a#2"]
    talk(300, broke("a", retryable=True, attempt=2))
    assert talk.dispatched == [] and talk.answer.status == "failed"
    [receipt] = talk.answer.receipt.tasks
    assert (receipt.dispatches, receipt.calls, receipt.retries) == (2, 2, 1)


def test_a_late_echo_of_the_first_failure_does_not_end_the_second_try() -> None:
    first = broke("a", retryable=True)
    talk = running(task("a"))(200, first)
    assert talk(210, first).dropped == ["duplicate_result"]
    assert talk(220, broke("a", worker="other")).dropped == ["stale_result"]
    assert talk(300, done("a", attempt=2)).answer.status == "completed"


def test_a_result_of_the_first_try_counts_if_it_is_the_first_that_completes() -> None:
    talk = running(task("a"))(200, broke("a", retryable=True))(300, done("a", worker="slow"))
    assert (talk.answer.status, talk.answer.content) == ("completed", "text of a")


def test_a_retry_goes_to_another_variant_that_is_alive() -> None:
    view = SpecialtyView(p50_millis=10, p95_millis=20, workers=1)
    both = Fleet(specialties={"research": view, "research-far": view}, variants={"research": ("research-far",)})
    talk = running(task("a"), world=replace(PLAIN, fleet=both))
    assert [t.specialty for t in talk.tasks] == ["research"]
    assert [t.specialty for t in talk(200, broke("a", retryable=True)).tasks] == ["research-far"]


def test_every_run_is_paid_for_in_the_receipt_but_an_echo_is_not() -> None:
    talk = running(task("a"), task("z", "a"))(200, done("a", cost=0.25))
    assert talk(210, done("a", cost=0.25)).dropped == ["duplicate_result"]
    assert talk(220, done("a", cost=0.5, worker="other")).dropped == ["duplicate_result"]
    receipt = talk(300, done("z", cost=1.0)).answer.receipt
    assert (receipt.cost_usd, receipt.duplicates) == (1.75, 2)


def test_runs_that_were_lost_with_their_workers_are_told_because_nobody_knows_what_they_cost() -> None:
    talk = running(task("a"), task("z", "a"))(200, broke("a", retryable=True, lost_runs=1))
    talk(210, done("a", attempt=2, lost_runs=2))
    receipt = talk(300, done("z")).answer.receipt
    assert ([t.lost_runs for t in receipt.tasks], receipt.lost_runs) == ([3, 0], 3)


def test_a_run_that_was_taken_for_lost_and_came_back_is_not_lost() -> None:
    talk = running(task("a"), task("z", "a"))(200, done("a", lost_runs=2))
    talk(210, done("a", worker="frozen"))
    receipt = talk(300, done("z")).answer.receipt
    assert (receipt.lost_runs, receipt.duplicates, receipt.calls) == (1, 1, 3)


def test_what_is_kept_of_surplus_runs_is_bounded() -> None:
    talk = running(task("a"), task("z", "a"))(200, done("a"))
    for n in range(3 * MAX_PAST):
        talk(210 + n, done("a", worker=f"w-{n}"))
    assert talk.row is not None and len(talk.row.tasks["a"].past) == MAX_PAST
    assert talk.row.duplicates == 3 * MAX_PAST


def test_nobody_but_a_person_ends_an_approval() -> None:
    talk = running(task("ok", kind="approval"), task("z", "ok"))
    assert talk.dispatched == [] and [p.kind for p in talk.told] == ["planned", "other"]
    assert talk(200, done("ok")).dropped == ["duplicate_result"]
    assert talk(300, command("approve", "ok", by="me", reason="fine")).dispatched == ["z"]
    [given] = talk.tasks[0].inputs
    assert json.loads(given.output.data) == {"decision": "approved", "by": "me", "reason": "fine"}
    assert [(p.kind, p.task_id, p.text) for p in talk.told] == [("completed", "ok", "approved by me: fine")]


@pytest.mark.parametrize("name", ["ok", None])
def test_a_refusal_fails_the_step_and_what_needs_it(name: str | None) -> None:
    talk = running(task("a"), task("ok", "a", kind="approval"), task("z", "ok"))(200, done("a"))
    answer = talk(300, command("reject", name, by="me")).answer
    assert (answer.status, answer.error.kind, answer.content) == ("partial", "rejected", "a:\ntext of a")
    assert [t.state for t in answer.receipt.tasks] == ["completed", "failed", "skipped"]
    assert answer.receipt.replans == ()


def test_a_refusal_that_the_plan_provides_for_takes_the_other_branch() -> None:
    rejected = json.dumps({"task": "ok", "field": "decision", "equals": "rejected"})
    tasks = (
        task("ok", kind="approval"),
        task("send", "ok"),
        task("decline", "ok", condition=rejected),
        task("z", "send", "decline"),
    )
    talk = running(*tasks)(200, command("reject", "ok"))
    assert talk.dispatched == ["decline"]
    answer = talk(300, done("decline"))(400, done("z")).answer
    assert answer.status == "completed" and answer.receipt.left_out == ()


def test_a_decision_that_fits_no_step_changes_nothing() -> None:
    talk = running(task("a"), task("ok", kind="approval"), task("yes", kind="approval"), task("z", "ok", "yes"))
    assert talk(200, command("approve", "a")).dropped == ["control_without_step"]
    assert talk(210, command("approve")).dropped == ["control_without_step"]  # two wait
    assert talk(220, command("approve", "ok")).dropped == []
    assert talk(230, command("reject", "ok")).dropped == ["control_without_step"]


def test_a_cancellation_orders_nothing_because_workers_have_read_it() -> None:
    talk = running(task("a"), world=replace(PLAIN, fleet=fleet()))(200, command("cancel"))
    assert talk.answer.status == "cancelled" and talk.orders == []
