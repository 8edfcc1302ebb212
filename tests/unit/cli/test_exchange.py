"""The token that a follower goes on by."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.cli.exchange import Place, offsets_of

offsets = st.integers(0, 2**62)


@given(offsets, offsets, offsets)
def test_a_token_says_where_to_go_on(begin: int, more: int, answers: int) -> None:
    place = Place(
        key=b"r", partition=0, answers_from=answers, answers_end=0, progress_from=begin, progress_end=0,
        told_from=begin + more,
    )  # fmt: skip
    assert offsets_of(place.token) == (begin, begin + more, answers)


@pytest.mark.parametrize("text", ["", "1", "1-2", "1-2-3-4", "a-b-c", "-1-2-3", "5-4-0", "1-2-٣x"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        offsets_of(text)
