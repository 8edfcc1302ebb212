"""A cap is split, never given twice, and what is not spent comes back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.contracts.records import Usage
from services.aggregator.budget import held, rest, spent
from services.aggregator.row import Row
from tests.support.join_parts import PLAIN, Talk, broke, done, plan, request, running, task

CAPS = replace(PLAIN, cost_caps=True)
FAN = (task("a"), task("b"), task("c"), task("z", "a", "b", "c"))


def capped(*tasks: Any, cap: float = 8.0, world: Any = CAPS) -> Talk:
    return running(*tasks, world=world, policy={"max_cost_usd": cap})


def row_of(talk: Talk) -> Row:
    assert talk.row is not None
    return talk.row


def test_a_cap_is_refused_while_workers_do_not_keep_their_shares() -> None:
    talk = Talk()(100, request(policy={"max_cost_usd": 1.0}))
    assert talk.answer.error.kind == "not_supported"


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


@pytest.mark.parametrize("world", [PLAIN, CAPS])
def test_without_a_cap_there_are_no_shares(world: Any) -> None:
    assert [t.budget_usd for t in running(*FAN, world=world).tasks] == [None] * 3


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
