"""How streamed text becomes few records: what waits, when it is due, what goes out. Pure; the clock is an argument."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

EVERY_MS = 150
"""Text of one task goes out at most this often. Any second then has seven records of it at most, one more at its end,
and the two states before and after: ten."""
PIECE_CHARS = 32_768
"""One record's text; more is cut, so that no record comes near the broker's limit."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of a reply: `start` characters of the same reply come before it. `reply` counts from 0."""

    reply: int
    start: int
    text: str


class Coalescer:
    """The text of one run of a task on its way out. It is as long as a model may write at most."""

    def __init__(self) -> None:
        self.reply = 0
        self.chars = 0
        self._said: list[str] = []
        self._taken = self._sent = 0
        self._last_ms: float | None = None

    def add(self, text: str) -> None:
        """More of the reply; an empty text says that the reply begins anew and what came before is void."""
        if text:
            self._said.append(text)
            self.chars += len(text)
        elif self.chars:
            self.reply += 1
            self.chars = self._sent = self._taken = 0
            self._said.clear()

    def wait_ms(self, now_ms: float) -> float | None:
        """Milliseconds until what waits is due; None when nothing waits."""
        if self._sent == self.chars:
            return None
        return 0.0 if self._last_ms is None else max(0.0, self._last_ms + EVERY_MS - now_ms)

    def take(self, now_ms: float) -> Sequence[Piece]:
        """All that waits, and it waits no more: one piece, or several when it is very long."""
        text, start = "".join(self._said[self._taken :]), self._sent
        self._taken, self._sent, self._last_ms = len(self._said), self.chars, now_ms
        cuts = range(0, len(text), PIECE_CHARS)
        return [Piece(reply=self.reply, start=start + n, text=text[n : n + PIECE_CHARS]) for n in cuts]

    def said(self) -> str:
        """The whole reply so far."""
        return "".join(self._said)
