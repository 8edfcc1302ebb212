"""core/compile.py: drafts as models write them, mended where their intent is clear, refused where it is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.contracts.codec import Codec
from hocket.contracts.records import Plan
from hocket.core.compile import Compiled, compile_plan, specialty_meant
from hocket.core.estimate import Estimate
from hocket.core.plan import PlanLimits, faults

KNOWN = ("research", "code", "analysis", "writing", "extraction", "summarisation", "translation", "synthesis")


def task(task_id: Any, specialty: Any = "research", depends_on: Any = (), **more: Any) -> dict[str, Any]:
    needs = list(depends_on) if isinstance(depends_on, tuple) else depends_on
    return {"id": task_id, "specialty": specialty, "instruction": "Do it.", "depends_on": needs} | more


def compiled(*tasks: Any, known: Any = KNOWN, **more: Any) -> Compiled:
    return compile_plan({"tasks": list(tasks)} | more, known, priority=5, limits=PlanLimits())


def edges(plan: Compiled) -> dict[str, tuple[str, ...]]:
    assert plan.faults == ()
    return {t.task_id: t.depends_on for t in plan.tasks}


def test_a_plan_beyond_the_cap_or_the_time_left_is_a_fault() -> None:
    draft = {"tasks": [task("a"), task("b", "writing", ("a",))]}
    usual = {"research": Estimate(millis=900, cost_usd=0.2), "writing": Estimate(millis=200, cost_usd=0.1)}
    found = compile_plan(
        draft, KNOWN, priority=5, limits=PlanLimits(), estimates=usual, max_cost_usd=0.25, max_millis=1_000
    )
    assert [f.partition(":")[0] for f in found.faults] == [
        "the plan costs about 0.3000 USD, the request allows 0.2500",
        "the chain a, b takes about 1100 ms, there are 1000",
    ]


def test_a_sound_draft_is_taken_as_it_is() -> None:
    plan = compiled(task("a", priority=8, optional=True), task("b", "writing", ("a",)))
    assert edges(plan) == {"a": (), "b": ("a",)}
    assert plan.output_task == "b"
    assert plan.repairs == ()
    assert [(t.priority, t.optional) for t in plan.tasks] == [(8, True), (5, False)]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Research", "research"),
        ("  RESEARCH ", "research"),
        ("reserach", "research"),
        ("Summarization", "summarisation"),
        ("summary", "summarisation"),
        ("translate", "translation"),
        ("coding", "code"),
        ("entity_extraction", "entity_extraction"),
        ("extract data", "extraction"),
        ("analyst", "analysis"),
        ("synthesize", "synthesis"),
        ("cooking", "cooking"),
        ("", ""),
    ],
)
def test_a_misspelt_specialty_is_understood_and_a_strange_one_is_not(said: str, meant: str) -> None:
    assert specialty_meant(said, KNOWN) == meant


def test_an_unknown_specialty_is_a_fault_that_names_the_choices() -> None:
    assert "there are: analysis, code" in compiled(task("a", "cooking")).faults[0]


def test_duplicate_missing_and_odd_ids_are_replaced() -> None:
    plan = compiled(task("a"), task("a"), task(None), task("ü ß/b"), task("end", "writing", ("a", "t3", "ü ß/b")))
    assert edges(plan) == {"a": (), "a-2": (), "t3": (), "b": (), "end": ("a", "a-2", "t3", "b")}
    assert len(plan.repairs) >= 3


def test_a_dependency_may_be_named_by_specialty() -> None:
    assert edges(compiled(task("a"), task("b"), task("c", "writing", ("Research",))))["c"] == ("a", "b")


@pytest.mark.parametrize("first", [0, 1])
def test_a_dependency_may_be_a_number_where_the_count_is_clear(first: int) -> None:
    plan = compiled(task("a"), task("b", "code", (first,)), task("c", "writing", (first, str(first + 1))))
    assert edges(plan) == {"a": (), "b": ("a",), "c": ("a", "b")}


def test_a_number_that_could_mean_two_tasks_is_asked_about() -> None:
    wrong = compiled(task("a"), task("b"), task("c", "writing", (1,))).faults
    assert "task 'c' depends on 1: name a task's id" in wrong


def test_a_task_does_not_wait_for_itself() -> None:
    assert edges(compiled(task("a", depends_on=("a",)))) == {"a": ()}


def test_a_circle_is_a_fault() -> None:
    wrong = compiled(task("a", depends_on=("b",)), task("b", depends_on=("a",))).faults
    assert any("in a circle" in fault for fault in wrong)


def test_a_dependency_on_nothing_is_a_fault() -> None:
    wrong = compiled(task("a"), task("b", depends_on=("zebra", "a"))).faults
    assert wrong == ("task 'b' depends on 'zebra': name a task's id",)


def test_several_last_tasks_are_joined_by_a_synthesis() -> None:
    plan = compiled(task("a"), task("b"), task("synthesis", "code"))
    assert edges(plan)["synthesis-2"] == ("a", "b", "synthesis")
    assert plan.output_task == "synthesis-2"
    assert plan.tasks[-1].specialty == "synthesis"


def test_without_a_synthesis_specialty_several_last_tasks_are_a_fault() -> None:
    assert compiled(task("a"), task("b"), known=("research",)).faults


def test_a_named_output_task_is_kept_and_is_never_optional() -> None:
    plan = compiled(task("a", optional=True), task("b"), output_task="a")
    assert plan.output_task == "a"
    assert [t.optional for t in plan.tasks] == [False, False]


@pytest.mark.parametrize(
    ("said", "priority"), [(3, 3), ("7", 7), ("high", 8), (42, 9), (-1, 0), (2.9, 2), (None, 5), ("soon", 5), (True, 5)]
)
def test_priorities_are_read_and_bounded(said: Any, priority: int) -> None:
    assert compiled(task("a", priority=said)).tasks[0].priority == priority


@pytest.mark.parametrize("depends_on", [None, [], "", {}])
def test_no_dependency_has_many_spellings(depends_on: Any) -> None:
    assert edges(compiled(task("a"), task("b", depends_on=depends_on), output_task="b"))["b"] == ()


def test_dependencies_in_one_text_are_split() -> None:
    assert edges(compiled(task("a"), task("b"), task("c", depends_on="a, b")))["c"] == ("a", "b")


def test_tasks_may_come_as_text_as_a_list_or_by_id() -> None:
    expected = edges(compiled(task("a"), task("b", depends_on=("a",))))
    tasks = [task("a"), task("b", depends_on=("a",))]
    by_id = {t["id"]: {k: v for k, v in t.items() if k != "id"} for t in tasks}
    for draft in ({"tasks": json.dumps(tasks)}, tasks, json.dumps({"tasks": tasks}), {"tasks": by_id}):
        assert edges(compile_plan(draft, KNOWN, priority=5, limits=PlanLimits())) == expected


def test_unknown_fields_are_dropped_and_told() -> None:
    assert compiled(task("a", agent="x", tools=[])).repairs == ("task 'a': dropped agent, tools",)


@pytest.mark.parametrize("draft", [None, 3, [], {}, {"tasks": []}, {"tasks": "no"}, {"tasks": [3]}, "[" * 5000])
def test_what_is_no_plan_is_refused(draft: Any) -> None:
    found = compile_plan(draft, KNOWN, priority=5, limits=PlanLimits())
    assert found.faults
    assert found.tasks == ()


def test_a_task_without_instruction_and_a_plan_too_large_are_refused() -> None:
    assert "task 'a' has no instruction" in compiled({"id": "a", "specialty": "code"}).faults
    assert compiled(*(task(f"a{n}") for n in range(25))).faults == ("25 tasks, the limit is 24",)
    chain = [task("t0"), *(task(f"t{n}", depends_on=(f"t{n - 1}",)) for n in range(1, 9))]
    assert compiled(*chain).faults == ("9 tasks in a chain, the limit is 8",)


odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(["a", "b", "c", "A", "1", "2", 0, 1, 2, "a b", "research", "", None])
likely = st.fixed_dictionaries(
    {},
    optional={
        "id": names | odd,
        "specialty": st.sampled_from([*KNOWN, "Research", "coder", "nobody"]) | odd,
        "instruction": st.sampled_from(["Do it.", "x" * 20_000, "\ud800"]) | odd,
        "depends_on": st.lists(names, max_size=4) | odd,
        "priority": st.sampled_from([1, "high", 99]) | odd,
        "optional": st.booleans() | odd,
        "more": odd,
    },
)
complete = st.builds(
    task, names, st.sampled_from(KNOWN), st.lists(names, max_size=3), priority=st.integers(-5, 15) | odd
)
drafts = st.fixed_dictionaries(
    {"tasks": st.lists(complete, max_size=6) | st.lists(complete | likely | odd, max_size=30) | odd},
    optional={"output_task": names | odd},
)


@given(drafts | odd, st.sampled_from([KNOWN, ("research",), ()]))
def test_whatever_the_draft_it_gives_a_sound_plan_or_a_refusal(draft: Any, known: tuple[str, ...]) -> None:
    found = compile_plan(draft, known, priority=5, limits=PlanLimits())
    assert all(isinstance(fault, str) and fault for fault in found.faults)
    if found.faults:
        assert found.tasks == ()
    else:
        assert faults(found.tasks, found.output_task, known, PlanLimits()) == []
        plan = Plan(
            request_id="r",
            source="llm",
            tasks=found.tasks,
            output_task=found.output_task,
            worker="w",
            started_at=0,
            ended_at=0,
        )
        codec = Codec()
        assert codec.decode(codec.encode(plan, "plans"), Plan) == plan


@given(drafts)
def test_compiling_a_compiled_plan_changes_nothing(draft: Any) -> None:
    first = compile_plan(draft, KNOWN, priority=5, limits=PlanLimits())
    again = {
        "tasks": [
            {
                "id": t.task_id,
                "specialty": t.specialty,
                "instruction": t.instruction,
                "depends_on": list(t.depends_on),
                "priority": t.priority,
                "optional": t.optional,
            }
            for t in first.tasks
        ],
        "output_task": first.output_task,
    }
    if not first.faults:
        second = compile_plan(again, KNOWN, priority=5, limits=PlanLimits())
        assert (second.tasks, second.output_task, second.repairs) == (first.tasks, first.output_task, ())
