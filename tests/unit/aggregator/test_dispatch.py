"""What is skipped, what is dispatched, and what is expected next."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from hocket.contracts.records import Output
from services.aggregator.dispatch import backlog, record_of
from tests.support.join_parts import PLAIN, broke, done, fleet, running, task

WANTED = json.dumps({"task": "a", "field": "v", "equals": 1})


def test_a_task_whose_condition_does_not_hold_is_passed_over_and_nothing_is_missing() -> None:
    talk = running(task("a"), task("b", "a", condition=WANTED), task("z", "a", "b"))
    assert talk(200, done("a", '{"v": 0}')).dispatched == ["z"]
    answer = talk(300, done("z")).answer
    assert answer.status == "completed" and answer.receipt.left_out == ()
    assert [(t.state, t.error.message if t.error else None) for t in answer.receipt.tasks][1] == (
        "skipped",
        "its condition does not hold",
    )


def test_a_task_whose_condition_holds_is_dispatched() -> None:
    talk = running(task("a"), task("b", "a", condition=WANTED), task("z", "a", "b"))
    assert talk(200, done("a", '{"v": 1}')).dispatched == ["b"]


def test_a_synthesis_of_one_is_skipped_and_the_one_is_the_answer() -> None:
    talk = running(task("a"), task("b", optional=True), task("z", "a", "b", specialty="synthesis"))
    answer = talk(200, broke("b"))(300, done("a")).answer
    assert (answer.status, answer.content) == ("completed", "text of a")
    last = answer.receipt.tasks[-1]
    assert (last.state, last.error.message) == ("skipped", "the output of a already is the answer")
    assert [x.what for x in answer.receipt.left_out] == ["b"]


@pytest.mark.parametrize(
    "last",
    [
        task("z", "a", "b", specialty="synthesis"),
        task("z", "a", specialty="writing"),
        task("z", "a", specialty="synthesis", options='{"style": "brief"}'),
    ],
)
def test_a_task_that_has_something_to_do_is_not_skipped(last: object) -> None:
    talk = running(task("a"), task("b", optional=True), last)(200, done("b"))  # type: ignore[arg-type]
    assert talk(300, done("a")).dispatched == ["z"]


def test_an_optional_task_that_nobody_can_use_any_more_is_not_begun() -> None:
    talk = running(
        task("a"), task("b"), task("x", "b", optional=True), task("y", "a", "x"), task("z", "y"), source="local"
    )
    talk(200, broke("a"))
    answer = talk(300, done("b")).answer
    assert {t.task_id: t.state for t in answer.receipt.tasks} == {
        "a": "failed",
        "b": "completed",
        "x": "skipped",
        "y": "skipped",
        "z": "skipped",
    }


def test_what_even_a_fast_run_would_not_end_in_time_is_not_begun_once_times_are_known() -> None:
    slow = replace(PLAIN, fleet=fleet(p50=10_000))
    tasks = (task("a"), task("z", "a"))
    talk = running(*tasks, world=slow, policy={"deadline": 6_000})(5_000, done("a"))
    answer = talk.answer
    assert (answer.status, answer.content, answer.error.kind) == ("partial", "a:\ntext of a", "skipped")
    assert "before the deadline" in answer.error.message
    unknown = running(*tasks, policy={"deadline": 6_000})(5_000, done("a"))
    assert unknown.dispatched == ["z"]


def test_a_probe_goes_out_all_the_same() -> None:
    slow = fleet(p50=10_000)
    probes = [r for r in map(str, range(400)) if slow.can_meet("research", 100, 0, r)]
    assert 10 < len(probes) < 45


def test_a_tight_deadline_makes_a_task_fast() -> None:
    slow = replace(PLAIN, fleet=fleet(p50=100, p95=5_000))
    assert [t.strategy for t in running(task("a"), world=slow, policy={"deadline": 2_000}).tasks] == ["fast"]
    assert [t.strategy for t in running(task("a"), world=slow).tasks] == ["balanced"]
    assert [t.strategy for t in running(task("a", strategy="best")).tasks] == ["best"]


def test_a_task_sees_what_led_to_its_inputs_and_nothing_else() -> None:
    tasks = (task("a", specialty="writing"), task("b", "a"), task("other"), task("z", "b"))
    talk = running(*tasks)(200, done("a"))(300, done("other"))(400, done("b"))
    [sent] = talk.tasks
    assert [i.task_id for i in sent.inputs] == ["b"]
    assert json.loads(sent.context) == {"results": {"writing": "text of a"}}


def test_the_expected_backlog_is_what_comes_next() -> None:
    talk = running(task("a"), task("b", "a", specialty="writing"), task("c", "b"), task("z", "c"))
    assert backlog(talk.row) == {"writing": 1}
    assert backlog(talk(200, done("a")).row) == {"research": 1}
    assert backlog(None) == {}


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (None, None),
        (Output(specialty="s", text="t", data=None), {"text": "t"}),
        (Output(specialty="s", text="t", data="[1]"), {"text": "t"}),
        (Output(specialty="s", text="t", data="{"), {"text": "t"}),
        (Output(specialty="s", text="t", data='{"a": 1}'), {"a": 1}),
    ],
)
def test_an_output_is_read_as_a_record(output: Output | None, expected: object) -> None:
    assert record_of(output) == expected
