"""A revision of a plan: a model's draft for the failed part becomes tasks that fit the rest of the plan. Pure.

The question is what the aggregator puts into a planning task's options: `{"replan": {"failed": [{"task_id", "error"}],
"done": [ids], "plan": [tasks]}}`. The answer has new tasks under ids of their own (`-r1` for revision 1), and every
task that waited for a failed one again, waiting for what stands in its place.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from hocket.contracts.records import PlannedTask
from hocket.core import condition
from hocket.core.compile import Compiled, compile_plan, tasks_in
from hocket.core.plan import PlanLimits, faults


@dataclass(frozen=True, kw_only=True)
class Question:
    """What has failed (id to reason), what is done, and the whole plan."""

    failed: Mapping[str, str]
    done: tuple[str, ...]
    plan: tuple[PlannedTask, ...]

    @property
    def kept(self) -> tuple[PlannedTask, ...]:
        """The plan without what has failed."""
        return tuple(t for t in self.plan if t.task_id not in self.failed)


def read_question(options: str) -> Question | None:
    """The question in a planning task's options; None when there is none that can be read."""
    try:
        asked = json.loads(options)["replan"]
        failed = {str(f["task_id"]): _reason(f.get("error")) for f in asked["failed"]}
        plan = tuple(PlannedTask.model_validate(t) for t in asked["plan"])
        done = tuple(str(i) for i in asked.get("done", ()))
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError, RecursionError):
        return None
    known = {t.task_id for t in plan}
    return Question(failed=failed, done=done, plan=plan) if failed and set(failed) <= known else None


def _reason(error: object) -> str:
    if isinstance(error, Mapping):
        return f"{error.get('kind', 'failed')}: {error.get('message', '')}"
    return str(error or "failed")


def compile_revision(
    draft: object, asked: Question, specialties: Collection[str], *, revision: int, priority: int, limits: PlanLimits
) -> Compiled:
    """The tasks that replace the failed ones, and those that waited for them; or what is wrong. Never raises.

    `output_task` is empty when the plan's own stays.
    """
    raw, _ = tasks_in(draft)
    if not raw or not all(isinstance(t, Mapping) for t in raw):
        return Compiled(faults=("the revision must be an object with a list of tasks, one at least",))
    kept_ids = {t.task_id for t in asked.kept}
    wanted = [_renamed(t, n, asked, kept_ids, revision) for n, t in enumerate(raw, 1)]
    own = {str(old): new for (old, new, _) in wanted if old}
    lost = [i for i in asked.failed if i not in own]
    body = [t | {"depends_on": _needs(t.get("depends_on"), own, lost)} for (_, _, t) in wanted]
    # Tasks that are done or go on stand in as roots, so that what the new ones need from them is found.
    stand_ins = [{"id": t.task_id, "specialty": t.specialty, "instruction": "-", "depends_on": []} for t in asked.kept]
    known = {*specialties, *(t.specialty for t in asked.kept)}
    wide = PlanLimits(max_tasks=limits.max_tasks * 2, max_depth=limits.max_depth)
    linked = compile_plan({"tasks": [*stand_ins, *body]}, known, priority=priority, limits=wide)
    if linked.faults:
        return linked
    fresh = [t for t in linked.tasks if t.task_id not in kept_ids][: len(body)]
    heirs = _heirs(asked, raw, [new for (_, new, _) in wanted], fresh)
    repointed = [_repointed(t, heirs) for t in asked.kept]
    changed = [t for t, old in zip(repointed, asked.kept, strict=True) if t != old and t.task_id not in asked.done]
    output = _output(asked, heirs, fresh)
    merged = [*repointed, *fresh]
    wrong = faults(merged, output or _last(merged), specialties, limits)
    if wrong:
        return Compiled(faults=tuple(wrong), repairs=linked.repairs)
    return Compiled(tasks=(*fresh, *changed), output_task=output, repairs=linked.repairs)


def _renamed(
    task: Mapping[str, Any], n: int, asked: Question, kept: Collection[str], revision: int
) -> tuple[str, str, dict[str, Any]]:
    """(the id in the draft, the id in the plan, the task with it). No failed or living id is used again."""
    said = task.get("id")
    old = str(said).strip() if isinstance(said, str | int) and not isinstance(said, bool) else ""
    suffix = f"-r{revision}"
    new = old if old.endswith(suffix) else f"{old or f't{n}'}{suffix}"
    while new in kept or new in asked.failed:
        new += "x"
    return old, new, {k: v for k, v in task.items() if k != "replaces"} | {"id": new}


def _needs(given: object, own: Mapping[str, str], lost: Collection[str]) -> list[Any]:
    """The draft's dependencies under the new ids; one on a failed task that nothing replaces by name is dropped."""
    listed = given if isinstance(given, list) else [] if given is None else [given]
    return [own.get(str(d), d) for d in listed if str(d) not in lost]


def _heirs(
    asked: Question, raw: Sequence[Mapping[str, Any]], new: Sequence[str], fresh: Sequence[PlannedTask]
) -> dict[str, tuple[str, ...]]:
    """Which tasks stand in the place of each failed one: as the draft says, else those that nothing new waits for."""
    there = {t.task_id for t in fresh}
    needed = {d for t in fresh for d in t.depends_on}
    ends = tuple(t.task_id for t in fresh if t.task_id not in needed)
    found = {}
    for failed in asked.failed:
        named = [n for t, n in zip(raw, new, strict=True) if n in there and failed in (t.get("replaces"), t.get("id"))]
        found[failed] = tuple(named) or ends
    return found


def _repointed(task: PlannedTask, heirs: Mapping[str, Sequence[str]]) -> PlannedTask:
    needs = tuple(dict.fromkeys(n for d in task.depends_on for n in heirs.get(d, (d,))))
    names = {old: new[-1] for old, new in heirs.items() if new}
    return task.model_copy(update={"depends_on": needs, "condition": condition.renamed(task.condition, names)})


def _output(asked: Question, heirs: Mapping[str, Sequence[str]], fresh: Sequence[PlannedTask]) -> str:
    """What stands in the place of a failed output task; empty when none of the failed ones came last."""
    needed = {d for t in asked.plan for d in t.depends_on}
    last = [i for i in asked.failed if i not in needed]
    return heirs[last[0]][-1] if last and fresh else ""


def _last(tasks: Sequence[PlannedTask]) -> str:
    needed = {d for t in tasks for d in t.depends_on}
    return next((t.task_id for t in reversed(tasks) if t.task_id not in needed), "")
