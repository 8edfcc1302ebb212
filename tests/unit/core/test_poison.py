"""The stop rule: a bad record is dead-lettered, a bad stream stops the consumer."""

from hypothesis import given
from hypothesis import strategies as st

from hocket.core.poison import DeadRatio


@given(st.lists(st.booleans(), max_size=300))
def test_it_stops_exactly_when_the_window_says_so(stream: list[bool]) -> None:
    ratio = DeadRatio(window=30, least=10, limit=0.5)
    for i, dead in enumerate(stream):
        window = stream[max(0, i - 29) : i + 1]
        ratio.add(dead=dead)
        assert (ratio.seen, ratio.dead) == (len(window), window.count(True))
        assert ratio.too_many == (len(window) >= 10 and window.count(True) > 0.5 * len(window))
