from __future__ import annotations

import base64
import json
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.core.donemap import LIMIT, DoneMap, Flight, decode, encode, trimmed

FLIGHTS = st.builds(
    Flight,
    owner=st.sampled_from(["w1/writing@1f.1", "w1/writing@1f.2", "w2/writing@ab.1", "ü"]),
    deliveries=st.integers(1, 4),
)


@st.composite
def maps(draw):
    base = draw(st.integers(0, 2**60))
    places = draw(st.lists(st.integers(0, 3_000), unique=True, max_size=200))
    top = max(places, default=0) + 1 + draw(st.integers(0, 5_000_000))
    open_ = {base + p: draw(st.none() | FLIGHTS) for p in places}
    holder, at = draw(st.sampled_from(["", "w1/writing@1f.3"])), draw(st.integers(0, 2**45))
    return DoneMap(base=base, top=base + top, open=open_, holder=holder, at=at)


@given(maps())
def test_what_is_encoded_is_read_back(given_map):
    text = encode(given_map)
    assert len(text) <= LIMIT
    assert text.isascii()
    assert decode(text, given_map.base) == trimmed(given_map)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda b: base64.b64encode(b).decode()))
def test_whatever_somebody_else_wrote_is_ignored(text):
    assert decode(text, 5) is None


NUMBERS = st.integers(-2, 20) | st.sampled_from([2**63, 2**70, 1.5, None, "x", True])
RUNS = st.lists(NUMBERS, max_size=6)
BODIES = st.tuples(
    st.sampled_from([3, 3, 3, 1, "3"]),
    st.sampled_from([5, 5, 5, 6]),
    st.sampled_from(["w", "w", 3]),
    RUNS,
    st.lists(st.tuples(st.sampled_from(["a.1", 7]), NUMBERS), max_size=3),
    st.lists(st.tuples(NUMBERS, NUMBERS), max_size=3),
    NUMBERS,
)


@given(BODIES | st.recursive(NUMBERS, lambda inner: st.lists(inner, max_size=7), max_leaves=20))
def test_well_sealed_garbage_is_ignored_or_is_a_map_of_the_offset(body):
    text = base64.b64encode(zlib.compress(json.dumps(body).encode())).decode()
    found = decode(text, 5)
    assert found is None or (found.base == 5 and all(5 <= o < found.top for o in found.open))


@given(maps(), st.data())
def test_one_damaged_character_is_noticed_or_changes_nothing(given_map, data):
    text = encode(given_map)
    if text:
        place = data.draw(st.integers(0, len(text) - 1))
        other = "a" if text[place] != "a" else "b"
        found = decode(text[:place] + other + text[place + 1 :], given_map.base)
        assert found is None or found == decode(text, given_map.base)  # the last one's spare bits mean nothing


def sealed(*body):
    return base64.b64encode(zlib.compress(json.dumps(body).encode())).decode()


def test_a_map_of_another_offset_or_version_is_ignored():
    text = encode(DoneMap(base=7, top=10, open={7: None}))
    assert decode(text, 7) is not None
    assert decode(text, 8) is None
    assert decode(sealed(3, 7, "", [0, 1, 2], [], [[0, 1]], 0), 7) == decode(text, 7)
    assert decode(sealed(2, 7, "", [0, 1, 2], [], [[0, 1]], 0), 7) is None


def test_a_bomb_is_not_unpacked():
    text = base64.b64encode(zlib.compress(b"[" + b" " * 3_000_000 + b"]")).decode()
    assert len(text) <= LIMIT + 500
    assert decode(text[:LIMIT], 0) is None
    assert decode(sealed(3, 0, "", [0, 10**9, 0], [], [[0, 10**9]], 0), 0) is None


def test_nothing_to_tell_is_no_text():
    assert encode(DoneMap(base=3, top=3)) == ""
    assert encode(DoneMap(base=3, top=5, open={3: None, 4: None})) == ""


def test_who_holds_the_partition_is_told_even_when_nothing_else_is():
    idle = DoneMap(base=3, top=3, holder="w1/writing@1f.3")
    assert decode(encode(idle), 3) == idle


@pytest.mark.parametrize("spread", [2, 3, 1_000_000])
@pytest.mark.parametrize("count", [1_000, 20_000])
def test_it_is_never_too_long_and_what_is_kept_is_true(spread, count):
    rng = random.Random(count + spread)
    offsets = [n * spread + rng.randrange(spread) for n in range(count)]
    whole = DoneMap(
        base=offsets[0],
        top=offsets[-1] + 2,
        open={o: Flight(owner=f"w{o % 3}.1", deliveries=1 + o % 2) if rng.random() < 0.5 else None for o in offsets},
    )
    text = encode(whole)
    assert 0 < len(text) <= LIMIT
    found = decode(text, whole.base)
    assert found is not None
    assert found.open == {o: f for o, f in whole.open.items() if o < found.top}


def test_a_thousand_calls_among_four_thousand_records_fit_with_room_to_spare():
    rng = random.Random(1)
    waiting = sorted(rng.sample(range(4_000), 3_000))
    running = set(rng.sample(waiting, 1_000))
    me = Flight(owner="worker-research-7c9d4-abcde/research@4f2a91")
    whole = DoneMap(base=waiting[0], top=4_000, open={o: me if o in running else None for o in waiting})
    assert len(encode(whole)) < 2_500
    assert decode(encode(whole), whole.base) == trimmed(whole)
