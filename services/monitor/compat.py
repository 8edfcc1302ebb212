"""Lag under the names that existing dashboards expect: kafka_exporter's and kafka-lag-exporter's.

Off by default: beside the real exporter each sum would count twice. Only this installation's groups are published, and
the topics that they read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from prometheus_client.core import GaugeMetricFamily

from services.monitor.lag import GroupLag, PartitionLag, Place

Names = tuple[Literal["kafka_exporter", "kafka_lag_exporter"], ...]


def compatible(groups: Iterable[GroupLag], names: Names, cluster: str) -> Iterator[GaugeMetricFamily]:
    """The metrics of the named exporters."""
    found = list(groups)
    places = {(p.topic, p.partition): p for g in found for p in g.partitions}
    if "kafka_exporter" in names:
        yield from _kafka_exporter(found)
        yield from _topics(places)
    if "kafka_lag_exporter" in names:
        yield from _kafka_lag_exporter(found, cluster)
        yield from _partitions(places, cluster)


def _family(name: str, means: str, labels: Iterable[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, means, labels=list(labels))


def _kafka_exporter(groups: Iterable[GroupLag]) -> Iterator[GaugeMetricFamily]:
    by, by_topic = ("consumergroup", "topic", "partition"), ("consumergroup", "topic")
    offset = _family("kafka_consumergroup_current_offset", "Current Offset of a ConsumerGroup at Topic/Partition", by)
    lag = _family("kafka_consumergroup_lag", "Current Approximate Lag of a ConsumerGroup at Topic/Partition", by)
    offsets = _family(
        "kafka_consumergroup_current_offset_sum", "Current Offset of a ConsumerGroup for all partitions", by_topic
    )
    lags = _family("kafka_consumergroup_lag_sum", "Current Approximate Lag of a ConsumerGroup at Topic", by_topic)
    members = _family("kafka_consumergroup_members", "Amount of members in a consumer group", ("consumergroup",))
    for group in groups:
        members.add_metric((group.group,), len(group.members))
        for topic, partitions in group.topics().items():
            for p in partitions:
                labels = (group.group, topic, str(p.partition))
                offset.add_metric(labels, _offset(p))
                lag.add_metric(labels, p.lag)
            offsets.add_metric((group.group, topic), sum(map(_offset, partitions)))
            lags.add_metric((group.group, topic), sum(p.lag for p in partitions))
    yield from (offset, lag, offsets, lags, members)


def _topics(places: Mapping[Place, PartitionLag]) -> Iterator[GaugeMetricFamily]:
    """What kafka_exporter tells of topics, without what only brokers know of each other: replicas and leaders."""
    by = ("topic", "partition")
    count = _family("kafka_topic_partitions", "Number of partitions for this Topic", ("topic",))
    newest = _family("kafka_topic_partition_current_offset", "Current Offset of a Broker at Topic/Partition", by)
    oldest = _family("kafka_topic_partition_oldest_offset", "Oldest Offset of a Broker at Topic/Partition", by)
    for topic, n in Counter(topic for topic, _ in places).items():
        count.add_metric((topic,), n)
    for (topic, partition), p in places.items():
        newest.add_metric((topic, str(partition)), p.end)
        oldest.add_metric((topic, str(partition)), p.start)
    yield from (count, newest, oldest)


def _partitions(places: Mapping[Place, PartitionLag], cluster: str) -> Iterator[GaugeMetricFamily]:
    by = ("cluster_name", "topic", "partition")
    latest = _family("kafka_partition_latest_offset", "Latest offset of a partition", by)
    earliest = _family("kafka_partition_earliest_offset", "Earliest offset of a partition", by)
    for (topic, partition), p in places.items():
        latest.add_metric((cluster, topic, str(partition)), p.end)
        earliest.add_metric((cluster, topic, str(partition)), p.start)
    yield from (latest, earliest)


def _kafka_lag_exporter(groups: Iterable[GroupLag], cluster: str) -> Iterator[GaugeMetricFamily]:
    by = ("cluster_name", "group", "topic", "partition", "member_host", "consumer_id", "client_id")
    of_group = ("cluster_name", "group")
    prefix = "kafka_consumergroup_group"
    offset = _family(f"{prefix}_offset", "Last group consumed offset of a partition", by)
    lag = _family(f"{prefix}_lag", "Group offset lag of a partition", by)
    seconds = _family(f"{prefix}_lag_seconds", "Group time lag of a partition", by)
    most = _family(f"{prefix}_max_lag", "Max group offset lag", of_group)
    longest = _family(f"{prefix}_max_lag_seconds", "Max group time lag", of_group)
    total = _family(f"{prefix}_sum_lag", "Sum of group offset lag", of_group)
    by_topic = _family(
        f"{prefix}_topic_sum_lag", "Sum of group offset lag across topic partitions", (*of_group, "topic")
    )
    for group in groups:
        for p in group.partitions:
            m = p.owner
            who = ("", "", "") if m is None else (m.host, m.consumer_id, m.client_id)
            labels = (cluster, group.group, p.topic, str(p.partition), *who)
            offset.add_metric(labels, _offset(p))
            lag.add_metric(labels, p.lag)
            seconds.add_metric(labels, float("nan") if p.age_ms is None else p.age_ms / 1000)
        most.add_metric((cluster, group.group), max((p.lag for p in group.partitions), default=0))
        longest.add_metric((cluster, group.group), float("nan") if group.age_ms is None else group.age_ms / 1000)
        total.add_metric((cluster, group.group), group.lag)
        for topic, partitions in group.topics().items():
            by_topic.add_metric((cluster, group.group, topic), sum(p.lag for p in partitions))
    yield from (offset, lag, seconds, most, longest, total, by_topic)


def _offset(p: PartitionLag) -> int:
    return p.start if p.committed is None else p.committed
