"""What the monitor publishes for Prometheus: the names, what each means, and what to do when it moves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Protocol

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from hocket.runtime.metrics import LAG_GAUGES
from services.monitor.compat import Names, compatible
from services.monitor.counts import BOUNDS_S, Tally
from services.monitor.lag import GroupLag, PartitionLag, Service, Worker
from services.monitor.scaling import Signal
from services.monitor.verdicts import CODES, Standing

_WORKER = ("service", "specialty", "worker")
_PARTITION = ("group", "topic", "partition")

GAUGES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "hocket_consumer_group_lag": (
        _PARTITION,
        "Records the group has still to read. Rising for long: add workers, or look for a partition that stands still",
    ),
    "hocket_consumer_group_lost": (
        _PARTITION,
        "Records that retention deleted before the group read them. Not 0: work was lost; lengthen retention",
    ),
    "hocket_consumer_group_drain_seconds": (
        ("group",),
        "Seconds until the lag is gone at the last minute's pace. Absent: it is not falling; add workers if it is long",
    ),
    "hocket_offsets_age_seconds": (
        (),
        "Age of the lag figures. More than 30: the monitor cannot read from Kafka, and the lag figures are old",
    ),
    "hocket_service_up": (
        ("service",),
        "1 if a worker of the service sent a heartbeat within seconds. 0: nobody does this work; see its pods",
    ),
    "hocket_worker_up": (
        _WORKER,
        "1 if the worker sent a heartbeat within seconds. 0: it hangs or was killed; see its log",
    ),
    "hocket_worker_heartbeat_age_seconds": (
        _WORKER,
        "Age of the worker's last heartbeat. Seconds: a busy or blocked process; more: see hocket_worker_up",
    ),
    "hocket_worker_in_flight": (
        _WORKER,
        "Tasks that run now. At HOCKET_CONCURRENCY for long: the worker is full; add workers",
    ),
    "hocket_worker_queued": (
        _WORKER,
        "Tasks fetched but not started. High while in_flight is low: a limit holds the worker back",
    ),
    **LAG_GAUGES,
}
COUNTERS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "hocket_worker_tasks": (
        (*_WORKER, "outcome"),
        "Tasks since the worker's start, completed or failed. Many failed: see its log and the receipts",
    ),
    "hocket_answers": (
        ("status",),
        "Answers given. failed or expired rising: see the receipts of those answers",
    ),
    "hocket_dead_letters": (
        ("topic", "kind"),
        "Records given up, by where they were read and why. Rising: mend the producer, then replay",
    ),
    "hocket_monitor_undecodable": (
        ("topic",),
        "Records that the monitor could not read since its start. Rising: a producer writes something else there",
    ),
}
ANSWER_SECONDS = "hocket_answer_seconds"
ANSWER_SECONDS_MEANS = (
    "Seconds from submission to the answer. Rising: see lag and worker metrics for the slow specialty"
)


class View(Protocol):
    """What the collector shows; every call answers at once. Nothing is there before the tables are."""

    def groups(self) -> Iterable[GroupLag]: ...
    def drain_seconds(self, group: str) -> float | None: ...
    def standing(self, group: GroupLag, partition: PartitionLag) -> Standing: ...
    def paused(self) -> frozenset[str]: ...
    def signals(self) -> Mapping[str, Signal]: ...
    def now_ms(self) -> int: ...
    def offsets_age_ms(self) -> int | None: ...
    def workers(self) -> Iterable[Worker]: ...
    def services(self) -> Iterable[Service]: ...
    def answers(self) -> Tally: ...
    def dead_letters(self) -> Tally: ...
    def undecodable(self) -> Mapping[str, int]: ...


class Metrics(Collector):
    """Turns the view into metrics at each scrape, so that nothing is kept twice."""

    def __init__(self, view: View, compat: Names = (), cluster: str = "kafka") -> None:
        self._view, self._compat, self._cluster = view, compat, cluster

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are checked by a test, not at registration."""
        return ()

    def collect(self) -> Iterator[Metric]:
        gauges = {name: GaugeMetricFamily(name, means, labels=labels) for name, (labels, means) in GAUGES.items()}
        counters = {name: CounterMetricFamily(name, means, labels=labels) for name, (labels, means) in COUNTERS.items()}
        self._lag(gauges)
        self._scaling(gauges)
        self._fleet(gauges, counters)
        answers = self._view.answers()
        for (status,), n in answers.counts.items():
            counters["hocket_answers"].add_metric((status,), n)
        for labels, n in self._view.dead_letters().counts.items():
            counters["hocket_dead_letters"].add_metric(labels, n)
        for topic, n in self._view.undecodable().items():
            counters["hocket_monitor_undecodable"].add_metric((topic,), n)
        yield from gauges.values()
        yield from counters.values()
        yield _durations(answers)
        yield from compatible(self._view.groups(), self._compat, self._cluster)

    def _lag(self, gauges: Mapping[str, GaugeMetricFamily]) -> None:
        paused = self._view.paused()
        for group in self._view.groups():
            for p in group.partitions:
                labels = (group.group, p.topic, str(p.partition))
                gauges["hocket_consumer_group_lag"].add_metric(labels, p.lag)
                gauges["hocket_consumer_group_lost"].add_metric(labels, p.lost)
                gauges["hocket_consumer_group_net_lag"].add_metric(labels, p.net)
                if p.age_ms is not None:
                    gauges["hocket_consumer_group_lag_seconds"].add_metric(labels, p.age_ms / 1000)
                gauges["hocket_consumer_group_status"].add_metric(labels, CODES[self._view.standing(group, p)])
                gauges["hocket_consumer_group_paused"].add_metric(labels, f"{p.topic}/{p.partition}" in paused)
            gauges["hocket_consumer_group_members"].add_metric((group.group,), len(group.members))
            gauges["hocket_consumer_group_idle_members"].add_metric((group.group,), group.idle_members)
            drain = self._view.drain_seconds(group.group)
            if drain is not None:
                gauges["hocket_consumer_group_drain_seconds"].add_metric((group.group,), drain)
        age = self._view.offsets_age_ms()
        if age is not None:
            gauges["hocket_offsets_age_seconds"].add_metric((), age / 1000)

    def _scaling(self, gauges: Mapping[str, GaugeMetricFamily]) -> None:
        for specialty, found in self._view.signals().items():
            labels, demand = (specialty,), found.demand
            gauges["hocket_scaling_desired_workers"].add_metric(labels, found.desired_workers)
            gauges["hocket_scaling_backlog"].add_metric(labels, demand.backlog + demand.expected)
            age = max(0, self._view.now_ms() - found.at_ms) / 1000
            gauges["hocket_scaling_age_seconds"].add_metric(labels, age)

    def _fleet(self, gauges: Mapping[str, GaugeMetricFamily], counters: Mapping[str, CounterMetricFamily]) -> None:
        for service in self._view.services():
            gauges["hocket_service_up"].add_metric((service.name,), service.verdict == "alive")
        for w in self._view.workers():
            if w.verdict == "left":
                continue
            beat = w.heartbeat
            labels = (beat.service, beat.specialty or "", beat.worker)
            gauges["hocket_worker_up"].add_metric(labels, w.verdict == "alive")
            gauges["hocket_worker_heartbeat_age_seconds"].add_metric(labels, w.age_ms / 1000)
            gauges["hocket_worker_in_flight"].add_metric(labels, beat.in_flight)
            gauges["hocket_worker_queued"].add_metric(labels, beat.queued)
            counters["hocket_worker_tasks"].add_metric((*labels, "completed"), beat.completed)
            counters["hocket_worker_tasks"].add_metric((*labels, "failed"), beat.failed)


def _durations(answers: Tally) -> HistogramMetricFamily:
    bounds = [*map(str, BOUNDS_S), "+Inf"]
    buckets = list(zip(bounds, accumulate(answers.buckets), strict=True))
    return HistogramMetricFamily(ANSWER_SECONDS, ANSWER_SECONDS_MEANS, buckets=buckets, sum_value=answers.seconds)


def registry(view: View, compat: Names = (), cluster: str = "kafka") -> CollectorRegistry:
    """A registry of its own with the view's metrics and those of this process."""
    own = CollectorRegistry()
    own.register(Metrics(view, compat, cluster))
    ProcessCollector(registry=own)
    return own
