"""The newest lag of every group, kept fresh, with a window of looks behind it; and the tables' changelog topics."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import structlog

from hocket.contracts.topics import Topics
from hocket.kafka.admin import TopicState, admin
from hocket.kafka.client import topics_of
from hocket.runtime.settings import Settings
from services.monitor.lag import GroupLag, Place, Sample, drain_seconds
from services.monitor.reader import WITHIN_S, OffsetsUnavailableError, Reader
from services.monitor.verdicts import Look, look

EVERY_S = 2.0
"""Pause between two looks at the offsets."""
WINDOW = 30
"""So many looks back the drain estimate compares with: a minute."""

_LOOKS = 400

log = structlog.get_logger(__name__)


class Offsets:
    """The newest lag of every group. `watch` keeps it fresh; reading it never blocks."""

    def __init__(self, settings: Settings, now_ms: Callable[[], int]) -> None:
        self._settings = settings
        self._topics: Topics = topics_of(settings)
        self._now_ms = now_ms
        self._history: dict[str, deque[Sample]] = {}
        self._windows: dict[tuple[str, Place], deque[Look]] = {}
        self.on_look: Callable[[], None] = lambda: None
        """Called after each look that succeeded."""
        self.groups: tuple[GroupLag, ...] = ()
        self.read_at_ms: int | None = None

    def drain_seconds(self, group: str) -> float | None:
        """Seconds until the group's net lag is gone at the last minute's pace; None when it is not falling."""
        samples = self._history.get(group)
        return drain_seconds(samples[0], samples[-1]) if samples else None

    def window(self, group: str, place: Place) -> Sequence[Look]:
        """The last minute's looks at a partition, the oldest first."""
        return self._windows.get((group, place), ())

    def age_ms(self, now_ms: int) -> int | None:
        """How old the numbers are; None before the first look."""
        return None if self.read_at_ms is None else max(0, now_ms - self.read_at_ms)

    async def watch(self) -> None:
        """Looks again and again until cancelled; a broker that is away is waited for. Never raises a Kafka error."""
        from aiokafka.errors import KafkaError

        failing = False
        while True:
            try:
                async with Reader(self._settings) as reader:
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

    async def _look(self, reader: Reader) -> None:
        async with asyncio.timeout(WITHIN_S):
            groups = await reader.read(self._topics, self._settings.group, self._now_ms)
        now = self._now_ms()
        for group in groups:
            samples = self._history.setdefault(group.group, deque(maxlen=WINDOW))
            samples.append(Sample(at_ms=now, lag=group.net))
        self._history = {g.group: self._history[g.group] for g in groups}
        windows: dict[tuple[str, Place], deque[Look]] = {}
        for group in groups:
            for p in group.partitions:
                key = (group.group, (p.topic, p.partition))
                windows[key] = self._windows.get(key) or deque(maxlen=WINDOW)
                windows[key].append(look(p, now))
        self._windows = windows
        self.groups, self.read_at_ms = groups, now
        self.on_look()


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
