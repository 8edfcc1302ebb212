"""Revisions: what has failed is replaced under new ids, what waited for it waits for the replacement."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hocket.contracts.records import PlannedTask
from hocket.core.compile import Compiled
from hocket.core.plan import PlanLimits, faults
from hocket.core.revise import Question, compile_revision, read_question

KNOWN = ("research", "analysis", "writing", "synthesis")


def planned(task_id: str, specialty: str, *needs: str) -> PlannedTask:
    return PlannedTask(task_id=task_id, specialty=specialty, instruction="Do it.", depends_on=needs)


PLAN = (
    planned("prices", "research"),
    planned("risks", "research"),
    planned("compare", "analysis", "prices", "risks"),
    planned("answer", "synthesis", "compare"),
)


def question(*failed: str, done: tuple[str, ...] = ("risks",)) -> Question:
    told = [{"task_id": i, "error": {"kind": "malformed", "message": "no JSON"}} for i in failed]
    options = {"replan": {"failed": told, "done": done, "plan": [t.model_dump(mode="json") for t in PLAN]}}
    found = read_question(json.dumps(options))
    assert found is not None
    return found


def revised(asked: Question, *tasks: dict[str, Any], revision: int = 1) -> Compiled:
    return compile_revision({"tasks": list(tasks)}, asked, KNOWN, revision=revision, priority=5, limits=PlanLimits())


def draft(task_id: str, specialty: str, *needs: str) -> dict[str, Any]:
    return {"id": task_id, "specialty": specialty, "instruction": "Another way.", "depends_on": list(needs)}


def edges(found: Compiled) -> dict[str, tuple[str, ...]]:
    assert found.faults == ()
    return {t.task_id: t.depends_on for t in found.tasks}


def merged(asked: Question, found: Compiled) -> list[PlannedTask]:
    return list(({t.task_id: t for t in asked.kept} | {t.task_id: t for t in found.tasks}).values())


def test_a_failed_task_gets_a_new_id_and_its_successor_waits_for_it() -> None:
    asked = question("prices")
    found = revised(asked, draft("prices", "reserach"))
    assert edges(found) == {"prices-r1": (), "compare": ("prices-r1", "risks")}
    assert found.output_task == ""
    assert faults(merged(asked, found), "answer", KNOWN, PlanLimits()) == []


def test_new_tasks_may_wait_for_what_is_done_and_the_last_of_them_stands_in() -> None:
    found = revised(question("prices"), draft("list", "research", "risks"), draft("rank", "analysis", "list"))
    assert edges(found) == {"list-r1": ("risks",), "rank-r1": ("list-r1",), "compare": ("rank-r1", "risks")}


def test_a_failed_output_task_is_replaced_as_the_output() -> None:
    found = revised(question("answer", done=("prices", "risks", "compare")), draft("answer", "writing", "compare"))
    assert edges(found) == {"answer-r1": ("compare",)}
    assert found.output_task == "answer-r1"


def test_a_second_revision_uses_ids_of_its_own() -> None:
    assert "prices-r2" in edges(revised(question("prices"), draft("prices", "research"), revision=2))


def test_a_replacement_cannot_wait_for_what_failed_nor_for_what_waits_for_it() -> None:
    asked = question("prices")
    assert edges(revised(asked, draft("look", "research", "prices")))["look-r1"] == ()
    assert "circle" in "; ".join(revised(asked, draft("look", "research", "compare")).faults)


@pytest.mark.parametrize("tasks", [[], [draft("a", "divination")], [draft("a", "research", "nowhere_at_all")], [7]])
def test_an_unsound_revision_is_refused_with_reasons(tasks: list[Any]) -> None:
    assert revised(question("prices"), *tasks).faults != ()


@pytest.mark.parametrize(
    "options", ["", "{}", "[]", '{"replan": 1}', '{"replan": {"failed": [], "plan": []}}', "{" * 9]
)
def test_options_without_a_question_have_none(options: str) -> None:
    assert read_question(options) is None
