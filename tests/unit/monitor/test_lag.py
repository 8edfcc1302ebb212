import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.contracts.records import Heartbeat
from hocket.contracts.topics import Topics
from hocket.core.donemap import DoneMap, Flight, encode
from services.monitor.lag import (
    FORGET_MS,
    GONE_MS,
    LATE_MS,
    Committed,
    First,
    Kept,
    Member,
    Sample,
    drain_seconds,
    group_lag,
    groups_of,
    partition_lag,
    services,
    verdict,
    worker,
)

offsets = st.integers(0, 10**12)
commits = st.none() | st.builds(Committed, offset=offsets)
kepts = st.tuples(offsets, offsets).map(lambda pair: Kept(start=min(pair), end=max(pair)))
PLACE = ("results", 0)


@given(kepts, commits)
def test_lag_is_never_negative_and_never_more_than_what_is_kept(kept, committed):
    found = partition_lag(PLACE, kept, committed)
    assert 0 <= found.lag <= kept.end - kept.start
    assert found.lost >= 0


@given(kepts)
def test_a_group_that_never_committed_has_all_that_is_kept_before_it_and_lost_nothing(kept):
    found = partition_lag(PLACE, kept, None)
    assert (found.lag, found.lost) == (kept.end - kept.start, 0)


@given(kepts, offsets)
def test_what_retention_deleted_is_lost_and_not_lag(kept, gap):
    committed = max(0, kept.start - gap)
    found = partition_lag(PLACE, kept, Committed(offset=committed))
    assert (found.lag, found.lost) == (kept.end - kept.start, kept.start - committed)


@given(kepts, st.data())
def test_between_the_ends_lag_is_the_distance_to_the_end(kept, data):
    committed = data.draw(st.integers(kept.start, kept.end))
    found = partition_lag(PLACE, kept, Committed(offset=committed))
    assert (found.lag, found.lost) == (kept.end - committed, 0)


@given(kepts, offsets, st.integers(0, 1000))
def test_reading_on_never_adds_lag(kept, committed, more):
    further = partition_lag(PLACE, kept, Committed(offset=committed + more))
    assert further.lag <= partition_lag(PLACE, kept, Committed(offset=committed)).lag


@given(kepts, st.integers(0, 1000))
def test_a_committed_offset_beyond_the_end_is_no_lag(kept, beyond):
    assert partition_lag(PLACE, kept, Committed(offset=kept.end + beyond)).lag == 0


places = st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 5))


@given(st.dictionaries(places, kepts), st.dictionaries(places, commits.filter(bool)))
def test_totals_are_the_sums_of_the_partitions(kept, committed):
    group = group_lag("g", kept, committed)
    assert group.lag == sum(partition_lag(p, kept[p], committed.get(p)).lag for p in kept)
    assert sum(p.lag for found in group.topics().values() for p in found) == group.lag
    assert sum(p.lost for found in group.topics().values() for p in found) == group.lost
    assert sorted((p.topic, p.partition) for p in group.partitions) == sorted(kept)


@st.composite
def done_maps(draw):
    base = draw(st.integers(0, 1_000))
    span = draw(st.integers(0, 60))
    still = draw(st.sets(st.integers(base, base + span - 1))) if span else set()
    return DoneMap(base=base, top=base + span, open=dict.fromkeys(still), holder="w@1.1")


@given(done_maps(), st.integers(0, 1_100), st.integers(0, 1_100), st.none() | st.integers(0, 1_200))
def test_net_lag_counts_exactly_what_is_neither_done_nor_unreadable(done, a, b, first):
    kept = Kept(start=min(a, b), end=max(a, b))
    found = partition_lag(
        PLACE,
        kept,
        Committed(offset=done.base, metadata=encode(done)),
        first=None if first is None else First(offset=first, at_ms=1),
    )
    begin = max(done.base, kept.start)
    readable = [o for o in range(begin, kept.end) if first is None or o >= first]
    assert found.net == sum(not done.done(o) for o in readable)
    assert 0 <= found.net <= found.lag
    assert found.finished == found.lag - found.net


def test_one_long_call_is_not_a_backlog_of_everything_behind_it():
    done = DoneMap(base=10, top=100_010, open={10: Flight(owner="w1@ab.1")}, holder="w1@ab.1")
    found = partition_lag(PLACE, Kept(start=0, end=100_010), Committed(offset=10, metadata=encode(done)))
    assert (found.lag, found.net, found.runners) == (100_000, 1, ("w1@ab.1",))


@pytest.mark.parametrize("text", ["", "not a map", encode(DoneMap(base=9, top=20))])
def test_metadata_that_is_no_map_of_this_offset_says_nothing(text):
    found = partition_lag(PLACE, Kept(start=0, end=30), Committed(offset=10, metadata=text))
    assert found.net == found.lag == 20


def test_transaction_markers_before_the_end_are_lag_for_kafka_and_no_work():
    kept, at = Kept(start=0, end=12), Committed(offset=10)
    markers = partition_lag(PLACE, kept, at, first=First(offset=12, at_ms=None), now_ms=9)
    assert (markers.lag, markers.net, markers.age_ms) == (2, 0, 0)
    held = partition_lag(PLACE, kept, at, first=First(offset=10, at_ms=None), now_ms=9)  # an open transaction
    assert (held.lag, held.net, held.age_ms) == (2, 2, None)


def test_age_is_that_of_the_first_record_and_never_negative():
    kept, at = Kept(start=0, end=12), Committed(offset=10)
    aged = [
        partition_lag(PLACE, kept, at, first=First(offset=10, at_ms=t), now_ms=5_000).age_ms for t in (2_000, 9_000)
    ]
    assert aged == [3_000, 0]
    assert partition_lag(PLACE, kept, at, now_ms=5_000).age_ms is None


def test_owners_and_idle_members():
    a = Member(consumer_id="a", client_id="c", host="h", places=frozenset({("t", 0)}))
    b = Member(consumer_id="b", client_id="c", host="h")
    kept = {("t", 0): Kept(start=0, end=5), ("t", 1): Kept(start=0, end=7)}
    group = group_lag("g", kept, {}, first={("t", 0): First(offset=0, at_ms=40)}, members=[a, b], now_ms=100)
    assert [p.owner for p in group.partitions] == [a, None]
    assert (group.idle_members, group.age_ms, group.net) == (1, 60, 12)


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(-10, 10**6))
def test_drain_time_is_there_only_while_the_lag_falls(before, after, millis):
    found = drain_seconds(Sample(at_ms=0, lag=before), Sample(at_ms=millis, lag=after))
    if after == 0:
        assert found == 0
    elif before > after and millis > 0:
        assert found is not None
        assert found > 0
    else:
        assert found is None


def test_drain_time_of_a_steady_pace():
    assert drain_seconds(Sample(at_ms=0, lag=300), Sample(at_ms=10_000, lag=200)) == 20.0


def test_groups_follow_topics_yaml_and_the_topics_that_exist():
    topics = Topics("x-")
    existing = [*topics.all(["extraction"]), "requests", "x-unknown", "y-tasks-extraction"]
    found = groups_of(topics, lambda role: f"x-hocket-{role}", existing)
    assert found["x-hocket-planner"] == ("x-tasks-planning",)
    assert found["x-hocket-worker-extraction"] == ("x-tasks-extraction",)
    assert {"x-requests", "x-plans", "x-results", "x-control"} <= set(found["x-hocket-aggregator"])
    groupless = {"x-heartbeats", "x-progress", "x-timers", "x-account-timers"}
    assert not groupless & set(found["x-hocket-aggregator"])
    assert found["x-hocket-monitor"] == ("x-answers", "x-dead-letters", "x-heartbeats")
    assert set(found) == {f"x-hocket-{r}" for r in ("aggregator", "monitor", "planner", "worker-extraction")}


@given(st.sampled_from(["running", "draining"]), st.integers(0, 2 * FORGET_MS), st.integers(0, FORGET_MS))
def test_silence_never_makes_a_worker_better(state, age, more):
    order = ["alive", "late", "gone", "left"]
    assert order.index(verdict(state, age)) <= order.index(verdict(state, age + more))


def test_verdicts_at_their_limits():
    assert [verdict("running", a) for a in (0, LATE_MS - 1, LATE_MS, GONE_MS - 1, GONE_MS)] == [
        "alive", "alive", "late", "late", "gone",
    ]  # fmt: skip
    assert verdict("draining", GONE_MS) == "left"


def beat(name, *, service="worker", specialty="extraction", state="running", in_flight=0):
    return Heartbeat(
        worker=name, service=service, specialty=specialty, started_at=0, at=0, state=state, in_flight=in_flight
    )


def test_a_broker_clock_ahead_of_ours_is_no_lateness():
    found = worker(beat("w"), seen_ms=5_000, now_ms=1_000)
    assert (found.age_ms, found.verdict) == (0, "alive")


def test_a_service_is_as_well_as_its_best_worker_and_absent_without_any():
    now = 100_000
    known = [
        worker(beat("a", in_flight=2), now - 100, now),
        worker(beat("b", in_flight=3), now - LATE_MS, now),
        worker(beat("c"), now - GONE_MS, now),
        worker(beat("p", service="planner", specialty=None), now - GONE_MS, now),
        worker(beat("d", specialty="sentiment", state="draining"), now - GONE_MS, now),
    ]
    found = {s.name: s for s in services(known, ["aggregator", "planner"])}
    assert {n: s.verdict for n, s in found.items()} == {
        "aggregator": "absent",
        "planner": "gone",
        "worker-extraction": "alive",
        "worker-sentiment": "absent",
    }
    extraction = found["worker-extraction"]
    assert (extraction.workers, extraction.alive, extraction.in_flight) == (2, 1, 5)
