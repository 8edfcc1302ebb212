# ruff: noqa: RUF001 - typographic marks are what is compared here
"""services/workers/research/check.py: a quote that no document holds word for word never leaves a worker."""

from typing import Any

import pytest

from hocket.core.work import Document, Input, Work
from services.workers.research.check import accept
from services.workers.research.local import run

BODY = "The notice period is three months.\nIt “begins” on the first – of a month."
LEASE = Document(name="lease.txt", media_type="text/plain", data=BODY.encode())
WORK = Work(task_id="r", specialty="research", instruction="notice period", documents=(LEASE,))


def quoting(quote: str, document: str = "lease.txt") -> dict[str, Any]:
    return {"text": "", "passages": [{"quote": quote, "document": document}]}


@pytest.mark.parametrize("quote", ["three months", 'three months. It "begins" on the first - of', "is  three\nmonths"])
def test_a_verbatim_quote_passes_whatever_marks_and_blanks_it_is_typed_with(quote: str) -> None:
    assert accept(WORK, quoting(quote)) == []


@pytest.mark.parametrize(
    "quote", ["six months", "The notice period is six months.", "period … months", "", "THREE MONTHS"]
)
def test_a_changed_shortened_or_empty_quote_is_named(quote: str) -> None:
    [said] = accept(WORK, quoting(quote))
    assert "lease.txt" in said
    assert "word for word" in said


def test_a_document_that_was_not_sent_is_named() -> None:
    [said] = accept(WORK, quoting("three months", "will.txt"))
    assert "will.txt" in said
    assert "lease.txt" in said


def test_the_output_of_an_earlier_task_may_be_quoted_and_a_picture_passes_unchecked() -> None:
    earlier = Input(task_id="notes", specialty="writing", output={"text": "Rent is due on Mondays."})
    picture = Document(name="scan.png", media_type="image/png", data=b"\x89PNG\r\n")
    work = Work(task_id="r", specialty="research", instruction="", documents=(picture,), inputs=(earlier,))
    assert accept(work, quoting("due on Mondays", "notes")) == []
    assert accept(work, quoting("due on Tuesdays", "notes")) != []
    assert accept(work, quoting("whatever it shows", "scan.png")) == []


def test_what_the_local_engine_quotes_passes() -> None:
    record = run(WORK)
    assert record["passages"]
    assert accept(WORK, record) == []
