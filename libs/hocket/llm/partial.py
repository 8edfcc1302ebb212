"""The readable text of a JSON object while the object is still being written: one top-level string field. Pure."""

from __future__ import annotations

_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class PartialField:
    """Fed with pieces of a JSON object, gives the new characters of one of its fields.

    Anything before the first `{` is skipped. Half an escape, or half a surrogate pair, is held back until it is whole.
    What is no JSON gives no text, or less of it, and never an error: the whole reply is judged when it is there.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._depth = 0
        self._string: list[str] | None = None
        self._escape = ""
        self._high = ""
        self._key = ""
        self._is_value = False
        self._found = False

    def feed(self, piece: str) -> str:
        """The characters of the field that the piece added; an empty text for none."""
        return "".join(self._char(c) for c in piece)

    def _char(self, c: str) -> str:
        if self._string is None:
            self._outside(c)
            return ""
        if self._escape:
            return self._take(self._unescaped(c))
        if c == "\\":
            self._escape = c
            return ""
        if c == '"':
            self._end_string()
            return ""
        return self._take(c)

    def _outside(self, c: str) -> None:
        if c == '"' and self._depth:
            self._string = []
        elif c in "{[":
            self._depth += 1
        elif c in "}]":
            self._depth -= 1
        elif c == ":" and self._depth == 1:
            self._is_value = True
        elif c == "," and self._depth == 1:
            self._is_value = False

    def _end_string(self) -> None:
        if self._depth == 1 and not self._is_value:
            self._key = "".join(self._string or ())
        elif self._is_wanted():
            self._found = True
        self._string, self._high = None, ""

    def _is_wanted(self) -> bool:
        return self._depth == 1 and self._is_value and self._key == self._name and not self._found

    def _take(self, text: str) -> str:
        if self._string is not None and not self._is_value and self._depth == 1:
            self._string.append(text)
        return text if self._is_wanted() else ""

    def _unescaped(self, c: str) -> str:
        self._escape += c
        if self._escape[1] != "u":
            self._escape = ""
            return _ESCAPES.get(c, c)
        if len(self._escape) < 6:
            return ""
        digits, self._escape = self._escape[2:], ""
        try:
            code = int(digits, 16)
        except ValueError:
            return ""
        if 0xD800 <= code < 0xDC00:
            self._high = digits
            return ""
        if 0xDC00 <= code < 0xE000:
            high, self._high = self._high, ""
            return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + (code - 0xDC00)) if high else ""
        return chr(code)
