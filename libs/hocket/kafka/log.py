"""The narrow port through which Hocket's own consumers and producers see Kafka.

`hocket.kafka.aio` is the real one, `hocket.testing.log` the one for tests; both pass tests/kafka/test_log_contract.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from hocket.contracts.headers import Headers

RawHeaders = tuple[tuple[str, bytes | None], ...]


class Raw(NamedTuple):  # one for each record: three times as fast to make as a frozen dataclass
    """A record as it came from a topic, untouched. `timestamp` is by the broker's clock, in milliseconds."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: RawHeaders = ()
    timestamp: int = 0


class Written(NamedTuple):
    """Where a record stands now."""

    topic: str
    partition: int
    offset: int


class CommitRefused(Exception):  # noqa: N818 - no error of anybody's: it happens in every rebalance
    """The group has moved on; whoever owns the partitions now will repeat what was not committed."""


class TooLarge(Exception):  # noqa: N818 - the name says what is the case
    """A record above the size limit. It was not sent. `kind` is what dead letters and failed results say."""

    kind = "too_large"


class KafkaRefused(Exception):  # noqa: N818 - the name says what is the case
    """The broker refuses and trying again will not help; the message says who must act."""


class Message(NamedTuple):
    """An encoded record, ready to be written."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers


Assigned = Callable[[Collection[int]], None]
"""Called with the new partitions before any record of them is delivered."""
Revoked = Callable[[Collection[int]], Awaitable[None]]
"""Awaited before the partitions may go to another member; may commit."""


class Consumer(Protocol):
    """A member of a consumer group, reading one topic from the earliest offset, committed transactions only."""

    @property
    def joined(self) -> bool:
        """Whether it is in the group with its partitions settled."""

    async def start(self, on_assigned: Assigned, on_revoked: Revoked) -> None:
        """Connects and joins in the background. Raises KafkaUnreachable when no broker answers."""

    async def poll(self, max_records: int, timeout_ms: int) -> Sequence[Raw]:
        """Records in offset order within each partition, as soon as there are any; empty after the timeout.

        Waits longer while the group rebalances. Cancel it to stop waiting. Between the moment that it takes records
        and the caller's next step nothing else runs, so a record is never of a partition that was just revoked.
        Raises KafkaRefused; any other error means that this consumer is broken for good.
        """

    def pause(self, partitions: Collection[int]) -> None:
        """Polls return nothing of these until `resume`. Partitions that are not held are ignored."""

    def resume(self, partitions: Collection[int]) -> None:
        """Ends a pause."""

    async def position(self, partition: int) -> int | None:
        """The offset after the last one that polls have passed, markers and gaps included; None when not known."""

    async def commit(self, offsets: Mapping[int, tuple[int, str]]) -> None:
        """Commits next offsets, each with its metadata. Waits while no broker answers. Raises CommitRefused."""

    async def committed(self, partitions: Collection[int]) -> Mapping[int, tuple[int, str] | None]:
        """What the group has committed, None where it has nothing yet. Tries again for as long as it takes. Raises
        KafkaRefused."""

    async def close(self) -> None:
        """Leaves the group without committing. Takes seconds at most, even when no broker answers."""


class Producer(Protocol):
    """Writes records, keyed by murmur2 as the Java client does. Shared by everything in a process."""

    async def send(self, topic: str, key: bytes | None, value: bytes, headers: Headers) -> Written:
        """Where the record stands, when all in-sync replicas have it; tries again for as long as it takes.

        Raises TooLarge, KafkaRefused.

        A record may be written twice when a broker's answer was lost together with the producer's identity.
        """

    async def post(self, topic: str, key: bytes | None, value: bytes, headers: Headers) -> None:
        """Hands the record to the client and does not wait for the broker's answer. It may get lost."""
