"""Whether a partition moves, judged as Burrow does: by a window of looks, without thresholds to tune. Pure.

ok: nothing waited at some moment of the window, or the work gets less. slow: it moves, but more comes than goes; or
nothing was finished, and something still runs. stuck: a member holds it, work waits, nothing was finished and nothing
runs. stopped: the same, and nobody holds it (scaled to zero, or crashed).

One long call is not stuck: a living worker still runs it, and what is finished behind it shows in `finished`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from services.monitor.lag import PartitionLag

Standing = Literal["ok", "slow", "stuck", "stopped"]
CODES: dict[Standing, int] = {"ok": 0, "slow": 1, "stuck": 2, "stopped": 3}
JUDGED_AFTER_MS = 50_000
"""A window shorter than this says nothing yet."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """A partition at a moment: how far the group is, how much of its lag is finished, how much is to do."""

    at_ms: int
    committed: int | None
    finished: int
    net: int
    end: int


def look(place: PartitionLag, at_ms: int) -> Look:
    """What of a partition's lag counts for the verdict."""
    return Look(at_ms=at_ms, committed=place.committed, finished=place.finished, net=place.net, end=place.end)


def standing(window: Sequence[Look], *, owned: bool, running: bool) -> Standing:
    """How a partition does. `running`: a worker that is alive still works on one of its records."""
    if not window or window[-1].at_ms - window[0].at_ms < JUDGED_AFTER_MS or any(x.net == 0 for x in window):
        return "ok"
    first, last = window[0], window[-1]
    if all((x.committed, x.finished) == (first.committed, first.finished) for x in window):
        if not owned:
            return "stopped"
        return "slow" if running else "stuck"
    falls = any(later.net < before.net for before, later in pairwise(window))
    return "slow" if last.net > first.net and not falls else "ok"


def arrivals_per_second(window: Sequence[Look]) -> float:
    """Records that came in per second over the window; 0 when it is too short to tell."""
    if len(window) < 2 or window[-1].at_ms <= window[0].at_ms:
        return 0.0
    return max(0, window[-1].end - window[0].end) * 1000 / (window[-1].at_ms - window[0].at_ms)
