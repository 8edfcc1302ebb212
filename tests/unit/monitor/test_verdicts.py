import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.monitor.verdicts import JUDGED_AFTER_MS, Look, arrivals_per_second, standing


def window(*rows, step=JUDGED_AFTER_MS):
    """Looks from (committed, finished, net)."""
    return [
        Look(at_ms=i * step, committed=c, finished=f, net=n, end=(c or 0) + f + n) for i, (c, f, n) in enumerate(rows)
    ]


@pytest.mark.parametrize(
    ("rows", "owned", "running", "found"),
    [
        ([(5, 0, 3), (5, 0, 3)], True, False, "stuck"),
        ([(5, 0, 3), (5, 0, 9)], False, False, "stopped"),
        ([(None, 0, 3), (None, 0, 3)], False, False, "stopped"),
        ([(5, 0, 3), (5, 0, 3)], True, True, "slow"),  # one long call
        ([(5, 0, 30), (5, 20, 10)], True, True, "ok"),  # the same, and others are finished behind it
        ([(5, 0, 3), (6, 0, 5), (7, 0, 9)], True, False, "slow"),
        ([(5, 0, 3), (6, 0, 5), (9, 0, 4)], True, False, "ok"),
        ([(5, 0, 3), (9, 0, 3)], True, False, "ok"),  # a steady load
        ([(5, 0, 3), (8, 0, 0), (8, 0, 3)], True, False, "ok"),
    ],
)
def test_verdicts(rows, owned, running, found):
    assert standing(window(*rows), owned=owned, running=running) == found


def test_a_short_window_says_nothing_yet():
    assert standing(window((5, 0, 3), (5, 0, 3), step=JUDGED_AFTER_MS - 1), owned=True, running=False) == "ok"
    assert standing([], owned=False, running=False) == "ok"


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), max_size=6), st.booleans())
def test_nothing_waits_means_nothing_is_wrong(rows, owned):
    assert standing(window(*rows, (9, 0, 0)), owned=owned, running=False) == "ok"


def test_arrivals_are_what_the_end_of_the_log_grew_by():
    assert arrivals_per_second(window((0, 0, 10), (0, 0, 60), step=10_000)) == 5.0
    assert arrivals_per_second(window((0, 0, 10))) == 0.0
