"""The scaling signal of each specialty, taken anew after every look at the offsets and kept while there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from hocket.runtime.settings import Settings
from services.monitor.lag import GroupLag, PartitionLag, Worker
from services.monitor.offsets import Offsets
from services.monitor.scaling import Learned, Signal, Targets, demand_of, held, learned, signal
from services.monitor.verdicts import Standing, arrivals_per_second, standing

FRESH_MS = 15_000
"""A signal that is older is held: Kafka did not answer for several looks."""


class Signals:
    """Judges partitions and says how many workers each specialty should have."""

    def __init__(self, settings: Settings, offsets: Offsets, now_ms: Callable[[], int]) -> None:
        self._prefix = settings.group("")
        self._default = Learned(service_ms=None, concurrency=settings.concurrency)
        self._targets = Targets(
            drain_seconds=settings.scaling_drain_seconds,
            start_seconds=settings.scaling_start_seconds,
            keep_seconds=settings.scaling_keep_seconds,
            fallback_workers=settings.scaling_fallback_workers,
        )
        self._offsets = offsets
        self._now_ms = now_ms
        self._learned: dict[str, Learned] = {}
        self._last: dict[str, Signal] = {}
        self._alive: frozenset[str] = frozenset()

    def take(self, workers: Iterable[Worker]) -> None:
        """New signals from the newest look and the workers as they are now."""
        here = [w for w in workers if w.verdict in ("alive", "late")]
        self._alive = frozenset(w.heartbeat.worker for w in here)
        expected: dict[str, int] = {}
        for w in here:
            for name, n in w.heartbeat.expected.items():
                expected[name] = expected.get(name, 0) + n
        at = self._offsets.read_at_ms or self._now_ms()
        for group in self._offsets.groups:
            specialty = self._specialty(group)
            if specialty is None:
                continue
            beats = [w.heartbeat for w in here if w.service == group.group.removeprefix(self._prefix)]
            known = self._learned[specialty] = learned(beats, self._learned.get(specialty, self._default))
            places = [(p, self.standing(group, p), self._arrivals(group, p)) for p in group.partitions]
            demand = demand_of(specialty, places, beats, known=known, expected=expected.get(specialty, 0))
            self._last[specialty] = signal(demand, self._targets, at)

    def standing(self, group: GroupLag, p: PartitionLag) -> Standing:
        """Whether a partition moves."""
        window = self._offsets.window(group.group, (p.topic, p.partition))
        running = any(mark.rpartition("@")[0] in self._alive for mark in p.runners)
        return standing(window, owned=p.owner is not None, running=running)

    def now(self) -> dict[str, Signal]:
        """The signal of each specialty; held where the figures are old. Empty before the first look."""
        now = self._now_ms()
        return {s: v if now - v.at_ms <= FRESH_MS else held(v, self._targets, now) for s, v in self._last.items()}

    def _arrivals(self, group: GroupLag, p: PartitionLag) -> float:
        return arrivals_per_second(self._offsets.window(group.group, (p.topic, p.partition)))

    def _specialty(self, group: GroupLag) -> str | None:
        role = group.group.removeprefix(self._prefix)
        if role == "planner":
            return "planning"
        return role.removeprefix("worker-") if role.startswith("worker-") else None


def signal_json(found: Signal, now_ms: int) -> dict[str, Any]:
    """The body of /scaling/<specialty>; KEDA's metrics-api trigger reads `desired_workers`."""
    own = {"desired_workers": found.desired_workers, "reason": found.reason, "age_ms": max(0, now_ms - found.at_ms)}
    return asdict(found.demand) | own
