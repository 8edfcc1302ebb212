import re

from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from hocket.contracts.records import Heartbeat
from services.monitor.counts import Tally
from services.monitor.lag import GONE_MS, Committed, First, Kept, Member, group_lag, services, worker
from services.monitor.metrics import ANSWER_SECONDS, COUNTERS, GAUGES, registry
from services.monitor.scaling import Targets, signal
from tests.unit.monitor.test_scaling import PLAIN


class FakeView:
    """A small installation: one group behind, one worker alive, one gone, one that left."""

    def groups(self):
        member = Member(consumer_id="c-1", client_id="c", host="/h", places=frozenset({("t", 0)}))
        place, first = ("t", 0), First(offset=5, at_ms=1_000)
        kept, at = {place: Kept(start=4, end=9)}, {place: Committed(offset=2)}
        return [group_lag("g", kept, at, first={place: first}, members=[member], now_ms=4_500)]

    def standing(self, group, partition):
        return "stuck"

    def paused(self):
        return frozenset({"t/0"})

    def signals(self):
        return {"extraction": signal(PLAIN, Targets(), 3_000)}

    def now_ms(self):
        return 5_000

    def drain_seconds(self, group):
        return 12.5

    def offsets_age_ms(self):
        return 1_500

    def workers(self):
        ages = {"w1": (0, "running"), "w2": (GONE_MS, "running"), "w3": (GONE_MS, "draining")}
        return [
            worker(Heartbeat(worker=w, service="planner", started_at=0, at=0, state=state), 0, age)
            for w, (age, state) in ages.items()
        ]

    def services(self):
        return services(self.workers(), ["aggregator"])

    def answers(self):
        return Tally().counted(0, ("completed",), 0.2)

    def dead_letters(self):
        return Tally().counted(0, ("t", "invalid"))

    def undecodable(self):
        return {"t": 2}


def scraped(compat=()):
    return list(text_string_to_metric_families(generate_latest(registry(FakeView(), compat, "prod")).decode()))


def test_what_is_published_is_what_the_tables_name():
    own = {f.name for f in scraped() if f.name.startswith("hocket_")}
    assert own == {*GAUGES, *COUNTERS, ANSWER_SECONDS}


def test_every_metric_carries_the_labels_and_the_meaning_it_declares():
    declared = GAUGES | COUNTERS
    for family in scraped():
        if family.name in declared:
            labels, means = declared[family.name]
            assert family.documentation == means
            assert family.samples, family.name
            assert all(set(s.labels) == set(labels) for s in family.samples)
            assert re.fullmatch(r"hocket_[a-z_]+", family.name)


def test_a_worker_that_left_in_good_order_is_not_reported_down():
    up = {s.labels["worker"]: s.value for f in scraped() if f.name == "hocket_worker_up" for s in f.samples}
    assert up == {"w1": 1, "w2": 0}


def test_lag_and_loss_are_told_apart():
    values = {f.name: f.samples[0].value for f in scraped() if f.samples}
    assert (values["hocket_consumer_group_lag"], values["hocket_consumer_group_lost"]) == (5, 2)


def test_net_lag_age_verdict_and_signal_are_published():
    values = {f.name: f.samples[0].value for f in scraped() if f.samples}
    assert values["hocket_consumer_group_net_lag"] == 4
    assert values["hocket_consumer_group_lag_seconds"] == 3.5
    assert values["hocket_consumer_group_status"] == 2
    assert values["hocket_scaling_desired_workers"] == 4
    assert values["hocket_scaling_age_seconds"] == 2


def test_names_of_other_exporters_are_published_when_asked_for():
    names = {f.name for f in scraped()}
    assert not any(n.startswith("kafka_") for n in names)
    both = {f.name: f.samples for f in scraped(("kafka_exporter", "kafka_lag_exporter"))}
    assert both["kafka_consumergroup_lag"][0].labels == {"consumergroup": "g", "topic": "t", "partition": "0"}
    assert both["kafka_consumergroup_lag_sum"][0].value == 5
    assert both["kafka_consumergroup_members"][0].value == 1
    [one] = both["kafka_consumergroup_group_lag_seconds"]
    assert one.value == 3.5
    assert (one.labels["cluster_name"], one.labels["client_id"], one.labels["member_host"]) == ("prod", "c", "/h")
    topic, partition = {"topic": "t"}, {"topic": "t", "partition": "0"}
    of_topics = {
        "kafka_topic_partitions": (topic, 1),
        "kafka_topic_partition_current_offset": (partition, 9),
        "kafka_topic_partition_oldest_offset": (partition, 4),
        "kafka_partition_latest_offset": (partition | {"cluster_name": "prod"}, 9),
        "kafka_partition_earliest_offset": (partition | {"cluster_name": "prod"}, 4),
    }
    assert {n: (both[n][0].labels, both[n][0].value) for n in of_topics} == of_topics
