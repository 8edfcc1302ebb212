"""Rows kept as values: only ever for the bytes they were stored as, and never more than allowed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.aggregator.recent import Recent


def test_a_value_is_given_for_the_very_bytes_it_was_stored_as() -> None:
    recent: Recent[str] = Recent(100)
    recent.put(b"k", b"stored", "value")
    assert recent.get(b"k", b"stored") == "value"
    assert recent.get(b"k", b"rolled back") is None
    assert recent.get(b"other", b"stored") is None
    recent.put(b"k", None, None)
    assert recent.get(b"k", b"stored") is None


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.none() | st.binary(max_size=20))))
def test_it_holds_what_was_used_last_within_its_bytes(puts: list[tuple[str, bytes | None]]) -> None:
    recent: Recent[bytes] = Recent(50)
    for key, stored in puts:
        recent.put(key.encode(), stored, stored)
        assert sum(len(held) for held, _ in recent._held.values()) <= 50
        assert stored is None or recent.get(key.encode(), stored) == stored
