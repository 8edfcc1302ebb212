"""Plans as graphs, over random graphs: soundness, waves, and the chain that decided the time."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.contracts.records import PlannedTask
from hocket.core.plan import PlanLimits, critical_path, faults, layers

SPECIALTIES = {"research", "writing"}
WIDE = PlanLimits(max_tasks=100, max_depth=100)
IDS = st.sampled_from("abcdefgh")


def task(task_id: str, *needs: str, **more: object) -> PlannedTask:
    fields = {"task_id": task_id, "specialty": "research", "instruction": "do", "depends_on": needs, **more}
    return PlannedTask.model_validate(fields)


@st.composite
def any_plan(draw: st.DrawFn) -> list[PlannedTask]:
    """Any graph at all: circles, ids twice, dependencies on nothing."""
    return [task(i, *draw(st.lists(IDS, max_size=3))) for i in draw(st.lists(IDS, max_size=8))]


@st.composite
def sound_plan(draw: st.DrawFn) -> list[PlannedTask]:
    """A graph whose tasks depend only on earlier ones, in any order."""
    tasks: list[PlannedTask] = []
    for i in draw(st.lists(IDS, min_size=1, max_size=8, unique=True)):
        earlier = [t.task_id for t in tasks]
        tasks.append(task(i, *(draw(st.lists(st.sampled_from(earlier), unique=True)) if earlier else [])))
    return draw(st.permutations(tasks))


@given(any_plan(), IDS)
def test_a_plan_is_sound_exactly_when_its_waves_hold_every_task_once(tasks: list[PlannedTask], output: str) -> None:
    ids = [t.task_id for t in tasks]
    placed = [i for wave in layers(tasks) for i in wave]
    sound = sorted(placed) == sorted(ids) and output in ids
    assert (faults(tasks, output, SPECIALTIES, WIDE) == []) == sound


@given(sound_plan())
def test_a_graph_made_in_order_is_sound(tasks: list[PlannedTask]) -> None:
    assert faults(tasks, tasks[0].task_id, SPECIALTIES, WIDE) == []


@given(sound_plan())
def test_each_wave_depends_only_on_earlier_ones_and_is_as_early_as_it_can_be(tasks: list[PlannedTask]) -> None:
    waves = layers(tasks)
    wave_of = {i: n for n, wave in enumerate(waves) for i in wave}
    for t in tasks:
        assert wave_of[t.task_id] == max((wave_of[d] + 1 for d in t.depends_on), default=0)


@given(any_plan())
def test_tasks_on_a_circle_or_behind_one_are_in_no_wave(tasks: list[PlannedTask]) -> None:
    placed = {i for wave in layers(tasks) for i in wave}
    needs = {t.task_id: set(t.depends_on) for t in tasks}
    assert all(needs[i] <= placed for i in placed)
    assert all(not needs[i] <= placed for i in set(needs) - placed)


@given(any_plan())
def test_faults_do_not_depend_on_the_order_of_tasks(tasks: list[PlannedTask]) -> None:
    """Which specialty a doubled id means is open, so only plans with unique ids are compared."""
    unique = list({t.task_id: t for t in tasks}.values())
    forward, backward = (faults(x, "a", SPECIALTIES, WIDE) for x in (unique, unique[::-1]))
    assert sorted(forward) == sorted(backward)


@pytest.mark.parametrize(
    ("tasks", "output", "said"),
    [
        ([], "a", "the plan has no tasks"),
        ([task("a")], "b", "the output task 'b' is not in the plan"),
        ([task("a"), task("a")], "a", "two tasks are called 'a'"),
        ([task("a", "a")], "a", "these tasks wait for each other in a circle: a"),
        ([task("a", "b"), task("b", "a"), task("c", "a")], "c", "these tasks wait for each other in a circle: a, b, c"),
        ([task("a", "z")], "a", "task 'a' depends on 'z', which is not in the plan"),
        ([task("")], "", "a task has an empty id"),
        ([task("a", priority=10)], "a", "task 'a' has priority 10, allowed are 0 to 9"),
        (
            [task("a", specialty="law")],
            "a",
            "task 'a' wants the unknown specialty 'law' (there are: research, writing)",
        ),
        ([task("a", instruction="x" * 11)], "a", "the instruction of task 'a' has more than 10 characters"),
        ([task(str(i)) for i in range(4)], "0", "4 tasks, the limit is 3"),
        ([task("a"), task("b", "a"), task("c", "b")], "c", "3 tasks in a chain, the limit is 2"),
    ],
)
def test_each_fault_is_a_sentence(tasks: list[PlannedTask], output: str, said: str) -> None:
    limits = PlanLimits(max_tasks=3, max_depth=2, max_instruction_chars=10)
    assert faults(tasks, output, SPECIALTIES, limits) == [said]


@given(sound_plan(), st.data())
def test_the_critical_path_is_a_chain_to_the_output_through_what_ended_last(
    tasks: list[PlannedTask], draw: st.DataObject
) -> None:
    ended = {t.task_id: draw.draw(st.integers(0, 50)) for t in tasks}
    by_id = {t.task_id: t for t in tasks}
    output = draw.draw(st.sampled_from(sorted(by_id)))
    path = critical_path(tasks, ended, output)
    assert path[-1] == output
    assert by_id[path[0]].depends_on == ()
    for before, after in pairwise(path):
        assert before in by_id[after].depends_on
        assert ended[before] == max(ended[d] for d in by_id[after].depends_on)


def test_the_critical_path_of_a_plan_without_its_output_is_empty() -> None:
    assert critical_path([task("a")], {}, "b") == []


@given(any_plan())
def test_the_critical_path_ends_on_any_graph(tasks: list[PlannedTask]) -> None:
    path = critical_path(tasks, {}, "a")
    assert len(path) == len(set(path))
