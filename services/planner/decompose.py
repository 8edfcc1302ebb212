"""What the planner asks a model: the tool `decompose_task`, and the request as a prompt. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from hocket.contracts.records import Attachment, Task, TaskInput
from hocket.contracts.specialties import Specialty
from hocket.core.plan import PlanLimits
from hocket.core.revise import Question
from hocket.core.work import Input
from hocket.llm.base import ModelCall
from hocket.llm.render import Page, render

TOOL = "decompose_task"
MAX_OUTPUT_TOKENS = 1_024
MAX_SHOWN_CHARS = 20_000
"""Text of the attachments that the planner is shown; what is beyond is only named."""
_REPLAN = (
    "Tasks of the plan below have failed. Plan another way for the failed tasks only: call the tool with the tasks "
    "that take their place. They may depend on tasks that have not failed, by id. Do not repeat what is done."
)
_TEXT_TYPES = ("application/json", "application/xml", "application/yaml", "message/rfc822")


def planning_call(
    task: Task, specialties: Mapping[str, Specialty], limits: PlanLimits, asked: Question | None = None
) -> ModelCall:
    """The call that asks for a plan, or for the failed part of one; the model's id is filled in by Models."""
    facts: dict[str, Any] = {"constants": task.constants}
    if asked is not None:
        facts |= _failed_part(asked)
    if task.context:
        facts["session"] = _object(task.context)
    what = task.instruction if asked is None else _REPLAN
    prompt = render(
        f"{what}\nAt most {limits.max_tasks} tasks, at most {limits.max_depth} in a chain.",
        text=task.text,
        pages=_pages(task.attachments),
        inputs=[_input(given) for given in task.inputs],
        facts=facts,
    )
    return ModelCall(
        model="",
        system=_system(),
        prompt=prompt,
        tool_name=TOOL,
        tool_description="Hands over the plan: the tasks, who does each, and which ones wait for which.",
        tool_schema=tool_schema(specialties, limits),
        max_output_tokens=MAX_OUTPUT_TOKENS,
        deadline_ms=task.deadline,
    )


def _failed_part(asked: Question) -> dict[str, Any]:
    plan = [
        {
            "id": t.task_id,
            "specialty": t.specialty,
            "instruction": t.instruction[:500],
            "depends_on": list(t.depends_on),
        }
        for t in asked.plan
    ]
    return {"plan": plan, "failed": dict(asked.failed), "done": list(asked.done)}


@cache
def _system() -> str:
    return (files("services.planner") / "prompt.md").read_text("utf-8")


def tool_schema(specialties: Mapping[str, Specialty], limits: PlanLimits) -> dict[str, Any]:
    """The JSON schema of a draft; the specialties that are loaded are the choices."""
    who = "\n".join(f"- {s.name}: {s.purpose}" for s in specialties.values())
    properties: dict[str, Any] = {
        "id": {"type": "string", "description": "Unique within the plan."},
        "specialty": {"type": "string", "enum": list(specialties), "description": f"Who does it:\n{who}"},
        "instruction": {"type": "string", "description": "What to do, complete in itself."},
        "depends_on": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Ids of the tasks whose outputs it needs.",
        },
        "priority": {"type": "integer", "minimum": 0, "maximum": 9, "description": "9 is the most urgent."},
        "optional": {"type": "boolean", "description": "Whether the answer is useful without it."},
    }
    needed = ["id", "specialty", "instruction", "depends_on"]
    task = {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}
    tasks = {"type": "array", "items": task, "minItems": 1, "maxItems": limits.max_tasks}
    return {"type": "object", "properties": {"tasks": tasks}, "required": ["tasks"], "additionalProperties": False}


def _pages(attachments: Sequence[Attachment]) -> list[Page]:
    left = MAX_SHOWN_CHARS
    pages = []
    for a in attachments:
        text = _text(a)
        if text is not None and len(text) <= left:
            left -= len(text)
            pages.append(Page(name=a.name, media_type=a.media_type, text=text))
        else:
            size = a.size or len(a.data or b"")
            pages.append(Page(name=a.name, media_type=a.media_type, note=f"{size} bytes; the workers can read it"))
    return pages


def _text(a: Attachment) -> str | None:
    kind = a.media_type.partition(";")[0].strip().lower()
    if a.data is None or not (kind.startswith("text/") or kind in _TEXT_TYPES):
        return None
    try:
        return a.data.decode()
    except UnicodeDecodeError:
        return None


def _input(given: TaskInput) -> Input:
    output = _object(given.output.data) if given.output.data else {"text": given.output.text}
    return Input(task_id=given.task_id, specialty=given.output.specialty, output=output)


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = text
    return found if isinstance(found, dict) else {"text": found}
