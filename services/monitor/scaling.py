"""How many workers each specialty should have. Pure: what is known goes in, a number and its reason come out.

    wanted = ceil(((backlog + expected) / (drain time - start time) + arrivals) * service time / concurrency)

The start time passes before a new worker helps: the monitor looks, the autoscaler looks, a pod starts, the group
settles. Without it a burst would be gone one start time too late, however large the drain time is.

Backlog is net lag without the partitions that are stuck: a record that nobody can work would hold the workers up for
ever, and is an alert instead. Expected is what plans under way will dispatch next. A request that waits for its
tenant's budget has neither tasks nor a plan, so it asks for no workers. More workers than partitions with work do
nothing, nor do more workers when the provider's rate is the limit.

Laws (property tests): never negative, never more than the partitions, at least one while there is work, 0 without any;
more work never asks for fewer; a rate limit never asks for more than there are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hocket.contracts.records import Heartbeat
from services.monitor.lag import PartitionLag
from services.monitor.verdicts import Standing

Reason = Literal["idle", "backlog", "partitions", "partitions_with_work", "rate_limited", "kept", "fallback"]
UNKNOWN_SERVICE_MS = 5_000.0
"""How long a task is taken to last before the first one of its specialty has ended."""
_LIMITED_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What the operator wants: the backlog gone within `drain_seconds`, of which a new worker takes `start_seconds`
    until it works; on figures older than a few looks the last signal is kept for `keep_seconds`, and then
    `fallback_workers` are asked for."""

    drain_seconds: float = 60.0
    start_seconds: float = 0.0
    keep_seconds: float = 300.0
    fallback_workers: int = 1


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What is known of one specialty. `service_ms` is None before its first task, `limited` counts the workers whose
    provider refused them for its rate within the last minute."""

    specialty: str
    backlog: int
    expected: int
    excluded: int
    partitions: int
    partitions_with_work: int
    workers: int
    limited: int
    concurrency: int
    service_ms: float | None
    arrivals_per_second: float


@dataclass(frozen=True, kw_only=True)
class Signal:
    """How many workers to run. `at_ms` is when the figures behind it were taken, `demand` those figures."""

    desired_workers: int
    reason: Reason
    at_ms: int
    demand: Demand


def signal(demand: Demand, targets: Targets, at_ms: int) -> Signal:
    """The signal for fresh figures."""
    workers, reason = _workers(demand, targets)
    return Signal(desired_workers=workers, reason=reason, at_ms=at_ms, demand=demand)


def _workers(demand: Demand, targets: Targets) -> tuple[int, Reason]:
    work = demand.backlog + demand.expected
    if work <= 0 and demand.arrivals_per_second <= 0:
        return 0, "idle"
    per_second = work / working_seconds(targets) + demand.arrivals_per_second
    seconds = (UNKNOWN_SERVICE_MS if demand.service_ms is None else demand.service_ms) / 1000
    wanted: int = max(1, math.ceil(per_second * seconds / max(1, demand.concurrency)))
    coming = demand.expected + math.ceil(demand.arrivals_per_second * targets.drain_seconds)
    caps: list[tuple[int, Reason]] = [
        (demand.partitions, "partitions"),
        (max(1, demand.partitions_with_work + coming), "partitions_with_work"),
    ]
    if demand.workers and demand.limited >= _LIMITED_SHARE * demand.workers:
        caps.append((demand.workers, "rate_limited"))
    most, why = min(caps, key=lambda cap: cap[0])
    return (most, why) if most < wanted else (wanted, "backlog")


def working_seconds(targets: Targets) -> float:
    """What of the drain time new workers have to work in. Never less than a quarter: a drain time near the start time
    cannot be met, and would ask for any number."""
    drain = max(0.001, targets.drain_seconds)
    return max(drain - targets.start_seconds, drain / 4)


def held(last: Signal, targets: Targets, now_ms: int) -> Signal:
    """The signal while Kafka gives no fresh figures: a short silence must not scale anything to zero."""
    kept = now_ms - last.at_ms <= targets.keep_seconds * 1000
    workers = last.desired_workers if kept else max(targets.fallback_workers, 0)
    reason: Reason = "kept" if kept else "fallback"
    return Signal(desired_workers=workers, reason=reason, at_ms=last.at_ms, demand=last.demand)


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What workers of a specialty told of themselves; kept when they are gone, for the next ones."""

    service_ms: float | None
    concurrency: int


def learned(beats: Sequence[Heartbeat], before: Learned) -> Learned:
    """What the heartbeats of a specialty's living workers teach. Durations are weighed by tasks done."""
    timed = [(b.mean_millis, b.completed + b.failed) for b in beats if b.mean_millis is not None]
    tasks = sum(n for _, n in timed)
    mean = sum(millis * n for millis, n in timed) / tasks if tasks else before.service_ms
    told = [b.concurrency for b in beats if b.concurrency > 0]
    return Learned(service_ms=mean, concurrency=round(sum(told) / len(told)) if told else before.concurrency)


def demand_of(
    specialty: str,
    places: Sequence[tuple[PartitionLag, Standing, float]],
    beats: Sequence[Heartbeat],
    *,
    known: Learned,
    expected: int,
) -> Demand:
    """What is known of a specialty: partitions with verdict and arrivals per second, and its living workers."""
    workable = [(p, arrivals) for p, verdict, arrivals in places if verdict != "stuck"]
    return Demand(
        specialty=specialty,
        backlog=sum(p.net for p, _ in workable),
        expected=max(0, expected),
        excluded=sum(p.net for p, verdict, _ in places if verdict == "stuck"),
        partitions=len(places),
        partitions_with_work=sum(p.net > 0 for p, _ in workable),
        workers=len(beats),
        limited=sum(b.rate_limited for b in beats),
        concurrency=known.concurrency,
        service_ms=known.service_ms,
        arrivals_per_second=sum(arrivals for _, arrivals in workable),
    )
