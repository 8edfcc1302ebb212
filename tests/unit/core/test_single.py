"""Requests that one specialty answers are known by their whole text; anything more is left to the planner."""

from __future__ import annotations

from typing import Any

import pytest

from hocket.contracts.records import Attachment, Task
from hocket.core.single import single_task

KNOWN = ("summarisation", "translation", "extraction", "sentiment")
LETTER = Attachment(name="a.txt", media_type="text/plain", data=b"x", size=1)


def asked(text: str, documents: int = 1, **more: Any) -> str | None:
    task = Task(
        request_id="r", task_id="planning", specialty="planning", instruction="", text=text,
        attachments=(LETTER,) * documents, dispatched_at=0, **more,
    )  # fmt: skip
    found = single_task(task, KNOWN)
    return found.specialty if found else None


@pytest.mark.parametrize(
    ("text", "specialty"),
    [
        ("Summarise this document.", "summarisation"),
        ("please summarize the attached report in three sentences", "summarisation"),
        ("Translate this letter into German, please.", "translation"),
        ("Extract the fields from this invoice", "extraction"),
        ("Judge the sentiment of this review!", "sentiment"),
        ("Summarise this document and translate it.", None),
        ("Summarise this document for a lawyer.", None),
        ("Translate this letter.", None),
        ("Compare three vendors.", None),
        ("", None),
    ],
)
def test_only_a_plain_order_is_taken(text: str, specialty: str | None) -> None:
    assert asked(text) == specialty


def test_without_exactly_one_document_or_with_a_session_a_planner_reads_it() -> None:
    assert asked("Summarise this document.", 0) is None
    assert asked("Summarise this document.", 2) is None
    assert asked("Summarise this document.", context="{}") is None
