"""A cap is split, never given twice, and what is not spent comes back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hocket.contracts.records import Usage
from services.aggregator.budget import held, rest, spent
from services.aggregator.row import Row
from tests.support.join_parts import PLAIN, Talk, broke, done, grant, plan, request, running, task

CAPS = PLAIN
FAN = (task("a"), task("b"), task("c"), task("z", "a", "b", "c"))


def capped(*tasks: Any, cap: float = 8.0, world: Any = CAPS) -> Talk:
    return running(*tasks, world=world, policy={"max_cost_usd": cap})


def row_of(talk: Talk) -> Row:
    assert talk.row is not None
    return talk.row


def test_parallel_tasks_get_parts_of_one_rest_and_the_last_is_not_left_without() -> None:
    talk = capped(*FAN)
    assert [t.budget_usd for t in talk.tasks] == [2.0, 2.0, 2.0]
    assert rest(row_of(talk)) == 2.0


def test_shares_follow_what_specialties_usually_cost() -> None:
    prices = {"research": 3.0, "writing": 1.0}
    talk = capped(task("a"), task("z", "a", specialty="writing"), world=replace(CAPS, task_cost_usd=prices))
    assert [t.budget_usd for t in talk.tasks] == [6.0]


def test_what_was_not_spent_comes_back() -> None:
    talk = capped(*FAN)
    for task_id in "abc":
        talk(200, done(task_id, cost=0.5))
    assert [t.budget_usd for t in talk.tasks] == [6.5]


def test_an_unknown_price_counts_as_the_whole_share() -> None:
    talk = capped(*FAN)(200, done("a", cost=None))
    assert spent(row_of(talk)) == 2.0


def test_a_retry_gets_a_share_of_what_is_left_after_the_first_try() -> None:
    talk = capped(*FAN)(200, broke("a", retryable=True, cost=1.0))
    assert [t.budget_usd for t in talk.tasks] == [1.5]  # 8 - 1 spent - 4 held, half of it is the last task's


def test_a_planning_call_has_a_share_too() -> None:
    talk = Talk(world=CAPS)(50, request(policy={"max_cost_usd": 10.0}))
    assert [t.budget_usd for t in talk.tasks] == [2.0] and held(row_of(talk)) == 2.0
    paid = plan(task("z"), usage=(Usage(provider="p", model="m", cost_usd=1.0),))
    assert [t.budget_usd for t in talk(100, paid).tasks] == [9.0]


def test_nothing_is_begun_with_nothing_left() -> None:
    talk = capped(task("a"), task("z", "a"), cap=1.0)(200, done("a", cost=1.5))
    assert talk.dispatched == []
    assert (talk.answer.status, talk.answer.error.message) == ("partial", "z: the request's budget is spent")


def test_without_a_cap_there_are_no_shares() -> None:
    assert [t.budget_usd for t in running(*FAN).tasks] == [None] * 3


@given(
    st.lists(
        st.tuples(st.sampled_from("abcz"), st.sampled_from(("done", "retry", "fail")), st.floats(0, 1)), max_size=12
    )
)
def test_spent_held_and_rest_never_exceed_the_cap(events: list[tuple[str, str, float]]) -> None:
    talk = capped(*FAN)
    for n, (task_id, what, part) in enumerate(events):
        row = row_of(talk)
        if row.phase != "running" or task_id not in row.tasks or not row.tasks[task_id].awaited:
            continue
        known = row.tasks[task_id]
        fields = {"cost": part * known.shares[-1], "attempt": known.attempt}
        result = done(task_id, **fields) if what == "done" else broke(task_id, retryable=what == "retry", **fields)
        talk(200 + n, result)
        row = row_of(talk)
        if row.phase == "running":
            left = rest(row)
            assert left is not None and abs(spent(row) + held(row) + left - 8.0) < 1e-9


def test_a_share_that_was_too_small_is_tried_once_more_with_all_that_is_left_and_without_what_is_optional() -> None:
    talk = capped(task("a"), task("b"), task("o", "b", optional=True), task("z", "a", "b", "o"))
    assert [t.budget_usd for t in talk.tasks] == [2.0, 2.0]
    talk(200, done("b", cost=0.5))
    assert [(t.task_id, t.budget_usd) for t in talk.tasks] == [("o", 2.75)]
    talk(300, broke("a", kind="over_budget", cost=0.0))
    assert [(t.task_id, t.attempt, t.budget_usd) for t in talk.tasks] == [("a", 2, 4.75)]
    assert talk(400, done("a", attempt=2, cost=1.0)).dispatched == []
    talk(500, broke("a", kind="over_budget", attempt=2, cost=0.0))
    assert talk.dropped == ["duplicate_result"]


def test_an_optional_task_that_has_not_begun_is_done_without() -> None:
    talk = capped(task("a"), task("b"), task("o", "b", optional=True), task("z", "a", "b", "o"))
    talk(200, broke("a", kind="over_budget", cost=0.0))
    assert [(t.task_id, t.budget_usd) for t in talk.tasks] == [("a", 6.0)]
    talk(300, done("b", cost=0.1))(400, done("a", attempt=2, cost=0.1))
    assert talk.dispatched == ["z"]
    answer = talk(500, done("z", cost=0.1)).answer
    assert answer.status == "completed"
    assert [(x.what, "budget is short" in x.why) for x in answer.receipt.left_out] == [("o", True)]


def test_with_nothing_more_to_give_the_answer_is_partial() -> None:
    talk = capped(task("a"), task("z", "a"))(200, done("a", cost=7.0))
    talk(300, broke("z", kind="over_budget", cost=0.0))
    assert (talk.answer.status, talk.answer.error.kind) == ("partial", "over_budget")
    receipt = talk.answer.receipt
    assert (receipt.max_cost_usd, receipt.spent_usd, receipt.reserved_usd) == (8.0, 7.0, 0.0)
    assert [t.budget_usd for t in receipt.tasks] == [4.0, 1.0]


def test_what_a_tenants_day_gave_is_the_requests_cap() -> None:
    world = replace(PLAIN, tenant_caps={"default": 20.0})
    talk = Talk(world=world)(100, request())
    assert [(c.amount, json.loads(c.detail)) for c in talk.asked] == [(0.2, {"limit_usd": 20.0, "at_most": True})]
    talk(200, grant("r/reserve", account="tenant/default", amount=0.5))
    assert row_of(talk).cap_usd == 0.5
    assert [t.budget_usd for t in talk.tasks] == [0.1]
