"""Requests that one specialty answers, planned without a model call. Pure.

Only where nothing is left to interpret: the whole text is one order about the document that comes with it. Anything
more (a second order, a reason, a format) goes to the model.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from hocket.contracts.records import PlannedTask, Task

_THING = (
    r"(?:(?:this|the|my|attached|enclosed|following) ){1,3}"
    r"(?:document|file|text|letter|e-?mail|mail|pdf|report|article|contract|message|scan|invoice|review)"
)
_ORDERS = {
    "summarisation": r"(?:summari[sz]e|sum up)",
    "extraction": r"(?:extract (?:all )?(?:the )?(?:fields|entities|data|text) (?:from|of))",
    "translation": r"translate",
    "sentiment": r"(?:(?:analy[sz]e|judge|determine) the sentiment of)",
}
_ENDS = {
    "summarisation": r"(?: in (?:[0-9]{1,2}|one|two|three|four|five|ten) sentences?)?",
    "translation": r" (?:in)?to (?:english|german|french|spanish|italian|dutch|portuguese|polish)",
}
_PATTERNS = {
    name: re.compile(rf"(?:please )?{order} {_THING}{_ENDS.get(name, '')}(?:,? please)?[.!]?", re.IGNORECASE)
    for name, order in _ORDERS.items()
}
_MAX_CHARS = 120


def single_task(task: Task, specialties: Collection[str]) -> PlannedTask | None:
    """The one task that a request with one document plainly asks for; None when a planner has to read it."""
    text = re.sub(r"\s+", " ", task.text).strip()
    if len(task.attachments) != 1 or len(text) > _MAX_CHARS or task.context or task.constants:
        return None
    for name, pattern in _PATTERNS.items():
        if name in specialties and pattern.fullmatch(text):
            return PlannedTask(task_id=name, specialty=name, instruction=text, priority=task.priority)
    return None
