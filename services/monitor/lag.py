"""How far each consumer group is behind, and who is alive. Pure: offsets, heartbeats and the time are arguments.

Laws of a partition's lag (they are property tests):

* it is never negative, and never more than what the broker still keeps;
* a group that never committed will start at the earliest record, so all that is kept is its lag;
* a group whose next record was deleted by retention starts again at the earliest: all that is kept is its lag, and what
  was deleted before it was read is lost;
* the net lag is never more than the lag: it leaves out what is finished already above the committed offset (the
  done-map that workers commit beside it) and what nobody can read (transaction markers, gaps of compaction).

`lag` is the figure of Kafka's own kafka-consumer-groups. `net` is work: one ten-minute call at the head of a partition
holds its offset, and with it `lag`, while thousands behind it are finished.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from hocket.contracts.records import Heartbeat
from hocket.contracts.topics import Topics
from hocket.core.donemap import DoneMap, decode

Place = tuple[str, int]
"""A topic and a partition of it."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What the broker keeps of a partition: offsets from `start` up to, not including, `end`."""

    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Committed:
    """What a group committed for a partition: the next offset to be read, and the text beside it."""

    offset: int
    metadata: str = ""


@dataclass(frozen=True, kw_only=True)
class First:
    """The first record that can be read at or after a place. `at_ms` is when the broker took it; None: no record can be
    read before `offset`, which is as far as the broker lets a reader go."""

    offset: int
    at_ms: int | None


@dataclass(frozen=True, kw_only=True)
class Member:
    """A consumer of a group as the broker knows it."""

    consumer_id: str
    client_id: str
    host: str
    places: frozenset[Place] = frozenset()


@dataclass(frozen=True, kw_only=True)
class PartitionLag:
    """A group's place in one partition. `lost` counts records that retention deleted before the group read them, `net`
    those that are really still to be worked. `age_ms` is how long the oldest of these has waited, 0 without any, None
    when it is not known. `owner` is the member that holds the partition."""

    topic: str
    partition: int
    committed: int | None
    start: int
    end: int
    lag: int
    lost: int
    net: int = 0
    age_ms: int | None = None
    owner: Member | None = None
    runners: tuple[str, ...] = ()
    """Who runs its open records by the done-map, as marks of workers; one that died may still be named."""

    @property
    def finished(self) -> int:
        """What of the lag needs no work any more, or never did."""
        return self.lag - self.net


@dataclass(frozen=True, kw_only=True)
class GroupLag:
    """A group's place in all its partitions, ordered by topic and partition."""

    group: str
    partitions: tuple[PartitionLag, ...]
    members: tuple[Member, ...] = ()

    @property
    def lag(self) -> int:
        """Records above the committed offsets, as Kafka's own tool counts them."""
        return sum(p.lag for p in self.partitions)

    @property
    def net(self) -> int:
        """Records still to be worked."""
        return sum(p.net for p in self.partitions)

    @property
    def age_ms(self) -> int | None:
        """How long the oldest record still to be worked has waited; None when no age is known."""
        return max((p.age_ms for p in self.partitions if p.age_ms is not None), default=None)

    @property
    def idle_members(self) -> int:
        """Members that hold no partition: more of them than partitions do no work."""
        return sum(not m.places for m in self.members)

    @property
    def lost(self) -> int:
        """Records that can no longer be read."""
        return sum(p.lost for p in self.partitions)

    def topics(self) -> dict[str, tuple[PartitionLag, ...]]:
        """The partitions by topic."""
        return {topic: tuple(found) for topic, found in groupby(self.partitions, key=lambda p: p.topic)}


def next_read(kept: Kept, committed: int | None) -> int:
    """Where a group goes on: after a gap of retention, and without any commit, at the earliest."""
    return kept.start if committed is None else max(committed, kept.start)


def partition_lag(
    place: Place,
    kept: Kept,
    committed: Committed | None,
    *,
    first: First | None = None,
    owner: Member | None = None,
    now_ms: int = 0,
) -> PartitionLag:
    """The lag of one partition. `committed` is None when the group never committed; `first` is the first record that
    can be read where the group goes on, None when that is not known."""
    offset = None if committed is None else committed.offset
    begin = next_read(kept, offset)
    lag = max(0, kept.end - begin)
    done = decode(committed.metadata, committed.offset) if committed is not None else None
    net = _net(begin, kept.end, done, first)
    topic, partition = place
    return PartitionLag(
        topic=topic,
        partition=partition,
        committed=offset,
        start=kept.start,
        end=kept.end,
        lag=lag,
        lost=0 if offset is None else max(0, kept.start - offset),
        net=net,
        age_ms=_age(net, first, now_ms),
        owner=owner,
        runners=tuple(sorted({f.owner for f in done.flights.values()})) if done is not None else (),
    )


def _net(begin: int, end: int, done: DoneMap | None, first: First | None) -> int:
    """Offsets from `begin` to `end` that are neither done nor known to hold nothing."""
    low = begin if first is None else max(begin, min(first.offset, end))
    if done is None:
        return max(0, end - low)
    within = sum(low <= o < end for o in done.open)
    return within + max(0, end - max(low, done.top))


def _age(net: int, first: First | None, now_ms: int) -> int | None:
    if net == 0:
        return 0
    return None if first is None or first.at_ms is None else max(0, now_ms - first.at_ms)


def group_lag(
    group: str,
    kept: Mapping[Place, Kept],
    committed: Mapping[Place, Committed],
    *,
    first: Mapping[Place, First] | None = None,
    members: Sequence[Member] = (),
    now_ms: int = 0,
) -> GroupLag:
    """The lag of a group over every partition in `kept`."""
    owners = {place: m for m in members for place in m.places}
    found = (
        partition_lag(
            place,
            kept[place],
            committed.get(place),
            first=(first or {}).get(place),
            owner=owners.get(place),
            now_ms=now_ms,
        )
        for place in sorted(kept)
    )
    return GroupLag(group=group, partitions=tuple(found), members=tuple(members))


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A group's lag at a moment (milliseconds)."""

    at_ms: int
    lag: int


def drain_seconds(older: Sample, newer: Sample) -> float | None:
    """Seconds until the lag is gone if it goes on falling as between the samples; None when it does not fall."""
    if newer.lag == 0:
        return 0.0
    fallen, millis = older.lag - newer.lag, newer.at_ms - older.at_ms
    if fallen <= 0 or millis <= 0:
        return None
    return newer.lag * millis / fallen / 1000


def groups_of(topics: Topics, group: Callable[[str], str], existing: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The groups of an installation and the full names of the topics each reads, of those that exist.

    `group` names the group of a role. Topics that are broadcast (control to workers, heartbeats to the aggregator) are
    read without a group and are left out. Specialties are taken from the task topics that exist: work waiting for a
    specialty that nobody runs is lag all the same.
    """
    found: dict[str, list[str]] = {}
    for name in sorted(existing):
        spec = topics.spec(name)
        if spec is None:
            continue
        plain = topics.plain(name)
        grouped = set(spec.consumers) - set(spec.groupless)
        roles = ["aggregator"] if spec.joined and "aggregator" in grouped else []
        if "monitor" in grouped:
            roles.append("monitor")  # its own lag tells whether its page is up to date
        if spec.partitions == "tasks":
            roles.append(_reader_of(plain))
        for role in roles:
            found.setdefault(group(role), []).append(name)
    return {name: tuple(found[name]) for name in sorted(found)}


def _reader_of(task_topic: str) -> str:
    specialty = task_topic.removeprefix("tasks-")
    return "planner" if specialty == "planning" else f"worker-{specialty}"


Verdict = Literal["alive", "late", "gone", "left"]
LATE_MS = 3_500
"""Heartbeats come every second: two may be lost before a worker counts as late."""
GONE_MS = 15_000
"""After this silence a worker is taken for dead; Kafka has moved its partitions by then."""
FORGET_MS = 600_000
"""A worker that has been silent for so long is dropped from the page and the metrics."""


def verdict(state: str, age_ms: int) -> Verdict:
    """How a worker does whose last heartbeat is `age_ms` old. A draining one is not missed: it has left."""
    if age_ms < LATE_MS:
        return "alive"
    if age_ms < GONE_MS:
        return "late"
    return "left" if state == "draining" else "gone"


@dataclass(frozen=True, kw_only=True)
class Worker:
    """One process as its newest heartbeat shows it."""

    heartbeat: Heartbeat
    age_ms: int
    verdict: Verdict

    @property
    def service(self) -> str:
        """The service as it is deployed: planner, aggregator, worker-<specialty>."""
        beat = self.heartbeat
        return f"{beat.service}-{beat.specialty}" if beat.specialty and beat.service == "worker" else beat.service


def worker(heartbeat: Heartbeat, seen_ms: int, now_ms: int) -> Worker:
    """The worker behind a heartbeat that the broker took at `seen_ms`; its clock may be ahead of ours."""
    age = max(0, now_ms - seen_ms)
    return Worker(heartbeat=heartbeat, age_ms=age, verdict=verdict(heartbeat.state, age))


ServiceVerdict = Literal["alive", "late", "gone", "absent"]


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service by its workers. absent: none is known, or all have left in good order (scaled to zero)."""

    name: str
    verdict: ServiceVerdict
    workers: int
    alive: int
    in_flight: int
    queued: int


def services(workers: Sequence[Worker], expected: Iterable[str]) -> tuple[Service, ...]:
    """Every service that has workers, and those in `expected` that have none, by name."""
    by_name: dict[str, list[Worker]] = {name: [] for name in expected}
    for one in workers:
        by_name.setdefault(one.service, []).append(one)
    return tuple(_service(name, by_name[name]) for name in sorted(by_name))


def _service(name: str, workers: Sequence[Worker]) -> Service:
    verdicts = {w.verdict for w in workers}
    best: ServiceVerdict = "absent"
    for candidate in ("alive", "late", "gone"):
        if candidate in verdicts:
            best = candidate
            break
    here = [w for w in workers if w.verdict in ("alive", "late")]
    return Service(
        name=name,
        verdict=best,
        workers=len(here),
        alive=sum(w.verdict == "alive" for w in here),
        in_flight=sum(w.heartbeat.in_flight for w in here),
        queued=sum(w.heartbeat.queued for w in here),
    )
