"""The work of the join's fault run: plans of five tasks, results, and the answer recomputed independently of Hocket.

What a request's plan looks like follows from its id, and each result from its own and its inputs' ids, so that whoever
knows the id knows the only right answer.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Mapping

from hocket.contracts.records import Output, Plan, PlannedTask, Record, Result, Task

SPECIALTIES = ("extraction", "summarisation", "synthesis")
PLANNING = "planning"
TASKS = 5


def shape_of(request_id: str) -> dict[str, tuple[str, ...]]:
    """The five tasks and what each depends on: some requests are wide, some a chain, most between."""
    rng = random.Random(request_id)
    names = [f"t{n}" for n in range(TASKS - 1)]
    shape = {
        name: tuple(sorted(rng.sample(names[:place], rng.randint(0, min(2, place)))))
        for place, name in enumerate(names)
    }
    used = set(itertools.chain(*shape.values()))
    return shape | {"z": tuple(n for n in names if n not in used)}


def plan_of(task: Task) -> Plan:
    """What the scripted planner answers."""
    planned = tuple(
        PlannedTask(task_id=name, specialty=SPECIALTIES[place % len(SPECIALTIES)], instruction="-", depends_on=needs)
        for place, (name, needs) in enumerate(shape_of(task.request_id).items())
    )
    at = task.dispatched_at
    return Plan(
        request_id=task.request_id, revision=task.revision, source="llm", tasks=planned, output_task="z", worker="s",
        started_at=at, ended_at=at,
    )  # fmt: skip


def text_of(request_id: str, task_id: str, inputs: Mapping[str, str]) -> str:
    """A result's text."""
    given = ";".join(f"{name}={text}" for name, text in sorted(inputs.items()))
    return hashlib.sha256(f"{request_id}/{task_id}({given})".encode()).hexdigest()


def answer_of(request_id: str) -> str:
    """The only right answer, by the shape alone."""
    texts: dict[str, str] = {}
    for name, needs in shape_of(request_id).items():
        texts[name] = text_of(request_id, name, {n: texts[n] for n in needs})
    return texts["z"]


def work(task: Task) -> Record:
    """What the scripted planner or worker answers to a task."""
    if task.specialty == PLANNING:
        return plan_of(task)
    text = text_of(task.request_id, task.task_id, {i.task_id: i.output.text for i in task.inputs})
    at = task.dispatched_at
    return Result(
        request_id=task.request_id, task_id=task.task_id, specialty=task.specialty, status="completed",
        output=Output(specialty=task.specialty, text=text, data="{}"), worker="s", engine="stub", attempt=task.attempt,
        revision=task.revision, started_at=at, ended_at=at,
    )  # fmt: skip
