"""What is remembered is bounded, whatever it is."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from services.aggregator.claimed import fit

TEXTS = st.dictionaries(st.text(max_size=20), st.text(max_size=300), max_size=12)


@given(TEXTS, st.integers(2, 2_000))
def test_texts_fit_and_lose_no_more_than_they_must(texts: dict[str, str], limit: int) -> None:
    kept = fit(texts, limit)
    assert len(orjson.dumps(kept)) <= limit
    assert all(texts[name].startswith(text) for name, text in kept.items())
    if len(orjson.dumps(texts)) <= limit:
        assert kept == texts


def test_the_longest_are_shortened_first() -> None:
    assert fit({"a": "x" * 5, "b": "y" * 500}, 100)["a"] == "x" * 5
