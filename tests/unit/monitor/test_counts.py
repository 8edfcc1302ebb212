from hypothesis import given
from hypothesis import strategies as st

from services.monitor.counts import BOUNDS_S, MAX_LABELS, Tally, decoded, total

records = st.lists(st.tuples(st.sampled_from(["completed", "failed"]), st.floats(0, 4000)), max_size=40)


def count(tally, found, start=0):
    for offset, (status, seconds) in enumerate(found, start):
        tally = tally.counted(offset, (status,), seconds)
    return tally


@given(records, st.data())
def test_reading_again_after_a_restart_counts_nothing_twice(found, data):
    stored_at = data.draw(st.integers(0, len(found)))
    read_from = data.draw(st.integers(0, stored_at))
    stored = decoded(count(Tally(), found[:stored_at]).encoded())
    assert count(stored, found[read_from:], start=read_from) == count(Tally(), found)


@given(records)
def test_every_record_is_in_one_count_and_one_bucket(found):
    tally = count(Tally(), found)
    assert sum(tally.counts.values()) == sum(tally.buckets) == len(found)


def test_buckets_include_their_upper_bound():
    tally = count(Tally(), [("completed", BOUNDS_S[0]), ("completed", BOUNDS_S[-1] + 1)])
    assert (tally.buckets[0], tally.buckets[-1]) == (1, 1)


def test_gaps_between_offsets_are_no_matter():
    tally = Tally().counted(5, ("failed",)).counted(9, ("failed",)).counted(7, ("failed",))
    assert (tally.counts, tally.next_offset) == ({("failed",): 2}, 10)


def test_labels_are_bounded():
    tally = Tally()
    for offset in range(MAX_LABELS + 50):
        tally = tally.counted(offset, ("topic", f"kind-{offset}"))
    assert len(tally.counts) == MAX_LABELS + 1
    assert tally.counts["other", "other"] == 50


@given(records, records)
def test_total_adds_partitions(one, other):
    both = total([count(Tally(), one), count(Tally(), other)])
    assert sum(both.counts.values()) == sum(both.buckets) == len(one) + len(other)


def test_stored_with_other_buckets_the_durations_start_anew():
    assert decoded(b'[3,[["failed",2]],[1,2],9.5]') == Tally(next_offset=3, counts={("failed",): 2})
