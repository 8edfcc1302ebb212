"""One timer for each request, and what is due when it rings."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from services.aggregator.fleet import STUCK_LEAST_MS
from tests.support.join_parts import PLAIN, Talk, broke, command, done, fleet, plan, request, running, task, wake

DAYS = PLAIN.done_marker_ms
KNOWN = replace(PLAIN, fleet=fleet())


def test_the_deadline_ends_a_request_with_what_there_is_and_stops_what_runs() -> None:
    talk = running(task("a"), task("b"), task("z", "a", "b"), policy={"deadline": 1_000})
    talk(200, done("a"))
    assert talk.row is not None and talk.row.alarm == 1_000
    answer = talk(1_000, wake(1_000)).answer
    assert (answer.status, answer.content, answer.error.kind) == ("expired", "a:\ntext of a", "deadline")
    assert talk.orders == ["cancel"] and talk.due == [1_000 + DAYS]


def test_with_only_optional_tasks_out_the_deadline_completes() -> None:
    talk = running(task("a", optional=True), task("z"), policy={"deadline": 1_000})(200, done("z"))
    assert talk(1_000, wake(1_000)).answer.status == "completed"


@pytest.mark.parametrize("early", [0, 1, 999])
def test_an_early_wakeup_changes_nothing_but_sets_the_timer_again(early: int) -> None:
    talk = running(task("z"), policy={"deadline": 1_000})
    assert talk(500, wake(1_000, early)).sent != [] and talk.due == [1_000]
    assert talk.row is not None and talk.row.phase == "running"


def test_a_wakeup_of_an_older_timer_leaves_the_newer_one() -> None:
    talk = running(task("z"), policy={"deadline": 1_000})
    assert talk(500, wake(400)).sent == []


def test_an_old_request_is_expired_at_once_without_planning() -> None:
    talk = Talk()(2_000, request(policy={"deadline": 1_000}))
    assert talk.dispatched == [] and talk.answer.status == "expired"


def test_a_marker_is_kept_for_its_time_and_then_forgotten_with_its_timer() -> None:
    talk = running(task("z"))(200, done("z"))
    assert talk.due == [200 + DAYS]
    assert talk(300, wake(200 + DAYS)).due == [200 + DAYS]
    assert talk(200 + DAYS, wake(200 + DAYS)).row is None
    assert talk.due == [None]


def test_a_command_without_a_request_is_forgotten_too() -> None:
    talk = Talk()(100, command("cancel"))
    assert talk.due == [100 + DAYS]
    assert talk(100 + DAYS, wake(100 + DAYS)).row is None and talk.due == [None]


def test_a_wakeup_for_nobody_clears_its_timer() -> None:
    talk = Talk()(100, wake(50))
    assert talk.row is None and talk.dropped == ["stray_wakeup"] and talk.due == [None]


def test_a_silent_task_is_sent_once_more_and_then_given_up() -> None:
    talk = running(task("z"), world=KNOWN, source="local")
    assert talk.row is not None and talk.row.alarm is not None
    assert talk(100 + STUCK_LEAST_MS, wake(talk.row.alarm)).dispatched == ["z#2"]
    answer = talk(100 + 2 * STUCK_LEAST_MS, wake(100 + 2 * STUCK_LEAST_MS)).answer
    assert (answer.status, answer.error.kind) == ("failed", "stuck")
    assert "2 times" in answer.error.message and talk.orders == ["cancel"]


def test_a_task_that_gives_signs_of_life_is_not_stuck() -> None:
    talk = running(task("z"), world=KNOWN)
    talk.world = replace(PLAIN, fleet=fleet(signs={"r/z": 50_000}))
    assert talk(100 + STUCK_LEAST_MS, wake(100 + STUCK_LEAST_MS)).dispatched == []
    assert talk.due == [50_000 + STUCK_LEAST_MS]


def test_a_task_that_waits_behind_others_is_not_stuck_but_one_that_was_begun_is() -> None:
    later = 100 + 10 * STUCK_LEAST_MS
    waits = running(task("z"), world=replace(PLAIN, fleet=fleet(queue=5)))
    assert waits(later, wake(later)).dispatched == []
    begun = running(task("z"), world=replace(PLAIN, fleet=fleet(queue=5, signs={"r/z": 150})))
    assert begun(later, wake(later)).dispatched == ["z#2"]


def test_without_heartbeats_nothing_is_taken_for_stuck() -> None:
    talk = running(task("z"))
    assert talk.row is not None and talk.row.alarm is None
    assert talk(10**9, wake(10**9)).dispatched == []


def test_a_silent_planner_is_asked_again_and_then_given_up() -> None:
    talk = Talk(world=KNOWN)(100, request())
    assert talk(100 + STUCK_LEAST_MS, wake(100 + STUCK_LEAST_MS)).dispatched == ["planning#2"]
    assert talk(100 + 2 * STUCK_LEAST_MS, wake(100 + 2 * STUCK_LEAST_MS)).answer.error.kind == "stuck"


def test_a_silent_planner_of_a_revision_leaves_the_failure_standing() -> None:
    talk = running(task("z"), world=KNOWN)(200, broke("z"))
    assert talk.dispatched == ["planning"]
    talk(200 + STUCK_LEAST_MS, wake(10**9))(200 + 2 * STUCK_LEAST_MS, wake(10**9))
    assert talk.answer.error.kind == "broke"
    assert [r.error.kind for r in talk.answer.receipt.replans] == ["stuck"]


def test_optional_tasks_that_lag_are_done_without_in_time_for_the_rest() -> None:
    talk = running(task("a"), task("b", optional=True), task("z", "a", "b"), policy={"deadline": 4_050})
    talk(200, done("a"))
    assert talk.row is not None and talk.row.alarm == 3_050  # three quarters of the time from 50 to 4,050
    assert talk(3_050, wake(3_050)).dispatched == ["z"]
    assert talk(3_100, done("b", cost=0.5)).dropped == ["duplicate_result"]
    answer = talk(3_200, done("z")).answer
    assert (answer.status, answer.receipt.cost_usd) == ("completed", 0.5)
    assert [x.why for x in answer.receipt.left_out] == ["it lagged behind the request's deadline"]


def test_with_known_times_the_last_call_is_as_late_as_can_be() -> None:
    world = replace(PLAIN, fleet=fleet(p50=50, p95=300))
    talk = running(task("b", optional=True), task("z", "b"), policy={"deadline": 4_050}, world=world)
    assert talk.row is not None and talk.row.alarm == 3_750


@pytest.mark.parametrize(("on_timeout", "status"), [("approve", "completed"), ("reject", "failed"), (None, "failed")])
def test_an_approval_that_nobody_gives_is_decided_by_its_timeout(on_timeout: str | None, status: str) -> None:
    options = json.dumps({"timeout_ms": 500} | ({"on_timeout": on_timeout} if on_timeout else {}))
    talk = running(task("ok", kind="approval", options=options), task("z", "ok"))
    assert talk.due == [600]
    talk(600, wake(600))
    if status == "completed":
        talk(700, done("z"))
    assert talk.answer.status == status


def test_an_approval_without_a_timeout_waits_for_days() -> None:
    talk = running(task("ok", kind="approval"), task("z", "ok"))
    assert talk.row is not None and talk.row.alarm is None
    week = 7 * 86_400_000
    assert talk(week, command("approve", "ok")).dispatched == ["z"]


def test_a_replanned_request_keeps_its_deadline() -> None:
    talk = running(task("z"), policy={"deadline": 1_000})(200, broke("z"))
    assert talk(1_000, wake(1_000)).answer.status == "expired" and talk.orders == ["cancel"]
    assert talk(1_100, plan(task("z2"), revision=1)).dropped == ["duplicate_plan"]
