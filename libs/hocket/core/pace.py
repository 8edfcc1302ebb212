"""How fast one kind of work goes: learned service times, and how much to start while it goes badly. Pure."""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import accumulate

_GROWTH = 1.1  # width of a bucket; reporting its geometric middle is wrong by at most sqrt(1.1), 4.9 %
_LOG_GROWTH = math.log(_GROWTH)
_BUCKETS = 1 + math.ceil(math.log(86_400_000) / _LOG_GROWTH)  # up to one day; longer counts as a day
_RESCALE_AT = 1e12
_TROUBLED = 5


class Pace:
    """What the finished tasks say about the next one. Fixed memory: a histogram.

    Each note weighs half as much after `half_life` further ones, so that a provider that slows down or recovers is
    believed soon. Quantiles are those of the decayed weights within 5 % (within 1 ms below 1 ms; above a day: a day).
    `can_meet` judges by the quantile `fast`, once `known` tasks were noted.
    """

    def __init__(self, *, half_life: int = 100, fast: float = 0.1, known: int = 20, probe_ms: int = 5_000) -> None:
        if half_life < 1 or not 0 <= fast <= 1 or known < 1 or probe_ms < 0:
            raise ValueError("half_life and known must be at least 1, fast within 0-1, probe_ms not negative")
        self._step = 2 ** (1 / half_life)
        self._fast = fast
        self._known = known
        self._probe_ms = probe_ms
        self._weights = [0.0] * _BUCKETS
        self._weight = 1.0  # of the next note: growing it costs less than shrinking all others
        self._weighted_sum = 0.0
        self._count = 0
        self._below: list[float] | None = None  # running sums of the weights, until the next note
        self._judged_count = -1
        self._learned_ms = 0  # when can_meet last saw a new note, or let a probe go

    @property
    def count(self) -> int:
        """Tasks noted since the start."""
        return self._count

    @property
    def mean(self) -> float | None:
        """Decayed mean in milliseconds; None before the first note."""
        return self._weighted_sum / self._cumulative()[-1] if self._count else None

    def note(self, millis: float) -> None:
        """A task took `millis`. Note only calls that ended by themselves: a cancelled one would look fast."""
        if not 0 <= millis < math.inf:
            raise ValueError(f"{millis} ms is no duration: measure with a monotonic clock")
        self._weights[_bucket(millis)] += self._weight
        self._weighted_sum += self._weight * millis
        self._count += 1
        self._below = None
        self._weight *= self._step
        if self._weight > _RESCALE_AT:
            self._weights = [weight / self._weight for weight in self._weights]
            self._weighted_sum /= self._weight
            self._weight = 1.0

    def quantile(self, q: float) -> float | None:
        """Milliseconds within which the share `q` of the (decayed) tasks ended; None before the first note."""
        if not 0 <= q <= 1:
            raise ValueError(f"quantile {q} is not between 0 and 1")
        if not self._count:
            return None
        below = self._cumulative()
        return _middle(bisect_left(below, max(q * below[-1], math.ulp(0.0))))

    def can_meet(self, deadline_ms: int | None, now_ms: int) -> bool:
        """Whether a task that starts now may still end in time: False only if even a fast one would not.

        A deadline that has passed is never met; otherwise True while too little is known. When everything is refused
        nothing is learned, so after `probe_ms` without a note one task is let through and may find a recovery.
        """
        if deadline_ms is None:
            return True
        if deadline_ms <= now_ms:
            return False
        if self._judged_count != self._count:
            self._judged_count, self._learned_ms = self._count, now_ms
        fast = self.quantile(self._fast)
        if fast is None or self._count < self._known or now_ms + fast <= deadline_ms:
            return True
        if now_ms - self._learned_ms < self._probe_ms:
            return False
        self._learned_ms = now_ms
        return True

    def _cumulative(self) -> list[float]:
        if self._below is None:
            self._below = list(accumulate(self._weights))
        return self._below


def allowance(before: int | None, *, fine: int, troubled: int, most: int) -> int | None:
    """How many tasks a worker should start in the next second, None for as many as it can.

    `fine` and `troubled` are the last second's outcomes, troubled those that may go well another time. While most are
    troubled the allowance is halved, down to one a second, so that a sick worker does not burn through its partitions;
    when they go well again it doubles.
    """
    if troubled > fine and (before is not None or troubled >= _TROUBLED):
        return max(1, (most if before is None else before) // 2)
    if before is None or fine + troubled == 0:
        return before
    return 2 * before if 2 * before < most else None


def _bucket(millis: float) -> int:
    return min(math.ceil(math.log(millis) / _LOG_GROWTH), _BUCKETS - 1) if millis > 1 else 0


def _middle(bucket: int) -> float:
    return float(_GROWTH ** (bucket - 0.5)) if bucket else 0.5
