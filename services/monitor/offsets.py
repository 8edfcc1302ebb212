"""What the monitor asks of Kafka beside faust: the offsets of every group, and its tables' changelog topics."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

import structlog

from hocket.contracts.topics import Topics
from hocket.kafka.admin import TopicState, admin
from hocket.kafka.client import aiokafka_options, topics_of
from hocket.runtime.settings import Settings
from services.monitor.lag import GroupLag, Kept, Place, Sample, drain_seconds, group_lag, groups_of

EVERY_S = 2.0
"""Pause between two looks at the offsets."""
WITHIN_S = 10.0
"""A look that takes longer counts as failed; the last one stays on the page, and its age shows."""
WINDOW = 30
"""So many looks back the drain estimate compares with: a minute."""

_LOOKS = 400

log = structlog.get_logger(__name__)


class OffsetsUnavailableError(Exception):
    """Kafka does not give the offsets just now; the next look may succeed."""


class Offsets:
    """The newest lag of every group. `watch` keeps it fresh; reading it never blocks."""

    def __init__(self, settings: Settings, now_ms: Callable[[], int]) -> None:
        self._settings = settings
        self._topics: Topics = topics_of(settings)
        self._now_ms = now_ms
        self._history: dict[str, deque[Sample]] = {}
        self.groups: tuple[GroupLag, ...] = ()
        self.read_at_ms: int | None = None

    def drain_seconds(self, group: str) -> float | None:
        """Seconds until the group's lag is gone at the last minute's pace; None when it is not falling."""
        samples = self._history.get(group)
        return drain_seconds(samples[0], samples[-1]) if samples else None

    def age_ms(self, now_ms: int) -> int | None:
        """How old the numbers are; None before the first look."""
        return None if self.read_at_ms is None else max(0, now_ms - self.read_at_ms)

    async def watch(self) -> None:
        """Looks again and again until cancelled; a broker that is away is waited for. Never raises a Kafka error."""
        from aiokafka.errors import KafkaError

        failing = False
        while True:
            try:
                async with _Reader(self._settings) as reader:
                    while True:
                        await self._look(reader)
                        if failing:
                            log.info("offsets can be read again")
                        failing = False
                        await asyncio.sleep(EVERY_S)
            except (KafkaError, OSError, TimeoutError, OffsetsUnavailableError) as e:
                # New clients on the next round: what an old one remembers of the cluster may be wrong for good.
                if not failing:
                    log.warning("offsets cannot be read; the last ones stay", error=str(e) or type(e).__name__)
                failing = True
                await asyncio.sleep(EVERY_S)

    async def _look(self, reader: _Reader) -> None:
        async with asyncio.timeout(WITHIN_S):
            groups = await reader.read(self._topics, self._settings.group)
        now = self._now_ms()
        for group in groups:
            samples = self._history.setdefault(group.group, deque(maxlen=WINDOW))
            samples.append(Sample(at_ms=now, lag=group.lag))
        self._history = {g.group: self._history[g.group] for g in groups}
        self.groups, self.read_at_ms = groups, now


class ChangelogError(Exception):
    """The tables' changelog topics are not to be had; the message says who must change what."""


async def make_changelogs(settings: Settings, wanted: Mapping[str, TopicState], configs: Mapping[str, str]) -> None:
    """Makes topics as wide as those they belong to; returns when each has leaders. Raises ChangelogError.

    faust would make them too, but does not wait for them: on a busy broker its first assignment then misses some, and
    the first write to their table ends the process.
    """
    from aiokafka.admin import NewTopic
    from aiokafka.errors import TopicAlreadyExistsError, for_code

    new = [NewTopic(n, s.partitions, max(1, s.replication), topic_configs=dict(configs)) for n, s in wanted.items()]
    async with admin(settings) as client:
        answer = await client.create_topics(new)
        refused = [(n, c) for n, c, *_ in answer.topic_errors if c not in (0, TopicAlreadyExistsError.errno)]
        if refused:
            raise ChangelogError("; ".join(f"Kafka refuses topic {n}: {for_code(c).description}" for n, c in refused))
        for _ in range(_LOOKS):
            led = {t["topic"]: sum(p["leader"] >= 0 for p in t["partitions"]) for t in await client.describe_topics()}
            if all(led.get(n) == s.partitions for n, s in wanted.items()):
                return
            await asyncio.sleep(0.05)
    raise ChangelogError(
        f"topics {', '.join(wanted)} do not have the partitions of the topics that feed them. If those were made anew, "
        "delete the changelogs while the monitor is stopped: only counts are lost"
    )


class _Reader:
    """Two clients: an admin client for what groups committed, a consumer without group for what partitions hold."""

    def __init__(self, settings: Settings) -> None:
        from aiokafka import AIOKafkaConsumer
        from aiokafka.admin import AIOKafkaAdminClient

        options = aiokafka_options(settings) | {"client_id": "hocket-monitor", "request_timeout_ms": 5_000}
        self._admin = AIOKafkaAdminClient(**options)
        self._consumer = AIOKafkaConsumer(**options, group_id=None)

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(WITHIN_S):
                await self._admin.start()
                await self._consumer.start()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._close()

    async def _close(self) -> None:
        for close in (self._admin.close, self._consumer.stop):
            with contextlib.suppress(Exception):  # it is thrown away either way
                async with asyncio.timeout(1.0):
                    await close()

    async def read(self, topics: Topics, group_name: Callable[[str], str]) -> tuple[GroupLag, ...]:
        """The lag of every group. Committed offsets are read before the ends: so the ends are never behind."""
        # All topics are asked for: asking by name creates missing ones on brokers that allow it.
        described = await self._admin.describe_topics(None)
        counts = {t["topic"]: len(t["partitions"]) for t in described if not t["error_code"]}
        groups = groups_of(topics, group_name, counts)
        places = {g: [(t, p) for t in names for p in range(counts[t])] for g, names in groups.items()}
        committed = {group: await self._committed(group, wanted) for group, wanted in places.items()}
        kept = await self._kept({place for wanted in places.values() for place in wanted})
        return tuple(group_lag(g, {p: kept[p] for p in wanted}, committed[g]) for g, wanted in places.items())

    async def _committed(self, group: str, places: list[Place]) -> dict[Place, int]:
        """What a group committed. Partitions are named: then Kafka answers -1 for "never", and an answer without a
        partition means an error of the whole group (coordinator moving), which aiokafka 0.14 does not raise."""
        from aiokafka import TopicPartition

        named = [TopicPartition(topic, partition) for topic, partition in places]
        found: Mapping[Any, Any] = await self._admin.list_consumer_group_offsets(group, partitions=named)
        if any(place not in found for place in named):
            raise OffsetsUnavailableError(f"the coordinator of group {group} is not ready")
        return {(tp.topic, tp.partition): at.offset for tp, at in found.items() if at.offset >= 0}

    async def _kept(self, places: Iterable[Place]) -> dict[Place, Kept]:
        from aiokafka import TopicPartition

        named = [TopicPartition(topic, partition) for topic, partition in places]
        if not named:
            return {}
        ends = await self._consumer.end_offsets(named)
        starts = await self._consumer.beginning_offsets(named)
        return {(tp.topic, tp.partition): Kept(start=starts[tp], end=ends[tp]) for tp in named}
