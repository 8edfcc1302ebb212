"""The fleet as the join sees it: what the latest heartbeats say of each specialty, and what follows from it. Pure.

Everything here is optional: without data nothing is held back, nothing is taken for stuck, and the plan's own
specialty is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from zlib import crc32

STUCK_FACTOR = 4
"""A task is stuck after so many times its specialty's p95, on top of the queue before it ..."""
STUCK_LEAST_MS = 60_000
"""... and never sooner than this after its last sign of life."""
FAST = 0.5
"""A fast task takes this part of the half-time: what even such a one would miss is not begun."""
PROBE_ONE_IN = 16
"""So many requests share one whose tasks are begun all the same: else a recovery would never be learned."""


@dataclass(frozen=True, kw_only=True)
class SpecialtyView:
    """One specialty, summed over its live workers. Times in milliseconds; None is not known yet.

    `workers` beat within the last seconds; `queue` are tasks fetched or waiting in the topic; `per_second` is how many
    all of them end.
    """

    p50_millis: float | None = None
    p95_millis: float | None = None
    workers: int = 0
    queue: int = 0
    per_second: float = 0.0

    @property
    def wait_millis(self) -> float:
        """How long the queue before a new task lasts, at least: at the rate of the last seconds, or one task a worker.

        The rate alone would say too much of an idle specialty: it ends few because few come.
        """
        if not self.queue or self.p50_millis is None or not self.workers:
            return 0.0
        by_hand = self.queue * self.p50_millis / self.workers
        return min(by_hand, 1000 * self.queue / self.per_second) if self.per_second > 0 else by_hand


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """All specialties. `variants` names others that do the same work; `signs` is the time of the last word (that it
    was begun, token progress) from a task's worker, by "request/task"."""

    specialties: Mapping[str, SpecialtyView] = field(default_factory=lambda: MappingProxyType({}))
    variants: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    signs: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    def alive(self, specialty: str) -> SpecialtyView | None:
        """The specialty if workers of it are alive and its times are known."""
        view = self.specialties.get(specialty)
        return view if view is not None and view.workers > 0 and view.p50_millis is not None else None

    def expected_millis(self, specialty: str) -> float | None:
        """Queue and half-time of a task that is dispatched now; None when not known."""
        view = self.alive(specialty)
        return None if view is None or view.p50_millis is None else view.wait_millis + view.p50_millis

    def slow_millis(self, specialty: str) -> float | None:
        """The same for a slow task (p95)."""
        view = self.alive(specialty)
        if view is None or view.p50_millis is None:
            return None
        return view.wait_millis + (view.p95_millis or view.p50_millis)

    def sign(self, request_id: str, task_id: str) -> int | None:
        """When the task's worker was last heard of; None when it never was."""
        return self.signs.get(f"{request_id}/{task_id}")

    def stuck_after(self, specialty: str, *, seen: bool) -> float | None:
        """Milliseconds of silence after which a task is lost: queue + STUCK_FACTOR x p95, at least STUCK_LEAST_MS.

        None when another copy would not help: no worker is alive; or nobody was seen at the task and others wait before
        the workers, so that it most likely waits too. Copies of what only waits would make an overload worse.
        """
        view = self.alive(specialty)
        if view is None or view.p50_millis is None or (view.queue and not seen):
            return None
        slow = view.p95_millis or view.p50_millis
        return max(STUCK_LEAST_MS, view.queue * slow / view.workers + STUCK_FACTOR * slow)

    def choose(self, specialty: str, avoid: str | None = None) -> str:
        """Which of the specialty and its variants gets a task: the one that is expected to end it first.

        `avoid` (where it failed before) is taken only when no other one is alive. Unknown ones count as slowest, and
        the specialty itself wins a tie.
        """
        known = [s for s in (specialty, *self.variants.get(specialty, ())) if s == specialty or self.alive(s)]
        others = [s for s in known if s != avoid and (s != specialty or self.alive(s))] or known
        return min(others, key=lambda s: (self.expected_millis(s) or float("inf"), s != specialty))

    def can_meet(self, specialty: str, deadline: int | None, now: int, request_id: str) -> bool:
        """Whether a task dispatched now may end in time: False only when even a fast one would not."""
        view = self.alive(specialty)
        if deadline is None or view is None or view.p50_millis is None:
            return deadline is None or now < deadline
        probe = crc32(request_id.encode()) % PROBE_ONE_IN == 0
        return now < deadline and (probe or now + view.wait_millis + FAST * view.p50_millis <= deadline)
