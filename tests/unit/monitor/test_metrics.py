import re

from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from hocket.contracts.records import Heartbeat
from services.monitor.counts import Tally
from services.monitor.lag import GONE_MS, Kept, group_lag, services, worker
from services.monitor.metrics import ANSWER_SECONDS, COUNTERS, GAUGES, registry


class FakeView:
    """A small installation: one group behind, one worker alive, one gone, one that left."""

    def groups(self):
        return [group_lag("g", {("t", 0): Kept(start=4, end=9)}, {("t", 0): 2})]

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


def scraped():
    return list(text_string_to_metric_families(generate_latest(registry(FakeView())).decode()))


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
