"""Sessions and tenants' budgets: asked before planning, given back at the end, whatever the end."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from hocket.contracts.workflows import Step, Workflow
from tests.support.join_parts import PLAIN, Talk, broke, command, done, grant, plan, request, task, wake

FLOW = Workflow(name="flow", description="-", tasks=(Step(id="z", specialty="writing", instruction="-"),), output="z")
CAPPED = replace(PLAIN, tenant_caps={"default": 5.0}, task_cost_usd={"writing": 0.5}, workflows={"flow": FLOW})
CONTEXT = json.dumps({"context": {"results": {"research": "earlier"}, "constants": {"k": "old", "u": "me"}}})


def opened(**changes: object) -> Talk:
    return Talk()(100, request(session_id="s", constants={"k": "new"}, **changes))


def test_a_session_is_asked_for_before_anything_is_planned() -> None:
    talk = opened(policy={"on_busy": "enqueue", "deadline": 9_000})
    [asked] = talk.asked
    assert (asked.account_id, asked.asker, asked.action, asked.command_id) == (
        "session/default/s",
        "r",
        "open",
        "r/open",
    )
    assert json.loads(asked.detail) == {"on_busy": "enqueue", "ttl_seconds": 3_600, "deadline": 9_000}
    assert talk.dispatched == [] and talk.due == [9_000]


def test_what_the_session_knows_reaches_every_task_and_the_request_wins() -> None:
    talk = opened()(200, grant("r/open", detail=CONTEXT))
    [planning] = talk.tasks
    assert planning.constants == {"k": "new", "u": "me"}
    assert json.loads(planning.context) == {"results": {"research": "earlier"}}
    [sent] = talk(300, plan(task("z"))).tasks
    assert sent.constants == planning.constants and sent.context == planning.context


def test_at_its_end_the_session_gets_this_requests_results_and_constants() -> None:
    talk = opened()(200, grant("r/open", detail=CONTEXT))(300, plan(task("z", specialty="writing")))(400, done("z"))
    [closed] = talk.asked
    assert (closed.account_id, closed.action) == ("session/default/s", "close")
    assert json.loads(closed.detail) == {"results": {"writing": "text of z"}, "constants": {"k": "new", "u": "me"}}


def test_a_busy_session_refuses_with_a_reason_and_nothing_is_closed() -> None:
    talk = opened()(200, grant("r/open", granted=False, detail='{"reason": "request q uses it"}'))
    assert (talk.answer.status, talk.answer.error.kind) == ("failed", "session_busy")
    assert "request q uses it" in talk.answer.error.message and talk.asked == []


@pytest.mark.parametrize("detail", ["not json", "[]", '{"context": 3}', '{"context": {"results": {"a": 1}}}'])
def test_a_grant_that_says_nothing_usable_gives_nothing(detail: str) -> None:
    [planning] = opened()(200, grant("r/open", detail=detail)).tasks
    assert planning.constants == {"k": "new"} and planning.context is None


@pytest.mark.parametrize("ending", ["cancel", "deadline"])
def test_who_stops_waiting_leaves_the_queue(ending: str) -> None:
    talk = opened(policy={"deadline": 9_000})
    talk(9_000, command("cancel") if ending == "cancel" else wake(9_000))
    assert talk.answer.status == ("cancelled" if ending == "cancel" else "expired")
    assert [c.action for c in talk.asked] == ["close"]
    assert talk(9_100, grant("r/open")).dropped == ["late_grant"]


def test_who_loses_its_session_to_a_later_request_is_cancelled_and_its_calls_stopped() -> None:
    talk = opened()(200, grant("r/open"))(300, plan(task("z")))
    talk(400, grant("r/open", granted=False, detail='{"revoked": true, "reason": "request q replaced it"}'))
    assert talk.answer.status == "cancelled" and "request q" in talk.answer.error.message
    assert talk.orders == ["cancel"]


def test_a_tenants_budget_is_reserved_and_settled_with_what_it_cost() -> None:
    talk = Talk(world=CAPPED)(100, request(workflow="flow"))
    [reserved] = talk.asked
    assert (reserved.account_id, reserved.action, reserved.amount) == ("tenant/default", "reserve", 0.5)
    assert json.loads(reserved.detail) == {"limit_usd": 5.0, "at_most": True}
    talk(200, grant("r/reserve", account="tenant/default", amount=0.5))(300, done("z", cost=0.125))
    assert [(c.action, c.amount) for c in talk.asked] == [("settle", 0.125)]


def test_unknown_prices_settle_what_was_reserved() -> None:
    talk = Talk(world=CAPPED)(100, request(workflow="flow"))(
        200, grant("r/reserve", account="tenant/default", amount=0.5)
    )
    assert [c.amount for c in talk(300, done("z", cost=None)).asked] == [0.5]


def test_without_budget_left_the_request_is_refused_and_its_session_closed() -> None:
    talk = Talk(world=CAPPED)(100, request(workflow="flow", session_id="s"))(200, grant("r/open"))
    assert [c.action for c in talk.asked] == ["reserve"]
    talk(300, grant("r/reserve", granted=False, account="tenant/default", detail='{"reason": "0.1 left"}'))
    assert talk.answer.error.kind == "over_budget" and [c.action for c in talk.asked] == ["close"]


def test_a_grant_that_was_not_waited_for_changes_nothing() -> None:
    talk = opened()(200, grant("r/open"))
    assert talk(300, grant("r/open")).dropped == ["late_grant"]
    assert Talk()(100, grant("r/open")).dropped == ["late_grant"]


def test_a_failed_request_closes_its_session_too() -> None:
    talk = opened()(200, grant("r/open"))(300, plan(task("z")))(400, broke("z", kind="needs_model"))
    assert [c.action for c in talk.asked] == ["close"]
