from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from hocket.contracts.records import Heartbeat
from services.monitor.lag import Committed, Kept, partition_lag
from services.monitor.scaling import Demand, Learned, Targets, demand_of, held, learned, signal

counts = st.integers(0, 10_000)
demands = st.builds(
    Demand,
    specialty=st.just("extraction"),
    backlog=counts,
    expected=counts,
    excluded=counts,
    partitions=st.integers(1, 60),
    partitions_with_work=st.integers(0, 60),
    workers=st.integers(0, 30),
    limited=st.integers(0, 30),
    concurrency=st.integers(0, 128),
    service_ms=st.none() | st.floats(0, 600_000),
    arrivals_per_second=st.floats(0, 500),
)
targets = st.builds(
    Targets, drain_seconds=st.floats(1, 600), start_seconds=st.floats(0, 600), keep_seconds=st.floats(0, 600)
)
PLAIN = Demand(
    specialty="extraction",
    backlog=600,
    expected=0,
    excluded=0,
    partitions=12,
    partitions_with_work=12,
    workers=2,
    limited=0,
    concurrency=10,
    service_ms=4_000,
    arrivals_per_second=0,
)


@given(demands, targets)
def test_the_signal_stays_within_what_can_help(demand, wanted):
    found = signal(demand, wanted, 1).desired_workers
    assert 0 <= found <= demand.partitions
    work = demand.backlog + demand.expected
    if work or demand.arrivals_per_second:
        limited = demand.workers and 2 * demand.limited >= demand.workers
        assert 1 <= found <= (demand.workers if limited else demand.partitions)
    else:
        assert found == 0


@given(demands, targets, counts)
def test_more_work_never_asks_for_fewer(demand, wanted, more):
    busier = replace(demand, backlog=demand.backlog + more)
    assert signal(demand, wanted, 1).desired_workers <= signal(busier, wanted, 1).desired_workers


def test_the_backlog_is_gone_within_the_target_time():
    # 600 tasks in 60 s are 10 a second; at 4 s each 40 run at once, which are 4 workers of 10.
    found = signal(PLAIN, Targets(), 1)
    assert (found.desired_workers, found.reason) == (4, "backlog")
    assert signal(replace(PLAIN, arrivals_per_second=10), Targets(), 1).desired_workers == 8


def test_the_time_until_a_new_worker_works_is_part_of_the_target_time():
    # 600 tasks in the 30 s that are left are 20 a second.
    assert signal(PLAIN, Targets(start_seconds=30), 1).desired_workers == 8


@given(st.integers(1, 10_000), st.floats(0.01, 60), st.integers(1, 64), st.floats(20, 600))
def test_a_burst_is_gone_in_time_however_long_workers_take_to_start(backlog, seconds, concurrency, drain):
    burst = replace(PLAIN, backlog=backlog, service_ms=1000 * seconds, concurrency=concurrency, partitions=10**9)
    many = replace(burst, partitions_with_work=10**9)
    start = drain / 2
    workers = signal(many, Targets(drain_seconds=drain, start_seconds=start), 1).desired_workers
    assert start + backlog * seconds / (workers * concurrency) <= drain * (1 + 1e-9)


def test_a_target_time_that_nothing_can_meet_asks_for_no_endless_number():
    assert signal(PLAIN, Targets(drain_seconds=10, start_seconds=15), 1).desired_workers == 12
    few = replace(PLAIN, backlog=10)
    assert signal(few, Targets(drain_seconds=10, start_seconds=15), 1).desired_workers == 2


def test_caps_say_which_one_holds():
    much = replace(PLAIN, backlog=100_000)
    assert (signal(much, Targets(), 1).desired_workers, signal(much, Targets(), 1).reason) == (12, "partitions")
    one = signal(replace(much, partitions_with_work=1), Targets(), 1)
    assert (one.desired_workers, one.reason) == (1, "partitions_with_work")
    limited = signal(replace(much, limited=1), Targets(), 1)
    assert (limited.desired_workers, limited.reason) == (2, "rate_limited")


def test_plans_under_way_count_before_their_tasks_are_there():
    found = signal(replace(PLAIN, backlog=0, expected=600, partitions_with_work=0), Targets(), 1)
    assert (found.desired_workers, found.reason) == (4, "backlog")


def test_old_figures_keep_the_last_signal_and_then_fall_back():
    last = signal(PLAIN, Targets(), 1_000)
    wanted = Targets(keep_seconds=300, fallback_workers=2)
    kept, fallen = held(last, wanted, 300_000), held(last, wanted, 302_000)
    assert (kept.desired_workers, kept.reason, kept.at_ms) == (4, "kept", 1_000)
    assert (fallen.desired_workers, fallen.reason) == (2, "fallback")


def beat(**more):
    return Heartbeat(worker="w", service="worker", specialty="extraction", started_at=0, at=0, **more)


def test_what_workers_told_is_kept_when_they_are_gone():
    unknown = Learned(service_ms=None, concurrency=64)
    beats = [beat(mean_millis=1_000.0, completed=30, concurrency=8), beat(mean_millis=2_000.0, completed=8, failed=2)]
    taught = learned(beats, unknown)
    assert taught == Learned(service_ms=1_250.0, concurrency=8)
    assert learned([], taught) == taught
    assert learned([beat()], unknown) == unknown


def test_stuck_partitions_hold_no_workers_up():
    here = partition_lag(("tasks-extraction", 0), Kept(start=0, end=9), Committed(offset=4))
    there = partition_lag(("tasks-extraction", 1), Kept(start=0, end=9), None)
    found = demand_of(
        "extraction",
        [(here, "ok", 1.5), (there, "stuck", 0.0)],
        [beat(rate_limited=True)],
        known=Learned(service_ms=10.0, concurrency=4),
        expected=3,
    )
    assert (found.backlog, found.excluded, found.expected, found.partitions) == (5, 9, 3, 2)
    assert (found.partitions_with_work, found.workers, found.limited) == (1, 1, 1)
    assert found.arrivals_per_second == 1.5
