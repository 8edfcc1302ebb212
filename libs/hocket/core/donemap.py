"""What stands above a committed offset, as text small enough for Kafka's offset metadata. Pure.

Laws: `decode(encode(map), map.base)` gives the map back, or, when it is too large, its lower part; no text is longer
than LIMIT; whatever is not a whole map of this version for this very offset decodes to None, and then nothing is known,
which costs calls but never a task.

The text is base64 of zlib (whose checksum seals it) of JSON: version, base, holder, the lengths of the runs of offsets
that are done and open in turns, the flights, which of them the open offsets have, again as runs, and the time.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

LIMIT = 3_500
"""Characters, all ASCII. The broker refuses more than 4,096 bytes (offset.metadata.max.bytes)."""
ROOMY = 2_500
"""Above this, nothing more should be taken from the partition."""
_VERSION = 3
_RAW_BYTES = 256 * 1024
_MOST_OPEN = 100_000
_MOST_OFFSET = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class Flight:
    """Who runs a task, in which delivery, counted from 1. The owner names a worker in one of its assignments."""

    owner: str
    deliveries: int = 1


@dataclass(frozen=True, kw_only=True)
class DoneMap:
    """From `base` up to `top` every offset is done, except those in `open`; a flight tells who runs it, or last ran it.
    `holder` held the partition when this was committed, at the time `at` of its clock in milliseconds; 0 is unknown."""

    base: int
    top: int
    open: Mapping[int, Flight | None] = field(default_factory=dict)
    holder: str = ""
    at: int = 0

    def done(self, offset: int) -> bool:
        """Whether the map says that this offset needs no work any more."""
        return self.base <= offset < self.top and offset not in self.open

    @property
    def flights(self) -> dict[int, Flight]:
        """The open offsets of which more is known than that they are open."""
        return {o: f for o, f in self.open.items() if f is not None}

    def below(self, top: int) -> DoneMap:
        """The part of the map below `top`."""
        rest = {o: f for o, f in self.open.items() if o < top}
        return replace(self, top=min(self.top, top), open=rest)


def trimmed(full: DoneMap) -> DoneMap:
    """The same without its tail of open offsets that nobody has begun: it tells nothing."""
    top = full.top
    rising = sorted(full.open)
    while rising and rising[-1] == top - 1 and full.open[rising[-1]] is None:
        top = rising.pop()
    return full.below(top)


def encode(full: DoneMap) -> str:
    """The map as text of at most LIMIT characters; empty when there is nothing to tell. The upper end gives way."""
    whole = trimmed(full)
    if whole.top <= whole.base and not whole.holder:
        return ""
    text = _text(whole)
    rising = sorted(whole.open)
    while len(text) > LIMIT:
        if not rising:
            return ""
        # Each step keeps a little less than fits, by the share that the open offsets have in the length.
        rising = rising[: int(len(rising) * min(0.9, LIMIT / len(text)))]
        whole = whole.below(rising[-1] + 1 if rising else whole.base)
        text = _text(whole)
    return text


def decode(text: str, base: int) -> DoneMap | None:
    """The map that was committed with offset `base`. None for anything else: foreign, damaged or of another version."""
    if not text or len(text) > LIMIT:
        return None
    try:
        unpacker = zlib.decompressobj()
        raw = unpacker.decompress(base64.b64decode(text, validate=True), _RAW_BYTES)
        if not unpacker.eof or unpacker.unused_data:
            return None
        return _parsed(json.loads(raw), base)
    except (ValueError, TypeError, IndexError, zlib.error, RecursionError):
        return None


def _text(whole: DoneMap) -> str:
    rising = sorted(whole.open)
    known = sorted({f for f in whole.open.values() if f is not None}, key=lambda f: (f.owner, f.deliveries))
    number: dict[Flight | None, int] = {None: 0} | {f: n for n, f in enumerate(known, 1)}
    marks = [(mark, len(list(run))) for mark, run in groupby(number[whole.open[o]] for o in rising)]
    crews = [[f.owner, f.deliveries] for f in known]
    body = [_VERSION, whole.base, whole.holder, _runs(whole.base, whole.top, rising), crews, marks, whole.at]
    raw = json.dumps(body, separators=(",", ":")).encode()
    return base64.b64encode(zlib.compress(raw, 6)).decode()


def _runs(base: int, top: int, rising: Iterable[int]) -> list[int]:
    """Lengths of what is done and what is open, in turns; what is done comes first and last."""
    lengths: list[int] = []
    at = base
    for offset in rising:
        if lengths and offset == at:
            lengths[-1] += 1
        else:
            lengths += [offset - at, 1]
        at = offset + 1
    return [*lengths, top - at]


def _parsed(body: Any, base: int) -> DoneMap | None:
    version, found, holder, runs, crews, marks, when = body
    if version != _VERSION or found != base or not isinstance(holder, str):
        return None
    known: list[Flight | None] = [None]
    known += [Flight(owner=_checked(owner, str), deliveries=_count(deliveries)) for owner, deliveries in crews]
    places: list[int] = []
    at = base
    for turn, length in enumerate(runs):
        if turn % 2:
            places.extend(range(at, at + min(_count(length), _MOST_OPEN + 1)))
        at += _count(length)
        if len(places) > _MOST_OPEN or at > _MOST_OFFSET:
            return None
    if sum(_count(length) for _, length in marks) != len(places):
        return None
    flights = (flight for mark, length in marks for flight in [known[_count(mark)]] * length)
    still = dict(zip(places, flights, strict=True))
    return DoneMap(base=base, top=at, open=still, holder=holder, at=_count(when))


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def _checked(value: Any, kind: type[str]) -> str:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is no text")
    return value
