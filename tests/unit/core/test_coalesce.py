"""Streamed text becomes few records, and nothing of it is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hocket.core.coalesce import EVERY_MS, PIECE_CHARS, Coalescer, Piece


def test_the_first_words_go_at_once_and_the_next_ones_together() -> None:
    text = Coalescer()
    assert text.wait_ms(0) is None
    text.add("a")
    assert text.wait_ms(1_000) == 0
    assert text.take(1_000) == [Piece(reply=0, start=0, text="a")]
    text.add("b")
    text.add("c")
    assert text.wait_ms(1_010) == EVERY_MS - 10
    assert text.take(1_000 + EVERY_MS) == [Piece(reply=0, start=1, text="bc")]
    assert text.wait_ms(2_000) is None


def test_a_reply_that_begins_anew_counts_from_0_again() -> None:
    text = Coalescer()
    text.add("")
    text.add("old")
    text.take(0)
    text.add("lost")
    text.add("")
    assert text.wait_ms(9_999) is None, "what was voided before it went out never goes out"
    text.add("new")
    assert text.take(200) == [Piece(reply=1, start=0, text="new")]
    assert text.said() == "new"


def test_a_very_long_text_is_cut_into_records() -> None:
    text = Coalescer()
    text.add("x" * (2 * PIECE_CHARS + 1))
    pieces = text.take(0)
    assert [(p.start, len(p.text)) for p in pieces] == [
        (0, PIECE_CHARS), (PIECE_CHARS, PIECE_CHARS), (2 * PIECE_CHARS, 1),
    ]  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 400), st.text(max_size=5)), max_size=60))
def test_whatever_comes_whenever_every_character_goes_out_once_and_seldom(given: list[tuple[int, str]]) -> None:
    """A writer that takes as soon as something is due: at most ten records in any second, with end and states."""
    text, now, times = Coalescer(), 0.0, list[float]()
    seen: dict[int, str] = {}

    def write() -> None:
        for piece in text.take(now):
            assert len(seen.setdefault(piece.reply, "")) == piece.start
            seen[piece.reply] += piece.text
            times.append(now)

    for pause, words in given:
        end = now + pause
        while (wait := text.wait_ms(now)) is not None and now + wait <= end:
            now += wait
            write()
        now = end
        text.add(words)
    if text.wait_ms(now) is not None:
        write()
    assert seen.get(text.reply, "") == text.said()
    for begin in times:
        assert len([t for t in times if begin <= t < begin + 1_000]) + 2 <= 10
