"""What the monitor and `hocket lag` ask of Kafka: committed offsets, members of groups, what partitions hold."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

from hocket.contracts.topics import Topics
from hocket.kafka.client import aiokafka_options
from hocket.runtime.settings import Settings
from services.monitor.lag import (
    Committed,
    First,
    GroupLag,
    Kept,
    Member,
    Place,
    group_lag,
    groups_of,
    next_read,
)

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

WITHIN_S = 10.0
"""A look that takes longer counts as failed."""
PEEK_S = 2.0
"""For so long a look waits for the first records of partitions that have moved; what is missing comes with the next."""
_PEEK_BYTES = 64 * 1024


class OffsetsUnavailableError(Exception):
    """Kafka does not give the offsets just now; the next look may succeed."""


class Reader:
    """Three clients: an admin client for groups, a consumer without group for what partitions hold, and one that reads
    the first record of each place, for its age."""

    def __init__(self, settings: Settings) -> None:
        from aiokafka import AIOKafkaConsumer
        from aiokafka.admin import AIOKafkaAdminClient

        options = aiokafka_options(settings) | {"client_id": "hocket-monitor", "request_timeout_ms": 5_000}
        self._admin = AIOKafkaAdminClient(**options)
        self._consumer = AIOKafkaConsumer(**options, group_id=None)
        self._peeker = _Peeker(
            AIOKafkaConsumer(
                **options,
                group_id=None,
                enable_auto_commit=False,
                isolation_level="read_committed",
                auto_offset_reset="earliest",
                max_partition_fetch_bytes=_PEEK_BYTES,
                fetch_max_wait_ms=200,
            )
        )

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(WITHIN_S):
                await self._admin.start()
                await self._consumer.start()
                await self._peeker.client.start()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._close()

    async def _close(self) -> None:
        for close in (self._admin.close, self._consumer.stop, self._peeker.client.stop):
            with contextlib.suppress(Exception):  # it is thrown away either way
                async with asyncio.timeout(1.0):
                    await close()

    async def read(
        self, topics: Topics, group_name: Callable[[str], str], now_ms: Callable[[], int]
    ) -> tuple[GroupLag, ...]:
        """The lag of every group. Committed offsets are read before the ends: so the ends are never behind. Raises
        OffsetsUnavailableError while a coordinator moves."""
        # All topics are asked for: asking by name creates missing ones on brokers that allow it.
        described = await self._admin.describe_topics(None)
        counts = {t["topic"]: len(t["partitions"]) for t in described if not t["error_code"]}
        groups = groups_of(topics, group_name, counts)
        places = {g: [(t, p) for t in names for p in range(counts[t])] for g, names in groups.items()}
        nodes = {group: await self._admin.find_coordinator(group) for group in groups}
        committed = {group: await self._committed(group, nodes[group], wanted) for group, wanted in places.items()}
        members = await self._members(nodes)
        kept = await self._kept({place for wanted in places.values() for place in wanted})
        begins = {
            g: {p: next_read(kept[p], c.offset if (c := committed[g].get(p)) else None) for p in wanted}
            for g, wanted in places.items()
        }
        first = await self._peeker.first(begins, kept)
        return tuple(
            group_lag(
                g,
                {p: kept[p] for p in wanted},
                committed[g],
                first={p: first[p, begins[g][p]] for p in wanted if (p, begins[g][p]) in first},
                members=members.get(g, ()),
                now_ms=now_ms(),
            )
            for g, wanted in places.items()
        )

    async def _committed(self, group: str, node: int, places: list[Place]) -> dict[Place, Committed]:
        """What a group committed. Partitions are named: then Kafka answers -1 for "never", and an answer without a
        partition means an error of the whole group (coordinator moving), which aiokafka 0.14 does not raise."""
        from aiokafka import TopicPartition

        named = [TopicPartition(topic, partition) for topic, partition in places]
        found: Mapping[Any, Any] = await self._admin.list_consumer_group_offsets(group, node, partitions=named)
        if any(place not in found for place in named):
            raise OffsetsUnavailableError(f"the coordinator of group {group} is not ready")
        return {
            (tp.topic, tp.partition): Committed(offset=at.offset, metadata=at.metadata or "")
            for tp, at in found.items()
            if at.offset >= 0
        }

    async def _members(self, nodes: Mapping[str, int]) -> dict[str, tuple[Member, ...]]:
        """Who is in each group. A group that nobody ever joined is empty."""
        found: dict[str, tuple[Member, ...]] = {}
        for node in sorted(set(nodes.values())):
            request = _describe_groups([g for g, n in nodes.items() if n == node])
            reply = await self._admin._send_request(request, node)  # noqa: SLF001 - see _describe_groups
            for code, name, _state, _type, _protocol, members in reply.groups:
                if code == 0:
                    found[name] = tuple(_member(*m) for m in members)
        return found

    async def _kept(self, places: Iterable[Place]) -> dict[Place, Kept]:
        from aiokafka import TopicPartition

        named = [TopicPartition(topic, partition) for topic, partition in places]
        if not named:
            return {}
        ends = await self._consumer.end_offsets(named)
        starts = await self._consumer.beginning_offsets(named)
        return {(tp.topic, tp.partition): Kept(start=starts[tp], end=ends[tp]) for tp in named}


def _describe_groups(groups: list[str]) -> Any:
    """aiokafka 0.14 asks in version 3 of this request and reads the reply as version 2, which fails as soon as a group
    has members; so version 2 is asked for."""
    from aiokafka.protocol.admin import DescribeGroupsRequest, DescribeGroupsRequest_v2

    class Second(DescribeGroupsRequest):  # type: ignore[misc]
        def build(self, request_struct_class: Any) -> Any:  # noqa: ARG002 - the newest that the broker knows
            return DescribeGroupsRequest_v2(groups)

    return Second(groups)


def _member(consumer_id: str, client_id: str, host: str, _metadata: bytes, assignment: bytes) -> Member:
    from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

    places: frozenset[Place] = frozenset()
    if assignment:
        decoded = ConsumerProtocolMemberAssignment.decode(assignment)
        places = frozenset((tp.topic, tp.partition) for tp in decoded.partitions())
    return Member(consumer_id=consumer_id, client_id=client_id, host=host, places=places)


class _Peeker:
    """Reads the first record of places, one each, and remembers it until the group has moved on."""

    def __init__(self, client: AIOKafkaConsumer) -> None:
        self.client = client
        self._known: dict[tuple[Place, int], First] = {}

    async def first(
        self, begins: Mapping[str, Mapping[Place, int]], kept: Mapping[Place, Kept]
    ) -> dict[tuple[Place, int], First]:
        """The first readable record at or after each group's place, by place and offset; what cannot be had in time is
        missing. A place without records up to the end of its partition has none before that end."""
        wanted = {(p, o) for at in begins.values() for p, o in at.items() if o < kept[p].end}
        self._known = {k: f for k, f in self._known.items() if k in wanted}
        open_ended = {(p, o) for (p, o), f in self._known.items() if f.at_ms is None and f.offset < kept[p].end}
        missing = dict(sorted((wanted - set(self._known)) | open_ended))  # one offset of each place; others next time
        if missing:
            await self._peek(missing)
        return dict(self._known)

    async def _peek(self, offsets: Mapping[Place, int]) -> None:
        from aiokafka import TopicPartition

        waiting = {TopicPartition(topic, partition): o for (topic, partition), o in offsets.items()}
        self.client.assign(list(waiting))
        for tp, offset in waiting.items():
            self.client.seek(tp, offset)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PEEK_S):
                while waiting:
                    found = await self.client.getmany(*waiting, timeout_ms=300, max_records=1)
                    for tp, records in found.items():
                        if records:
                            self._note(tp, waiting.pop(tp), records[0].offset, records[0].timestamp)
                    if not found:
                        await self._note_empty(waiting)
                        break
        self.client.unsubscribe()

    async def _note_empty(self, waiting: Mapping[Any, int]) -> None:
        """Where nothing came, the client has passed what nobody can read, as far as the broker let it."""
        for tp, offset in waiting.items():
            self._note(tp, offset, await self.client.position(tp), None)

    def _note(self, tp: Any, offset: int, at: int, timestamp: int | None) -> None:
        self._known[(tp.topic, tp.partition), offset] = First(offset=at, at_ms=timestamp)
