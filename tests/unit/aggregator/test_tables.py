"""Rows, bytes and expected work of a table, counted as it changes."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.aggregator.tables import ROW, Totals, read, save


class Store:
    """A store partition, and the state and transaction that Quix opens on it for one key."""

    def __init__(self) -> None:
        self.held: dict[bytes, bytes] = {}

    def state(self, key: bytes) -> State:
        return State(self, key + b"|")

    def as_state(self, prefix: bytes) -> State:
        return State(self, prefix)

    def get(self, key: bytes) -> bytes | object:
        return self.held.get(key, object())


class State:
    def __init__(self, store: Store, prefix: bytes) -> None:
        self._transaction, self._prefix = store, prefix

    def _place(self, key: str | bytes) -> bytes:
        return self._prefix + (key.encode() if isinstance(key, str) else key)

    def get_bytes(self, key: str | bytes) -> bytes | None:
        return self._transaction.held.get(self._place(key))

    def set_bytes(self, key: str | bytes, value: bytes) -> None:
        self._transaction.held[self._place(key)] = value

    def delete(self, key: str | bytes) -> None:
        self._transaction.held.pop(self._place(key), None)


def totals(*stores: Store) -> Totals:
    return read(dict(enumerate(stores)))


CHANGES = st.lists(
    st.tuples(
        st.sampled_from([b"a", b"b", b"c"]),
        st.one_of(st.none(), st.binary(min_size=1, max_size=20)),
        st.dictionaries(st.sampled_from(["x", "y"]), st.integers(1, 3)),
    )
)


@given(CHANGES)
def test_the_counts_are_those_of_the_rows(changes: list[tuple[bytes, bytes | None, dict[str, int]]]) -> None:
    store, expecting = Store(), dict[bytes, dict[str, int]]()
    for key, value, expected in changes:
        state: Any = store.state(key)
        before = state.get_bytes(ROW)
        wanted = expected if value is not None else {}
        if before == value:
            continue
        save(state, before, value, wanted, expecting.get(key, {}))
        expecting[key] = wanted
    rows = {k: v for k, v in store.held.items() if k.endswith(b"|row")}
    found = totals(store)
    assert (found.rows, found.size) == (len(rows), sum(map(len, rows.values())))
    wanted = {s: n for s in ("x", "y") if (n := sum(e.get(s, 0) for e in expecting.values()))}
    assert found.expected == wanted


def test_partitions_add_up_and_an_empty_one_is_none() -> None:
    one, other = Store(), Store()
    save(one.state(b"a"), None, b"123", {"x": 1}, {})
    save(other.state(b"b"), None, b"12", {"x": 2}, {})
    assert totals(one, other, Store()) == Totals(rows=2, size=5, expected={"x": 3})
