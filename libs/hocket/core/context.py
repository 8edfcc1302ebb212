"""What a task is told of earlier results beside its inputs: texts by specialty, within a size. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

CONTEXT_BYTES = 16 * 1024
"""What a task is told of earlier results at most."""


def fit(texts: Mapping[str, str], limit: int) -> dict[str, str]:
    """The texts as JSON within `limit` bytes: the longest are shortened to one common length; names that do not fit
    even with empty texts are left out, last ones first."""
    kept = dict(texts)
    while kept and _size(dict.fromkeys(kept, "")) > limit:
        kept.popitem()
    if _size(kept) <= limit:
        return kept
    low, high = 0, max(len(t) for t in kept.values())
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _size(_cut(kept, middle)) <= limit else (low, middle)
    return _cut(kept, low)


def _cut(texts: Mapping[str, str], length: int) -> dict[str, str]:
    return {k: t[:length] for k, t in texts.items()}


def _size(texts: Mapping[str, str]) -> int:
    return len(orjson.dumps(texts))
