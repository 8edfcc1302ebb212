"""Plans as graphs: is this one sound, in which order do its tasks run, which chain decides its time. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from hocket.contracts.records import PlannedTask
from hocket.core import condition

APPROVAL = "approval"
"""The kind of a task that a person decides, and its specialty: no worker has it."""


@dataclass(frozen=True, kw_only=True)
class PlanLimits:
    """Bounds on a plan; beyond them it is refused, not truncated."""

    max_tasks: int = 24
    max_depth: int = 8
    max_instruction_chars: int = 16_000
    max_fan_in: int = 16
    max_fan_out: int = 16


def faults(
    tasks: Sequence[PlannedTask], output_task: str, specialties: Collection[str], limits: PlanLimits
) -> list[str]:
    """Everything that forbids running the plan, each as a sentence; empty when it is sound."""
    found = [*_task_faults(tasks, specialties, limits), *_graph_faults(tasks, limits), *_width_faults(tasks, limits)]
    found += [wrong for t in tasks for wrong in _condition_faults(t, output_task)]
    ids = {t.task_id for t in tasks}
    if not tasks:
        found.append("the plan has no tasks")
    elif output_task not in ids:
        found.append(f"the output task {output_task!r} is not in the plan")
    elif any(t.kind == APPROVAL and t.task_id == output_task for t in tasks):
        found.append(f"the output task {output_task!r} is an approval, which writes no answer")
    return found


def _task_faults(tasks: Sequence[PlannedTask], specialties: Collection[str], limits: PlanLimits) -> list[str]:
    found = []
    if len(tasks) > limits.max_tasks:
        found.append(f"{len(tasks)} tasks, the limit is {limits.max_tasks}")
    found += [f"two tasks are called {i!r}" for i, n in Counter(t.task_id for t in tasks).items() if n > 1]
    for t in tasks:
        if not t.task_id:
            found.append("a task has an empty id")
        found += _approval_faults(t) if t.kind == APPROVAL else []
        if t.kind != APPROVAL and t.specialty not in specialties:
            known = ", ".join(sorted(specialties))
            found.append(f"task {t.task_id!r} wants the unknown specialty {t.specialty!r} (there are: {known})")
        if not 0 <= t.priority <= 9:
            found.append(f"task {t.task_id!r} has priority {t.priority}, allowed are 0 to 9")
        if len(t.instruction) > limits.max_instruction_chars:
            found.append(
                f"the instruction of task {t.task_id!r} has more than {limits.max_instruction_chars} characters"
            )
    return found


def _approval_faults(t: PlannedTask) -> list[str]:
    found = []
    if t.specialty != APPROVAL:
        found.append(f"task {t.task_id!r} is an approval, so its specialty is {APPROVAL!r}, not {t.specialty!r}")
    if not t.instruction.strip():
        found.append(f"approval {t.task_id!r} does not say what is to be approved")
    try:
        options = json.loads(t.options)
    except (ValueError, RecursionError):
        options = None
    if not isinstance(options, dict):
        return [*found, f"the options of approval {t.task_id!r} are not a JSON object"]
    timeout = options.get("timeout_ms")
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int) or timeout <= 0):
        found.append(f"approval {t.task_id!r}: timeout_ms must be a whole number above 0")
    if options.get("on_timeout", "reject") not in ("reject", "approve"):
        found.append(f"approval {t.task_id!r}: on_timeout must be reject or approve")
    return found


def _condition_faults(t: PlannedTask, output_task: str) -> list[str]:
    found = [f"task {t.task_id!r}: {wrong}" for wrong in condition.faults(t.condition)]
    found += [
        f"the condition of task {t.task_id!r} reads {read!r}, which it does not depend on"
        for read in condition.tasks_read(t.condition)
        if read not in t.depends_on
    ]
    if t.condition is not None and t.task_id == output_task:
        found.append(f"the output task {t.task_id!r} has a condition: without it there would be no answer")
    return found


def _width_faults(tasks: Sequence[PlannedTask], limits: PlanLimits) -> list[str]:
    fed = Counter(d for t in tasks for d in set(t.depends_on))
    found = [
        f"task {t.task_id!r} depends on {len(t.depends_on)} tasks, the limit is {limits.max_fan_in}"
        for t in tasks
        if len(t.depends_on) > limits.max_fan_in
    ]
    found += [
        f"{n} tasks depend on {i!r}, the limit is {limits.max_fan_out}"
        for i, n in fed.items()
        if n > limits.max_fan_out
    ]
    return found


def _graph_faults(tasks: Sequence[PlannedTask], limits: PlanLimits) -> list[str]:
    ids = {t.task_id for t in tasks}
    found = [
        f"task {t.task_id!r} depends on {d!r}, which is not in the plan"
        for t in tasks
        for d in t.depends_on
        if d not in ids
    ]
    if found:
        return found
    waves = layers(tasks)
    stuck = ids - {t for wave in waves for t in wave}
    if stuck:
        found.append(f"these tasks wait for each other in a circle: {', '.join(sorted(stuck))}")
    elif len(waves) > limits.max_depth:
        found.append(f"{len(waves)} tasks in a chain, the limit is {limits.max_depth}")
    return found


def layers(tasks: Sequence[PlannedTask]) -> list[list[str]]:
    """Task ids in waves: each wave depends only on earlier ones. Tasks on a circle are in none."""
    needs = {t.task_id: set(t.depends_on) for t in tasks}
    waves: list[list[str]] = []
    placed: set[str] = set()
    while ready := [i for i, d in needs.items() if i not in placed and d <= placed]:
        waves.append(ready)
        placed.update(ready)
    return waves


def critical_path(tasks: Sequence[PlannedTask], ended_at: Mapping[str, int], output_task: str) -> list[str]:
    """The chain that decided the total time: from the output task back through the dependency that ended last."""
    by_id = {t.task_id: t for t in tasks}
    path: list[str] = []
    at: str | None = output_task if output_task in by_id else None
    last: Callable[[str], int] = lambda i: ended_at.get(i, 0)  # noqa: E731
    while at is not None and at not in path:
        path.append(at)
        known = [d for d in by_id[at].depends_on if d in by_id]
        at = max(known, key=last) if known else None
    return path[::-1]
