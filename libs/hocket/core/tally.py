"""How a worker has done lately, from counts that only ever rise: throughput, error rate, latency quantiles."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What had happened by `at_ms`. `buckets` counts tasks by duration, one for each bound and one for what is above
    the last; not cumulative."""

    at_ms: int
    completed: int = 0
    failed: int = 0
    limited: int = 0
    buckets: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Recent:
    """What happened within the window. None where nothing ended in it."""

    per_second: float = 0.0
    error_rate: float | None = None
    p50_millis: float | None = None
    p95_millis: float | None = None
    rate_limited: bool = False


class Tally:
    """Keeps the counts of the last `window_ms`, at most `most` of them. `bounds` are the buckets' upper ends in ms."""

    def __init__(self, bounds: Sequence[float], *, window_ms: int = 60_000, most: int = 120) -> None:
        self._bounds = tuple(bounds)
        self._window_ms = window_ms
        self._kept: deque[Counts] = deque(maxlen=most)

    def add(self, now: Counts) -> Recent:
        """Takes the counts of now, which must not be below earlier ones; returns what happened in the window."""
        while len(self._kept) > 1 and now.at_ms - self._kept[1].at_ms >= self._window_ms:
            self._kept.popleft()
        self._kept.append(now)
        then = self._kept[0]
        failed = now.failed - then.failed
        ended = now.completed - then.completed + failed
        spread = [n - (then.buckets[i] if then.buckets else 0) for i, n in enumerate(now.buckets)]
        seconds = (now.at_ms - then.at_ms) / 1000
        return Recent(
            per_second=ended / seconds if seconds > 0 else 0.0,
            error_rate=failed / ended if ended else None,
            p50_millis=quantile(self._bounds, spread, 0.5),
            p95_millis=quantile(self._bounds, spread, 0.95),
            rate_limited=now.limited > then.limited,
        )


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """The value below which `share` of the counted lie, evenly spread within a bucket; None without any.

    What lies above the last bound counts as that bound.
    """
    wanted = share * sum(counts)
    if not wanted:
        return None
    low = 0.0
    for high, n in zip(bounds, counts, strict=False):
        if n and wanted <= n:
            return low + (high - low) * wanted / n
        wanted -= n
        low = high
    return low
