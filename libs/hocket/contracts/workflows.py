"""Declared workflows: plans written in YAML, for known kinds of work. No planning call is made for them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatch
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import orjson
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hocket.contracts.records import PlannedTask, Request, Strategy
from hocket.core import condition
from hocket.core.plan import APPROVAL, PlanLimits, faults


class WorkflowError(Exception):
    """A workflow file is wrong; the message names the file, the place and the mend."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Match(_Strict):
    """When the rule-based planner may choose the workflow: one attachment of these types, one of these words."""

    media_types: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


class Approval(_Strict):
    """A question to a person: what is asked of whom, and what happens when nobody answers in time.

    Without `timeout_seconds` it waits until somebody answers, or to the request's deadline.
    """

    what: str = Field(min_length=1)
    who: str = ""
    timeout_seconds: int | None = Field(None, gt=0)
    on_timeout: Literal["reject", "approve"] = "reject"


class Step(_Strict):
    """One task of a workflow, or a person's decision (`approve`).

    `with` goes to the specialty's engine as options. `when` is a condition on outputs of earlier steps, in the form of
    core/condition.py; the steps that it reads are added to `needs`. Steps without a common need run side by side.
    """

    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    specialty: str = ""
    instruction: str = ""
    needs: tuple[str, ...] = ()
    optional: bool = False
    priority: int | None = Field(None, ge=0, le=9)
    options: dict[str, Any] = Field(default_factory=dict, alias="with")
    strategy: Strategy | None = None
    when: dict[str, Any] | None = None
    approve: Approval | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Step:
        if self.approve is None:
            missing = [n for n in ("specialty", "instruction") if not getattr(self, n)]
            if missing:
                raise ValueError(f"needs {' and '.join(missing)} (or `approve`, for a person's decision)")
        else:
            surplus = [n for n in ("specialty", "instruction", "strategy", "options") if getattr(self, n)]
            if surplus:
                raise ValueError(f"a step with `approve` is a person's: it has no {', '.join(surplus)}")
        return self


class Workflow(_Strict):
    """A declared plan; `output` is the step whose text is the answer."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    description: str
    match: Match | None = None
    tasks: tuple[Step, ...]
    output: str


def expand(workflow: Workflow, priority: int) -> tuple[PlannedTask, ...]:
    """The workflow's tasks for one request of that priority."""
    return tuple(_planned(s, priority if s.priority is None else s.priority) for s in workflow.tasks)


def _planned(step: Step, priority: int) -> PlannedTask:
    when = _json(step.when) if step.when is not None else None
    needs = tuple(dict.fromkeys((*step.needs, *condition.tasks_read(when))))
    common: dict[str, Any] = {"task_id": step.id, "depends_on": needs, "priority": priority, "condition": when}
    if step.approve is None:
        return PlannedTask(
            specialty=step.specialty,
            instruction=step.instruction,
            optional=step.optional,
            options=_json(step.options),
            strategy=step.strategy,
            **common,
        )
    asked = step.approve
    options: dict[str, Any] = {"on_timeout": asked.on_timeout}
    options |= {"who": asked.who} if asked.who else {}
    options |= {"timeout_ms": asked.timeout_seconds * 1_000} if asked.timeout_seconds else {}
    return PlannedTask(
        specialty=APPROVAL,
        kind=APPROVAL,
        instruction=asked.what,
        optional=step.optional,
        options=_json(options),
        **common,
    )


def _json(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def matches(workflow: Workflow, request_text: str, media_types: Collection[str]) -> int:
    """How well a request fits the workflow's `match`: 0 not at all, else the number of words found plus one."""
    rule = workflow.match
    if rule is None:
        return 0
    fits = any(fnmatch(m, pattern) for m in media_types for pattern in rule.media_types)
    if rule.media_types and not fits:
        return 0
    text = request_text.casefold()
    hits = sum(word.casefold() in text for word in rule.words)
    return 0 if rule.words and not hits else hits + 1


def parse_workflow(text: str, where: str, specialties: Collection[str]) -> Workflow:
    """The workflow in a YAML text. Raises WorkflowError with every fault found, each with its path and line."""
    try:
        lines = _lines(yaml.compose(text, Loader=yaml.SafeLoader))
        found = Workflow.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, RecursionError) as e:
        raise WorkflowError(f"{where}: not YAML: {e}") from e
    except ValidationError as e:
        wrong = "; ".join(f"{_place(x['loc'], lines)}: {x['msg']}" for x in e.errors())
        raise WorkflowError(f"{where}: {wrong}") from e
    try:
        tasks = expand(found, 5)
    except TypeError as e:  # a set, bytes, or a number that JSON cannot hold
        raise WorkflowError(f"{where}: `with` and `when` must be what JSON can hold: {e}") from e
    wrong_plan = faults(tasks, found.output, specialties, PlanLimits())
    if wrong_plan:
        raise WorkflowError(f"{where}: {'; '.join(_with_line(w, found, lines) for w in wrong_plan)}")
    return found


_Way = tuple[str | int, ...]


def _lines(node: yaml.Node | None, at: _Way = ()) -> dict[_Way, int]:
    """The line, counted from 1, of every value of a YAML text by its path."""
    if node is None:
        return {}
    found: dict[_Way, int] = {at: node.start_mark.line + 1}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            found |= _lines(value, (*at, str(key.value)))
    elif isinstance(node, yaml.SequenceNode):
        for n, value in enumerate(node.value):
            found |= _lines(value, (*at, n))
    return found


def _place(path: _Way, lines: Mapping[_Way, int]) -> str:
    """The path, and the line of the nearest thing on it that is written down."""
    known = next((path[:n] for n in range(len(path), 0, -1) if path[:n] in lines), ())
    line = f" (line {lines[known]})" if known else ""
    return f"{'.'.join(map(str, path)) or 'file'}{line}"


def _with_line(fault: str, workflow: Workflow, lines: Mapping[_Way, int]) -> str:
    """The fault, with the line of the first step that it names."""
    named = [(fault.find(repr(s.id)), n) for n, s in enumerate(workflow.tasks) if repr(s.id) in fault]
    if not named:
        return fault
    return f"tasks.{min(named)[1]} (line {lines.get(('tasks', min(named)[1]), 1)}): {fault}"


def load_workflows(specialties: Collection[str], own: Path | None = None) -> dict[str, Workflow]:
    """All workflows by name: the shipped ones, then those in `own`, which may replace them. Raises WorkflowError."""
    found: dict[str, Workflow] = {}
    for root in (Path(str(files("workflows"))), own):
        if root is None:
            continue
        if not root.is_dir():
            raise WorkflowError(f"HOCKET_WORKFLOWS: {root} is not a folder")
        for path in sorted(root.glob("*.yaml")):
            try:
                text = path.read_text("utf-8")
            except (OSError, UnicodeDecodeError) as e:
                raise WorkflowError(f"{path}: {e}") from e
            workflow = parse_workflow(text, path.name, specialties)
            found[workflow.name] = workflow
    return found


def best_match(workflows: Collection[Workflow], request: Request) -> Workflow | None:
    """The workflow that fits an unnamed request best, None when none does or two fit equally well."""
    names = " ".join(a.name for a in request.attachments)
    types = [a.media_type for a in request.attachments]
    scored = sorted(((matches(w, f"{request.text} {names}", types), w.name, w) for w in workflows), reverse=True)
    if not scored or scored[0][0] == 0 or (len(scored) > 1 and scored[1][0] == scored[0][0]):
        return None
    return scored[0][2]
