"""Between bytes and records, for both tables of the aggregator: what comes in and goes out, is misplaced or bad."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from hocket.contracts import headers
from hocket.contracts.codec import Codec, CodecError
from hocket.contracts.records import DeadLetter, Record
from hocket.contracts.topics import Topics
from hocket.kafka.client import partition_of

FORWARDED = "hocket-forwarded"
"""Header of a record that the aggregator has moved to the partition of its key, once."""

R = TypeVar("R", bound=Record)


@dataclass(frozen=True, kw_only=True)
class Incoming:
    """One record as it was read; `at` is its append time in milliseconds."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    at: int


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """One record to be produced in the transaction of the record that caused it; without payload it clears its key."""

    topic: str
    key: bytes | None
    payload: bytes | None
    headers: list[tuple[str, bytes]]


class Posting:
    """Decodes, forwards, dead-letters and encodes. `count(event, label)` feeds the metrics."""

    def __init__(
        self, *, topics: Topics, codec: Codec, partitions: int, worker: str, count: Callable[[str, str], None]
    ) -> None:
        self._topics, self._codec, self._partitions = topics, codec, partitions
        self._worker, self._count = worker, count

    def decode(
        self, incoming: Incoming, kind: type[R], key_of: Callable[[R], tuple[str, str]], most: int
    ) -> R | list[Outgoing]:
        """The record when it stands under its key in the partition of it; else what to send instead: a dead letter,
        or the record itself to its right partition.

        `key_of` gives the name and value of the field that is the key, `most` its largest size in bytes.
        """
        try:
            record = self._codec.decode(incoming.value, kind)
        except CodecError as e:
            return self.dead_letter(incoming, e.kind, str(e))
        name, text = key_of(record)
        key = text.encode()
        if not 0 < len(key) <= most:
            return self.dead_letter(incoming, "invalid", f"{name} must have 1 to {most} bytes")
        if key == incoming.key and partition_of(key, self._partitions) == incoming.partition:
            return record
        if headers.get(incoming.headers, FORWARDED):
            return self.dead_letter(incoming, "misrouted", "forwarded once and still not in the partition of its key")
        self._count("forwarded", incoming.topic)
        mark = [*incoming.headers, (FORWARDED, b"1")]
        return [Outgoing(topic=incoming.topic, key=key, payload=incoming.value or b"", headers=mark)]

    def encode(
        self, topic: str, record: Record, *, key: bytes | None, subject: str, event_id: str, at: int, trace: str
    ) -> Outgoing:
        """The record as it goes out."""
        return Outgoing(
            topic=topic,
            key=key,
            payload=self._codec.encode(record, topic),
            headers=headers.event_headers(
                record=type(record).__name__,
                event_id=event_id,
                source=self._worker,
                subject=subject,
                at_ms=at,
                trace=trace,
            ),
        )

    def dead_letter(self, incoming: Incoming, kind: str, reason: str) -> list[Outgoing]:
        """The dead letter for a record that cannot be processed, with its bytes untouched."""
        self._count("dead_letter", kind)
        letter = DeadLetter(
            topic=incoming.topic,
            partition=incoming.partition,
            offset=incoming.offset,
            key=incoming.key,
            value=incoming.value,
            headers={k: v or b"" for k, v in incoming.headers},
            kind=kind,
            reason=reason,
            service="aggregator",
            timestamp=incoming.at,
            at=incoming.at,
        )
        place = f"{incoming.topic}/{incoming.partition}/{incoming.offset}"
        trace = headers.traceparent(incoming.headers, place)
        to = self._topics.dead_letters
        return [self.encode(to, letter, key=incoming.key, subject=place, event_id=place, at=incoming.at, trace=trace)]
