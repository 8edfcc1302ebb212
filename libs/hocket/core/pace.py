"""How fast one kind of work goes: learned service times, throughput, and how much to fetch ahead. Pure."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from itertools import accumulate

_GROWTH = 1.1  # width of a bucket; reporting its geometric middle is wrong by at most sqrt(1.1), 4.9 %
_LOG_GROWTH = math.log(_GROWTH)
_BUCKETS = 1 + math.ceil(math.log(86_400_000) / _LOG_GROWTH)  # up to one day; longer counts as a day
_RESCALE_AT = 1e12
_SAMPLES = 30  # within one window of `rate`


class Pace:
    """What the finished tasks say about the next one. Fixed memory: a histogram and a few samples of the count.

    Each note weighs half as much after `half_life` further ones, so that a provider that slows down or recovers is
    believed soon. Quantiles are those of the decayed weights within 5 % (within 1 ms below 1 ms; above a day: a day).
    `window_ms` is the span of `rate`. `can_meet` judges by the quantile `fast`, once `known` tasks were noted.
    """

    def __init__(
        self,
        *,
        half_life: int = 100,
        window_ms: int = 30_000,
        fast: float = 0.1,
        known: int = 20,
        probe_ms: int = 5_000,
    ) -> None:
        if half_life < 1 or window_ms < 1 or not 0 <= fast <= 1 or known < 1 or probe_ms < 0:
            raise ValueError(
                "half_life, window_ms and known must be at least 1, fast within 0-1, probe_ms not negative"
            )
        self._step = 2 ** (1 / half_life)
        self._window_ms = window_ms
        self._fast = fast
        self._known = known
        self._probe_ms = probe_ms
        self._weights = [0.0] * _BUCKETS
        self._weight = 1.0  # of the next note: growing it costs less than shrinking all others
        self._weighted_sum = 0.0
        self._count = 0
        self._below: list[float] | None = None  # running sums of the weights, until the next note
        self._samples: deque[tuple[int, int]] = deque()  # (time, count), rising
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

    def rate(self, now_ms: int) -> float:
        """Tasks noted per second over the last `window_ms`, or since the first call; 0.0 on the first call.

        The count is sampled by calling, so call it regularly: several times in a window. A call after a longer silence
        averages over that silence.
        """
        samples = self._samples
        while len(samples) > 1 and now_ms - samples[1][0] >= self._window_ms:
            samples.popleft()
        if not samples or now_ms - samples[-1][0] >= self._window_ms / _SAMPLES:
            samples.append((now_ms, self._count))
        since_ms, count = samples[0]
        return 1000 * (self._count - count) / (now_ms - since_ms) if now_ms > since_ms else 0.0

    def _cumulative(self) -> list[float]:
        if self._below is None:
            self._below = list(accumulate(self._weights))
        return self._below


def prefetch(rate: float, seconds: float, least: int, most: int) -> int:
    """How many tasks to hold ready: what this worker finishes in `seconds`, so that a slow or sick one takes less.

    Within `least` (enough to learn from, and to recover with) and `most`. ValueError if they leave no room.
    """
    if not 0 < least <= most:
        raise ValueError(f"least {least} must be positive and not above most {most}")
    return max(least, math.ceil(min(rate * seconds, most)))


def _bucket(millis: float) -> int:
    return min(math.ceil(math.log(millis) / _LOG_GROWTH), _BUCKETS - 1) if millis > 1 else 0


def _middle(bucket: int) -> float:
    return float(_GROWTH ** (bucket - 0.5)) if bucket else 0.5
