"""What stands above a committed offset, as text small enough for Kafka's offset metadata. Pure.

Laws: `decode(encode(map), map.base)` gives the map back, or, when it is too large, its lower part; no text is longer
than LIMIT; whatever is not a whole map of this version for this very offset decodes to None, and then nothing is known,
which costs calls but never a task.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

LIMIT = 3_500
"""Characters, all ASCII. The broker refuses more than 4,096 bytes (offset.metadata.max.bytes)."""
ROOMY = 2_500
"""Above this, nothing more should be taken from the partition."""
_VERSION = b"\x01"
_RAW_BYTES = 256 * 1024
_MOST_OPEN = 100_000
_MOST_BITS = 200_000


@dataclass(frozen=True, kw_only=True)
class Flight:
    """Who runs a task, in which delivery, counted from 1. Owner "" is nobody: it ended in that many crashes so far."""

    owner: str
    deliveries: int = 1


@dataclass(frozen=True, kw_only=True)
class DoneMap:
    """From `base` up to `top` every offset is done, except those in `open`; a flight tells who runs it, if anybody."""

    base: int
    top: int
    open: Mapping[int, Flight | None] = field(default_factory=dict)

    def done(self, offset: int) -> bool:
        """Whether the map says that this offset needs no work any more."""
        return self.base <= offset < self.top and offset not in self.open

    @property
    def flights(self) -> dict[int, Flight]:
        """The open offsets of which more is known than that they are open."""
        return {o: f for o, f in self.open.items() if f is not None}

    def below(self, top: int) -> DoneMap:
        """The part of the map below `top`."""
        return DoneMap(base=self.base, top=min(self.top, top), open={o: f for o, f in self.open.items() if o < top})


def crashes(found: DoneMap | None, me: str) -> dict[int, int]:
    """In how many deliveries each open offset's worker died. An owner that still stands there did not say goodbye,
    unless it is `me`."""
    flights = found.flights if found else {}
    counts = {o: f.deliveries - (f.owner == me) for o, f in flights.items()}
    return {o: n for o, n in counts.items() if n > 0}


def unowned(found: DoneMap | None, died: Mapping[int, int]) -> DoneMap | None:
    """The predecessor's map as a new owner goes on with it: nobody runs anything, the crashes are counted."""
    if found is None:
        return None
    flights = {o: Flight(owner="", deliveries=died[o]) if o in died else None for o in found.open}
    return DoneMap(base=found.base, top=found.top, open=flights)


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
    if whole.top <= whole.base:
        return ""
    text = _text(whole)
    rising = sorted(whole.open)
    while len(text) > LIMIT:
        # Each step keeps a little less than fits, by the share that the open offsets have in the length.
        rising = rising[: int(len(rising) * min(0.9, LIMIT / len(text)))]
        if not rising:
            return ""
        whole = whole.below(rising[-1] + 1)
        text = _text(whole)
    return text


def decode(text: str, base: int) -> DoneMap | None:
    """The map that was committed with offset `base`. None for anything else: foreign, damaged or of another version."""
    if not text or len(text) > LIMIT:
        return None
    try:
        sealed = base64.b85decode(text)
        if sealed[:1] != _VERSION or zlib.crc32(sealed[5:]) != int.from_bytes(sealed[1:5], "big"):
            return None
        unpacker = zlib.decompressobj()
        raw = unpacker.decompress(sealed[5:], _RAW_BYTES)
        if unpacker.unconsumed_tail or not unpacker.eof:
            return None
        return _parsed(raw, base)
    except (ValueError, binascii.Error, zlib.error, StopIteration):
        return None


def _text(whole: DoneMap) -> str:
    forms = [_sealed(b"\x00", whole, _runs(whole))]
    if whole.top - whole.base <= _MOST_BITS:
        forms.append(_sealed(b"\x01", whole, _bits(whole)))
    return base64.b85encode(min(forms, key=len)).decode()


def _sealed(form: bytes, whole: DoneMap, shape: bytes) -> bytes:
    body = zlib.compress(form + _varints([whole.base, whole.top - whole.base]) + shape + _crews(whole), 9)
    return _VERSION + zlib.crc32(body).to_bytes(4, "big") + body


def _runs(whole: DoneMap) -> bytes:
    """Lengths of what is done and what is open, in turns; an empty one at the end."""
    lengths, at, state = [], whole.base, False
    run = 0
    for offset in sorted(whole.open):
        if offset > at or not state:
            if state:
                lengths.append(run)
            lengths.append(offset - at)
            run, state = 0, True
        run += 1
        at = offset + 1
    if state:
        lengths.append(run)
    return _varints([len(lengths), *lengths])


def _bits(whole: DoneMap) -> bytes:
    bits = bytearray((whole.top - whole.base + 7) // 8)
    for offset in whole.open:
        place = offset - whole.base
        bits[place // 8] |= 1 << place % 8
    return bytes(bits)


def _crews(whole: DoneMap) -> bytes:
    """The different flights, then which of them each open offset has, as runs of (number, length); 0 is none."""
    known = sorted({f for f in whole.open.values() if f is not None}, key=lambda f: (f.owner, f.deliveries))
    number: dict[Flight | None, int] = {None: 0} | {f: n for n, f in enumerate(known, 1)}
    out = bytearray(_varints([len(known)]))
    for flight in known:
        owner = flight.owner.encode()
        out += _varints([flight.deliveries, len(owner)]) + owner
    runs: list[list[int]] = []
    for offset in sorted(whole.open):
        mark = number[whole.open[offset]]
        if runs and runs[-1][0] == mark:
            runs[-1][1] += 1
        else:
            runs.append([mark, 1])
    return bytes(out) + _varints([len(runs), *(n for run in runs for n in run)])


def _parsed(raw: bytes, base: int) -> DoneMap | None:
    data = iter(raw)
    form = next(data)
    found, span = _varint(data), _varint(data)
    if found != base or form > 1 or (form == 1 and span > _MOST_BITS):
        return None
    places = list(_open_runs(data) if form == 0 else _open_bits(data, span))
    known: list[Flight | None] = [None]
    for _ in range(_varint(data)):
        deliveries, size = _varint(data), _varint(data)
        known.append(Flight(owner=bytes(_byte(data) for _ in range(size)).decode(), deliveries=deliveries))
    marks: list[Flight | None] = []
    for _ in range(_varint(data)):
        mark, length = _varint(data), _varint(data)
        if mark >= len(known) or len(marks) + length > len(places):
            return None
        marks += [known[mark]] * length
    if len(marks) != len(places) or any(p >= span for p in places) or next(data, None) is not None:
        return None
    return DoneMap(base=base, top=base + span, open={base + p: f for p, f in zip(places, marks, strict=True)})


def _open_runs(data: Iterator[int]) -> Iterator[int]:
    at, total, is_open = 0, 0, False
    for _ in range(_varint(data)):
        length = _varint(data)
        if is_open:
            total += length
            if total > _MOST_OPEN:
                raise ValueError("more open offsets than any worker takes")
            yield from range(at, at + length)
        at += length
        is_open = not is_open


def _open_bits(data: Iterator[int], span: int) -> Iterator[int]:
    for start in range(0, span, 8):
        byte = _byte(data)
        for bit in range(8):
            if byte >> bit & 1:
                yield start + bit


def _byte(data: Iterator[int]) -> int:
    """The next byte. Raises ValueError at the end: inside a generator StopIteration would be a defect."""
    byte = next(data, None)
    if byte is None:
        raise ValueError("cut off")
    return byte


def _varints(numbers: Iterable[int]) -> bytes:
    out = bytearray()
    for number in numbers:
        left = number
        while left > 0x7F:
            out.append(left & 0x7F | 0x80)
            left >>= 7
        out.append(left)
    return bytes(out)


def _varint(data: Iterator[int]) -> int:
    number = shift = 0
    while True:
        byte = _byte(data)
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number
        if shift > 63:
            raise ValueError("not a number")
