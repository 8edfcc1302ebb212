"""The plan compiler: a model's draft becomes a sound plan, or a list of what is wrong with it. Pure.

Slips whose intent is clear are mended: a specialty's name misspelt, ids missing or given twice, a dependency named by
specialty or by number, a task that waits for itself, no output task. Everything else is a fault, in words that a model
can act on when it is asked again.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hocket.contracts.records import PlannedTask
from hocket.core.estimate import Estimate, forecast, too_much
from hocket.core.plan import PlanLimits, faults

SYNTHESIS = "synthesis"
_MAX_ID_CHARS = 48
_CLOSE = 0.8
"""Similarity from which a name is taken for a misspelling of a specialty's."""
_STEMS = {
    "research": ("search", "investigat"),
    "code": ("coding", "coder", "program", "develop"),
    "analysis": ("analy",),
    "writing": ("write", "draft", "author"),
    "extraction": ("extract", "ocr"),
    "summarisation": ("summar",),
    "sentiment": ("sentiment",),
    "translation": ("translat",),
    "decision": ("decid", "decision"),
    "synthesis": ("synthes",),
}
_ALIASES = {
    "id": ("task_id", "taskId", "key", "name", "title"),
    "specialty": ("agent", "worker", "role", "type", "assignee"),
    "instruction": ("instructions", "description", "prompt", "task", "goal"),
    "depends_on": ("dependencies", "dependsOn", "deps", "needs", "after", "requires"),
}
_LISTS = ("tasks", "subtasks", "steps", "plan")
_NOTHING = frozenset({"", "none", "null", "n/a", "nil", "-", "request", "start"})
"""What models write as the dependency of a task that has none."""
_MAX_STARTS = 20
"""Places in a text at which its JSON is looked for."""
_FIELDS = frozenset({"id", "specialty", "instruction", "priority", "depends_on", "optional"})
_WORDS = {"highest": 9, "high": 8, "medium": 5, "normal": 5, "low": 2, "lowest": 0}


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """A draft's outcome. With `faults` there is no plan; `repairs` says what was mended."""

    tasks: tuple[PlannedTask, ...] = ()
    output_task: str = ""
    faults: tuple[str, ...] = ()
    repairs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Draft:
    """One task of the draft: what it is called there (`said`), and under which id it goes on."""

    task_id: str
    said: str
    title: str
    specialty: str
    instruction: str
    depends_on: tuple[Any, ...]
    priority: int
    optional: bool


def compile_plan(
    draft: object,
    specialties: Collection[str],
    *,
    priority: int,
    limits: PlanLimits,
    estimates: Mapping[str, Estimate] | None = None,
    max_cost_usd: float | None = None,
    max_millis: float | None = None,
) -> Compiled:
    """The plan that the draft means. `priority` is the request's, for tasks that name none. Never raises.

    With `estimates`, a plan that is known to need more than the cap or the time left is a fault, too.
    """
    raw, wanted = tasks_in(draft)
    if raw is None:
        return Compiled(faults=("the plan must be an object with a list of tasks",))
    if len(raw) > limits.max_tasks:
        return Compiled(faults=(f"{len(raw)} tasks, the limit is {limits.max_tasks}",))
    wrong = [f"task {n} must be an object" for n, t in enumerate(raw, 1) if not isinstance(t, Mapping)]
    if wrong:
        return Compiled(faults=tuple(wrong))
    repairs: list[str] = []
    drafts = _read(raw, specialties, priority, repairs)
    wrong += [f"task {d.task_id!r} has no instruction" for d in drafts if not d.instruction.strip()]
    tasks = _linked(drafts, repairs, wrong)
    tasks, output = _with_output(tasks, drafts, wanted, specialties, repairs)
    wrong += faults(tasks, output, specialties, limits)
    if estimates and not wrong:
        wrong += too_much(forecast(tasks, estimates), max_cost_usd=max_cost_usd, max_millis=max_millis)
    if wrong:
        return Compiled(faults=tuple(dict.fromkeys(wrong)), repairs=tuple(repairs))
    return Compiled(tasks=tuple(tasks), output_task=output, repairs=tuple(repairs))


def tasks_in(draft: object) -> tuple[list[Any] | None, str]:
    """The list of tasks and the named output task; models also send the list alone, or as JSON in a string."""
    body = _unpacked(draft)
    wanted = body.get("output_task") if isinstance(body, Mapping) else None
    key = next((k for k in _LISTS if isinstance(body, Mapping) and k in body), "tasks")
    tasks = _unpacked(body.get(key)) if isinstance(body, Mapping) else body
    if isinstance(tasks, Mapping) and isinstance(tasks.get(key), list):  # the whole input once more, inside its field
        tasks = tasks[key]
    if isinstance(tasks, Mapping) and key == "plan":
        return tasks_in(tasks) if "tasks" in tasks else (None, "")
    if isinstance(tasks, Mapping):
        tasks = [{"id": key, **t} if isinstance(t, Mapping) else t for key, t in tasks.items()]
    return (list(tasks) if isinstance(tasks, list) else None), _text(wanted)


def _unpacked(value: object) -> object:
    """The value; of a text the JSON in it, with or without prose and fences around it."""
    if not isinstance(value, str):
        return value
    decoder = json.JSONDecoder()
    starts = [m.start() for m in re.finditer(r"[\[{]", value)][:_MAX_STARTS]
    for start in starts:
        try:
            found: object = decoder.raw_decode(value, start)[0]
        except (ValueError, RecursionError):
            continue
        if found and isinstance(found, dict | list):
            return found
    return None


def _named(task: Mapping[str, Any]) -> dict[str, Any]:
    """The task with its fields under their own names: models also call them otherwise."""
    found = dict(task)
    for field, others in _ALIASES.items():
        given = [o for o in others if o in found]
        if field not in found and given:
            found[field] = found.pop(given[0])
    return found


def _read(raw: Sequence[Mapping[str, Any]], known: Collection[str], priority: int, repairs: list[str]) -> list[_Draft]:
    drafts: list[_Draft] = []
    taken: set[str] = set()
    for n, given in enumerate(raw, 1):
        task = _named(given)
        said = _text(task.get("id"))
        task_id = _free(_clean(said) or f"t{n}", taken)
        taken.add(task_id)
        if task_id != said:
            repairs.append(f"task {n} is now called {task_id!r}")
        specialty = specialty_meant(_text(task.get("specialty")), known)
        if specialty != task.get("specialty"):
            repairs.append(f"task {task_id!r}: specialty {task.get('specialty')!r} read as {specialty!r}")
        surplus = sorted(str(k) for k in task if k not in _FIELDS)
        if surplus:
            repairs.append(f"task {task_id!r}: dropped {', '.join(surplus)[:100]}")
        drafts.append(
            _Draft(
                task_id=task_id,
                said=said,
                title=_text(task.get("title")),
                specialty=specialty,
                instruction=_text(task.get("instruction")),
                depends_on=_listed(task.get("depends_on")),
                priority=_priority(task.get("priority"), priority),
                optional=_truth(task.get("optional")),
            )
        )
    return drafts


def specialty_meant(said: str, known: Collection[str]) -> str:
    """The specialty that a name means: as it is, by its stem, or by likeness; else the name itself."""
    if said in known:
        return said
    plain = re.sub(r"[\s_]+", "-", said.strip().casefold())
    if plain in known:
        return plain
    by_stem = {s for s, stems in _STEMS.items() if s in known and any(plain.startswith(stem) for stem in (s, *stems))}
    if len(by_stem) == 1:
        return by_stem.pop()
    close = difflib.get_close_matches(plain, sorted(known), n=2, cutoff=_CLOSE)
    return close[0] if len(close) == 1 else said


def _linked(drafts: Sequence[_Draft], repairs: list[str], wrong: list[str]) -> list[PlannedTask]:
    base = _index_base(drafts)
    tasks = []
    for at, draft in enumerate(drafts):
        needs: list[str] = []
        for dependency in draft.depends_on:
            if _is_nothing(dependency, drafts):
                repairs.append(f"task {draft.task_id!r}: dependency {dependency!r} read as none")
                continue
            found = _meant(dependency, drafts, at, base)
            if not found:
                wrong.append(f"task {draft.task_id!r} depends on {dependency!r}: name a task's id")
            if found not in ([_text(dependency)], []):
                repairs.append(f"task {draft.task_id!r}: dependency {dependency!r} read as {', '.join(found)}")
            needs += found
        if draft.task_id in needs:
            repairs.append(f"task {draft.task_id!r} no longer waits for itself")
        tasks.append(
            PlannedTask(
                task_id=draft.task_id,
                specialty=draft.specialty,
                instruction=draft.instruction,
                depends_on=tuple(dict.fromkeys(n for n in needs if n != draft.task_id)),
                priority=draft.priority,
                optional=draft.optional,
            )
        )
    return tasks


def _meant(dependency: object, drafts: Sequence[_Draft], at: int, base: int | None) -> list[str]:
    """The tasks that a dependency names: by id (every bearer of it), else by number, else by specialty."""
    said = _text(dependency)
    for same in (lambda d: said in (d.said, d.task_id), lambda d: said.casefold() == d.said.casefold()):
        found = [d.task_id for d in drafts if said and same(d)]
        if found:
            return found
    number = _index(dependency)
    if number is not None:
        return [drafts[number - base].task_id] if base is not None and 0 <= number - base < len(drafts) else []
    wanted = specialty_meant(said, {d.specialty for d in drafts})
    return [d.task_id for n, d in enumerate(drafts) if d.specialty == wanted and n != at] or _alike(said, drafts)


def _alike(said: str, drafts: Sequence[_Draft]) -> list[str]:
    """The one task whose title, instruction or id a dependency spells out, or nearly so."""
    plain = _slug(said)
    exact = [d.task_id for d in drafts if plain and plain in {_slug(x) for x in (d.said, d.title, d.instruction)}]
    if exact:
        return exact if len(exact) == 1 else []
    close = difflib.get_close_matches(plain, [_slug(d.task_id) for d in drafts], n=2, cutoff=_CLOSE)
    return [d.task_id for d in drafts if _slug(d.task_id) == close[0]] if len(close) == 1 else []


def _slug(said: str) -> str:
    return re.sub(r"[\W_]+", "-", said.casefold()).strip("-")[:200]


def _is_nothing(dependency: object, drafts: Sequence[_Draft]) -> bool:
    said = "" if dependency is None else _text(dependency)
    empty = dependency is None or isinstance(dependency, str)
    return empty and said.casefold() in _NOTHING and not any(said and said in (d.said, d.task_id) for d in drafts)


def _index_base(drafts: Sequence[_Draft]) -> int | None:
    """0 or 1 when only that makes every numbered dependency an earlier task; None when both or neither do."""
    ids = {i for d in drafts for i in (d.said, d.task_id)}
    used = [
        (at, n)
        for at, d in enumerate(drafts)
        for given in d.depends_on
        if _text(given) not in ids and (n := _index(given)) is not None
    ]
    bases = [base for base in (0, 1) if all(0 <= n - base < at for at, n in used)]
    return bases[0] if len(bases) == 1 else None


def _with_output(
    tasks: list[PlannedTask], drafts: Sequence[_Draft], wanted: str, known: Collection[str], repairs: list[str]
) -> tuple[list[PlannedTask], str]:
    """The tasks and the one whose output is the answer: as named, the only last one, or a synthesis of them."""
    named = [d.task_id for d in drafts if wanted and wanted in (d.task_id, d.said)]
    needed = {i for t in tasks for i in t.depends_on}
    last = [t.task_id for t in tasks if t.task_id not in needed]
    output = named[0] if len(named) == 1 else last[0] if len(last) == 1 else ""
    if not output and len(last) > 1 and SYNTHESIS in known:
        output = _free(SYNTHESIS, {t.task_id for t in tasks})
        repairs.append(f"added {output!r} to join {', '.join(last)}")
        joined = PlannedTask(
            task_id=output,
            specialty=SYNTHESIS,
            instruction="Join the results into one complete answer to the request.",
            depends_on=tuple(last),
            priority=max(t.priority for t in tasks),
        )
        return [*tasks, joined], output
    # Without its output task there is no answer, so that one cannot be optional.
    return [t.model_copy(update={"optional": t.optional and t.task_id != output}) for t in tasks], output


def _text(value: object) -> str:
    """A text or a whole number as text that UTF-8 can carry; anything else is empty."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return ""
    if isinstance(value, int) and abs(value) > 10**12:
        return ""
    return str(value).strip().encode("utf-8", "replace").decode()


def _clean(said: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", said).strip("-")[:_MAX_ID_CHARS]


def _free(task_id: str, taken: Collection[str]) -> str:
    number, found = 1, task_id
    while found in taken:
        number += 1
        found = f"{task_id}-{number}"
    return found


def _listed(value: object) -> tuple[Any, ...]:
    if isinstance(value, str):
        return tuple(part for part in re.split(r"[,;\s]+", value) if part)
    if isinstance(value, list):
        return tuple(_named(v).get("id", v) if isinstance(v, Mapping) else v for v in value)
    return () if value is None or isinstance(value, Mapping) else (value,)


def _index(value: object) -> int | None:
    said = _text(value)
    found = re.fullmatch(r"(?:task|step|t|#)?[ _-]?([0-9]{1,12})", said, re.IGNORECASE | re.ASCII)
    return int(found[1]) if found else None


def _priority(value: object, default: int) -> int:
    if isinstance(value, str):
        word = value.strip().casefold()
        value = _WORDS.get(word, _index(word))
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return default
    return max(0, min(9, int(value)))


def _truth(value: object) -> bool:
    return value is True or (isinstance(value, str) and value.strip().casefold() in ("true", "yes"))
