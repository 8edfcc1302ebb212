"""bench/sentiment.py: what it demands of which file, and that what is learned from is not what is scored on."""

from collections import Counter

import pytest

from bench.sentiment import BOUND, FLOOR, load, short_of
from bench.sentiment_train import lines


@pytest.mark.parametrize("part", ["blind", "blind2"])
def test_a_blind_set_has_300_texts_of_three_languages_and_labels_and_none_is_learned_from(part):
    rows = [row for row in load() if row[0] == part]
    assert len({text for *_, text in rows}) == len(rows) >= 300
    assert min(Counter(language for _, language, _, _ in rows).values()) >= 90
    assert min(Counter(label for _, _, label, _ in rows).values()) >= 70
    assert not {text for *_, text in rows} & {line.text for line in lines()}


def test_the_floor_is_demanded_of_the_first_and_no_loss_of_the_second():
    shares = {"blind": FLOOR, "blind2": BOUND, "fresh": 0.1}
    assert short_of(shares) == []
    assert short_of(shares | {"blind": FLOOR - 0.01}) == ["blind"]
    assert short_of(shares | {"blind2": BOUND - 0.01}) == ["blind2"]
