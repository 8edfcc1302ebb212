"""The bound on tokens: never above the bytes, never below what the worst known texts need."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.core.tokens import least_tokens, most_tokens

# Tokens of these texts as counted by cl100k, o200k, Anthropic's published tokenizer and DeepSeek's: the highest.
COUNTED = [
    ("".join(random.Random(7).choices("qxzjkvw", k=2_000)), 1_330),
    ("a b c d e f g h i j k l m n o p q r s t u v w x y z " * 20, 521),
    ("The invoice of 3 May 2026 is due within 30 days.", 16),
]


@pytest.mark.parametrize(("text", "counted"), COUNTED)
def test_no_counted_text_has_more(text: str, counted: int) -> None:
    assert counted <= most_tokens(text, 1.25) <= len(text)


@pytest.mark.parametrize(
    ("text", "most"), [("", 0), ("abcde", 4), ("abcde abcde", 8), ("Abcd", 4), ("  a", 2), ("é", 2)]
)
def test_a_word_counts_its_letters_and_everything_else_its_bytes(text: str, most: int) -> None:
    assert most_tokens(text, 1.25) == most


@given(st.text(), st.floats(1, 3))
def test_it_is_never_above_the_bytes_nor_below_a_token_a_word(text: str, chars: float) -> None:
    assert len(text.split()) <= most_tokens(text, chars) <= len(text.encode()) == most_tokens(text)


@pytest.mark.parametrize(("text", "counted"), COUNTED)
def test_no_counted_text_has_fewer(text: str, counted: int) -> None:
    assert least_tokens(text) <= counted


@given(st.text())
def test_the_least_is_never_above_the_most_and_blanks_weigh_nothing(text: str) -> None:
    assert least_tokens(text) <= most_tokens(text, 3)
    assert least_tokens(" " * 10_000 + text) <= least_tokens(text) + 1
