"""What a table partition holds: rows, bytes and expected work, counted in the table itself.

The counts stand beside the rows and commit with them, so they are exact after every crash and move, and reading them
costs one look-up instead of a walk over all rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

ROW = "row"
_TOTALS = b"totals"
"""Under no record's key: the rows stand under theirs, which is never empty."""


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Of one partition (or several added up): rows, bytes of their values, and expected tasks by specialty."""

    rows: int = 0
    size: int = 0
    expected: Mapping[str, int] = field(default_factory=dict)

    @staticmethod
    def load(raw: bytes | None) -> Totals:
        """What `stored` made; nothing yet is all zero."""
        return Totals() if raw is None else Totals(**orjson.loads(raw))

    def stored(self) -> bytes:
        """As it stands in the table."""
        return orjson.dumps({"rows": self.rows, "size": self.size, "expected": dict(self.expected)})

    def plus(self, other: Totals) -> Totals:
        """Both together."""
        return Totals(
            rows=self.rows + other.rows, size=self.size + other.size, expected=_sum(self.expected, other.expected, 1)
        )

    def changed(
        self, before: bytes | None, after: bytes | None, expected: Mapping[str, int], no_longer: Mapping[str, int]
    ) -> Totals:
        """After one row's value changed (None: no row), and with it the tasks that it lets expect."""
        return Totals(
            rows=self.rows + (after is not None) - (before is not None),
            size=self.size + len(after or b"") - len(before or b""),
            expected=_sum(_sum(self.expected, no_longer, -1), expected, 1),
        )


def _sum(one: Mapping[str, int], other: Mapping[str, int], sign: int) -> dict[str, int]:
    found = {k: one.get(k, 0) + sign * other.get(k, 0) for k in {*one, *other}}
    return {k: n for k, n in sorted(found.items()) if n}


def save(
    state: Any,
    before: bytes | None,
    after: bytes | None,
    expected: Mapping[str, int] | None = None,
    no_longer: Mapping[str, int] | None = None,
) -> None:
    """Writes a row's new value (None deletes it) and the counts, into the transaction that Quix has open.

    The totals stand under no key of a record, which Quix's public state cannot reach: its transaction can.
    """
    if after == before:
        return
    if after is None:
        state.delete(ROW)
    else:
        state.set_bytes(ROW, after)
    counts = state._transaction.as_state(prefix=b"")  # noqa: SLF001 - see above
    totals = Totals.load(counts.get_bytes(_TOTALS))
    changed = totals.changed(before, after, expected or {}, no_longer or {})
    if changed != totals:
        counts.set_bytes(_TOTALS, changed.stored())


def read(partitions: Mapping[int, Any]) -> Totals:
    """What stands in the given store partitions now, committed. Only from the thread that runs the join."""
    found = Totals()
    for store in partitions.values():
        held = store.get(_TOTALS)
        found = found.plus(Totals.load(held if isinstance(held, bytes) else None))
    return found
