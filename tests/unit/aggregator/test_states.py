"""The page that explains the join says what the join's table says."""

from __future__ import annotations

from tests.support.states import PAGE, diagram, drawn


def test_the_diagram_in_the_docs_is_drawn_from_the_table() -> None:
    page = PAGE.read_text("utf-8")
    assert diagram() in page
    assert drawn(page) == page, "run `python -m tests.support.states`"
