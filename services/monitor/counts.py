"""Counting records so that a restart neither forgets nor counts twice. Pure.

A tally belongs to one partition and remembers the offset up to which it has counted. It is stored whole: whichever
version of it a restart finds, the records behind its offset are counted from there, and those before it are skipped.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import orjson

BOUNDS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
"""Upper bounds of the duration buckets in seconds; one more bucket holds what is longer."""
MAX_LABELS = 200
"""So many different label sets are told apart in a partition; further ones are counted as other."""
_NOTHING = (0,) * (len(BOUNDS_S) + 1)

Labels = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Counts by labels, and how long things took. `next_offset` is the first offset that is not counted yet."""

    next_offset: int = 0
    counts: Mapping[Labels, int] = field(default_factory=dict)
    buckets: tuple[int, ...] = _NOTHING
    seconds: float = 0.0

    def counted(self, offset: int, labels: Labels, seconds: float | None = None) -> Tally:
        """The tally with one more record; the same one if it holds this record already."""
        if offset < self.next_offset:
            return self
        known = labels in self.counts or len(self.counts) < MAX_LABELS
        key = labels if known else ("other",) * len(labels)
        counts = {**self.counts, key: self.counts.get(key, 0) + 1}
        buckets = self.buckets
        if seconds is not None:
            at = bisect_left(BOUNDS_S, seconds)
            buckets = tuple(n + (i == at) for i, n in enumerate(buckets))
        total = self.seconds + (seconds or 0.0)
        return Tally(next_offset=offset + 1, counts=counts, buckets=buckets, seconds=total)

    def encoded(self) -> bytes:
        """The tally as it stands in the table."""
        counts = [[*labels, n] for labels, n in self.counts.items()]
        return orjson.dumps([self.next_offset, counts, self.buckets, self.seconds])


def decoded(data: bytes | None) -> Tally:
    """The tally behind table bytes, an empty one behind None. With other buckets than ours the durations start anew."""
    if data is None:
        return Tally()
    next_offset, counts, buckets, seconds = orjson.loads(data)
    ours = len(buckets) == len(_NOTHING)
    return Tally(
        next_offset=next_offset,
        counts={tuple(labels): n for *labels, n in counts},
        buckets=tuple(buckets) if ours else _NOTHING,
        seconds=seconds if ours else 0.0,
    )


def total(tallies: Iterable[Tally]) -> Tally:
    """All partitions together; its next_offset means nothing."""
    counts: dict[Labels, int] = {}
    buckets, seconds = list(_NOTHING), 0.0
    for tally in tallies:
        for labels, n in tally.counts.items():
            counts[labels] = counts.get(labels, 0) + n
        buckets = [a + b for a, b in zip(buckets, tally.buckets, strict=True)]
        seconds += tally.seconds
    return Tally(counts=counts, buckets=tuple(buckets), seconds=seconds)
