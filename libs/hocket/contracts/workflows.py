"""Declared workflows: plans written in YAML, for known kinds of work. No planning call is made for them."""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatch
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hocket.contracts.records import PlannedTask, Request
from hocket.core.plan import PlanLimits, faults


class WorkflowError(Exception):
    """A workflow file is wrong; the message names the file, the place and the mend."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Match(_Strict):
    """When the rule-based planner may choose the workflow: one attachment of these types, one of these words."""

    media_types: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


class Step(_Strict):
    """One task of a workflow; `with` goes to the specialty's engine as options."""

    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    specialty: str
    instruction: str
    needs: tuple[str, ...] = ()
    optional: bool = False
    priority: int | None = Field(None, ge=0, le=9)
    options: dict[str, Any] = Field(default_factory=dict, alias="with")


class Workflow(_Strict):
    """A declared plan; `output` is the step whose text is the answer."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    description: str
    match: Match | None = None
    tasks: tuple[Step, ...]
    output: str


def expand(workflow: Workflow, priority: int) -> tuple[PlannedTask, ...]:
    """The workflow's tasks for one request of that priority."""
    return tuple(
        PlannedTask(
            task_id=s.id,
            specialty=s.specialty,
            instruction=s.instruction,
            depends_on=s.needs,
            priority=priority if s.priority is None else s.priority,
            optional=s.optional,
            options=orjson.dumps(s.options, option=orjson.OPT_SORT_KEYS).decode(),
        )
        for s in workflow.tasks
    )


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
    """The workflow in a YAML text. Raises WorkflowError with every fault found."""
    try:
        found = Workflow.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as e:
        raise WorkflowError(f"{where}: not YAML: {e}") from e
    except ValidationError as e:
        wrong = "; ".join(f"{'.'.join(map(str, x['loc'])) or 'file'}: {x['msg']}" for x in e.errors())
        raise WorkflowError(f"{where}: {wrong}") from e
    try:
        tasks = expand(found, 5)
    except TypeError as e:  # a set, bytes, or a number that JSON cannot hold
        raise WorkflowError(f"{where}: `with` must be what JSON can hold: {e}") from e
    wrong_plan = faults(tasks, found.output, specialties, PlanLimits())
    if wrong_plan:
        raise WorkflowError(f"{where}: {'; '.join(wrong_plan)}")
    return found


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
