"""What a local engine is handed, and the two ways in which it may honestly refuse.

An engine is `def run(work: Work) -> dict[str, Any]` in `services/workers/<specialty>/local.py`: synchronous,
deterministic, and never the author of a text. What it returns is the specialty's output record as plain data.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Document:
    """One attachment, already fetched."""

    name: str
    media_type: str
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Input:
    """The output of a task that this one depends on."""

    task_id: str
    specialty: str
    output: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Work:
    """A task as an engine sees it. `text` is the request's own text; `options` is the plan's `with`.

    `earlier` are results that it was not given as inputs, by specialty: those of the tasks that led to its inputs, and
    those of earlier requests of the session. The newest of a specialty counts.
    """

    task_id: str
    specialty: str
    instruction: str
    text: str = ""
    documents: tuple[Document, ...] = ()
    inputs: tuple[Input, ...] = ()
    constants: Mapping[str, str] = field(default_factory=dict)
    earlier: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    workflow: str | None = None


class NeedsModel(Exception):  # noqa: N818 - it is no error of anybody's; the name says what is missing
    """This cannot be done honestly without a model. The message is one sentence that says what is missing.

    `instead` is a lesser output that the engine can give all the same: it is used only if no model delivers.
    """

    def __init__(self, message: str, *, instead: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.instead = instead


class BadInput(Exception):  # noqa: N818 - named for what is at fault
    """The input is at fault. The message tells the client what to change."""


class EngineLost(Exception):  # noqa: N818 - named for what happened
    """A process that the engine leans on died or hung. The same task may be tried again as it is."""
