"""Quix Streams wiring of the aggregator: six topics into one stateful join, and accounts beside it, exactly once.

One Kafka transaction covers the table's changelog, everything the join sends and the input offsets (KIP-447); the local
RocksDB copy is written after it. What survives a crash: everything committed; the rest happens again, the same way.
Settings measured in docs/decisions/0001.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from quixstreams import Application
from quixstreams.context import message_context
from quixstreams.dataframe.registry import DataFrameRegistry
from quixstreams.kafka.configuration import ConnectionConfig
from quixstreams.models import Topic
from quixstreams.models.serializers import Serializer

from hocket.contracts import headers
from hocket.contracts.claims import Blobs
from hocket.contracts.codec import Codec
from hocket.contracts.records import AccountCommand, Record, Request
from hocket.contracts.topics import Topics
from hocket.core.poison import DeadRatio
from hocket.kafka.client import librdkafka_options
from hocket.runtime import logs, metrics
from hocket.runtime.settings import Settings
from services.aggregator import accounts, tables
from services.aggregator.account_edge import AccountEdge
from services.aggregator.admission import World
from services.aggregator.commits import in_rhythm
from services.aggregator.dispatch import backlog
from services.aggregator.edge import Edge
from services.aggregator.events import Arrival
from services.aggregator.fleet import Fleet
from services.aggregator.posting import Incoming, Outgoing
from services.aggregator.pressure import Pressure
from services.aggregator.pulse import Pulse
from services.aggregator.recent import Recent
from services.aggregator.row import Row
from services.aggregator.tables import ROW, Totals
from services.aggregator.tasks import PLANNING

log = logging.getLogger(__name__)

POLL_SECONDS = 0.05
"""How long an idle join waits for a record before it looks at anything else."""
TRANSACTION_TIMEOUT_MS = 10_000
"""A crashed instance holds up read_committed readers at most this long."""
TABLE = "requests-by-id"
ACCOUNTS = "accounts-by-id"
"""Names of the tables, and parts of their changelogs' names: they must never change."""
RECENT_BYTES = 16 * 1024 * 1024
"""So many bytes of rows are also held as values (some ten times their size): those in flight, not all."""
_LOOKUP_SECONDS = 10.0


class PoisonedStream(RuntimeError):  # noqa: N818 - said as an operator would say it
    """Most of a topic cannot be read: its producer is broken. Mend it, then restart; nothing was skipped."""


class _Payload(Serializer):
    """Outgoing records are encoded before they reach Quix."""

    def __call__(self, value: Outgoing, ctx: Any = None) -> Any:  # noqa: ARG002
        return value.payload


class ReplyTopics:
    """Which topics a request may name for its answer: allowed names that exist with the answers' partition count."""

    def __init__(self, admin: AdminClient, settings: Settings, partitions: int) -> None:
        self._admin, self._settings, self._partitions = admin, settings, partitions
        self._known: dict[str, tuple[float, bool]] = {}

    def usable(self, topic: str) -> bool:
        """Whether answers may go there. Blocks on the broker at most once per topic and ten seconds."""
        pattern = [self._settings.prefix + p for p in self._settings.reply_topics]
        if not any(fnmatch(topic, p) for p in pattern):
            return False
        at, found = self._known.get(topic, (0.0, False))
        if monotonic() - at > _LOOKUP_SECONDS:
            found = self._look_up(topic)
            self._known[topic] = (monotonic(), found)
        return found

    def _look_up(self, topic: str) -> bool:
        try:
            meta = self._admin.list_topics(topic, timeout=5).topics.get(topic)
        except KafkaException:
            return False
        return meta is not None and meta.error is None and len(meta.partitions) == self._partitions


def no_time_alignment() -> None:
    """Lets Quix read concatenated topics as they come instead of by timestamp.

    The join does not rely on the order between topics, and waiting for idle ones costs 1.5 s a hop (decision 0001).
    Private to Quix: its version is pinned, and tests/kafka/test_aggregator.py guards the hop's latency.
    """
    setattr(DataFrameRegistry, "requires_time_alignment", property(lambda _self: False))  # noqa: B010


def quix_application(settings: Settings, state_dir: Path) -> Application:
    """The Quix application; its transactional id is stable per instance, its state folder belongs to one process."""
    client = librdkafka_options(settings)
    bootstrap = client.pop("bootstrap.servers")
    application = Application(
        broker_address=ConnectionConfig(bootstrap_servers=bootstrap),
        consumer_group=settings.group("aggregator"),
        processing_guarantee="exactly-once",
        auto_offset_reset="earliest",
        # State must never be thrown away silently: stop, and let a person decide.
        auto_recover_from_source_offset_out_of_range=False,
        consumer_poll_timeout=POLL_SECONDS,
        state_dir=state_dir,
        loglevel=None,
        request_timeout=30,
        consumer_extra_config={
            **client,
            # A member with a name that comes back gets its partitions back at once: without, the group first waits
            # for the session time-out of the dead one. In turn, one that stops for good is noticed only by that.
            "group.instance.id": settings.instance,
            "session.timeout.ms": settings.session_timeout_ms,
            "heartbeat.interval.ms": settings.session_timeout_ms // 3,
            "fetch.wait.max.ms": 20,
            "fetch.queue.backoff.ms": 10,
        },
        producer_extra_config={
            **client,
            "transactional.id": f"{settings.group('aggregator')}-{settings.instance}",
            "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
            # Nobody sees a record before the commit, and the commit flushes: until then, one request holds them all.
            "linger.ms": 50,
            "partitioner": "murmur2_random",  # as the Java client: every producer must place keys alike
            "message.max.bytes": 2 * 1024 * 1024,  # a dead letter holds a record near the broker's limit
        },
    )
    return in_rhythm(application)


class Aggregator:
    """The join of one installation. Build it, then `application.run()`: synchronous, until SIGTERM or `stop()`."""

    def __init__(
        self,
        *,
        settings: Settings,
        codec: Codec,
        world: World,
        state_dir: Path,
        count: Callable[[str, str], None],
        fleet: Callable[[], Fleet] = Fleet,
    ) -> None:
        no_time_alignment()
        self._topics = Topics(settings.prefix)
        self._count = count
        self._totals: Mapping[str, Totals] = {}
        self._count_at = 0.0
        self._ratios: dict[str, DeadRatio] = {}
        self._recent: Recent[Row] = Recent(RECENT_BYTES)
        self._pressure, self._joined = Pressure(), 0
        self._pulse = Pulse()
        self.application = quix_application(settings, state_dir)
        self._quix_topics: dict[str, Topic] = {}
        inputs = [self._topic(t) for t in self._inputs()]
        partitions = int(inputs[0].broker_config.num_partitions or 0)
        for name in [self._topics.tasks(s) for s in (PLANNING, *sorted(world.specialties))]:
            self._topic(name)
        replies = ReplyTopics(AdminClient(librdkafka_options(settings)), settings, partitions)
        worker = f"aggregator/{settings.instance}"
        self._edge = Edge(
            topics=self._topics,
            codec=codec,
            blobs=Blobs(settings.blob_store, settings.allowed_uris, settings.max_attachment_bytes),
            partitions=partitions,
            worker=worker,
            world=lambda record: _world_for(record, world, replies, fleet(), pressed=self._pressure.on),
            count=count,
            group=settings.group("aggregator"),
        )
        self._accounts = AccountEdge(
            topics=self._topics, codec=codec, partitions=partitions, worker=worker, count=count
        )
        self._wire(inputs)

    def partitions(self) -> list[str]:
        """topic/partition of the inputs it holds; empty while it is not in the group or recovers its tables.

        Safe from another thread. Quix has no public call for this.
        """
        if self.application._state_manager.recovery_required:  # noqa: SLF001
            return []
        # Quix makes its client when it is first asked for: asked by two threads at once it makes two, and may subscribe
        # one of them and poll the other for ever.
        client = self.application._consumer._inner_consumer  # noqa: SLF001
        try:
            held = client.assignment() if client is not None else ()
        except (RuntimeError, KafkaException):  # the client is closed
            return []
        inputs = (*self._inputs(), self._topics.accounts)
        return [f"{tp.topic}/{tp.partition}" for tp in held if tp.topic in inputs]

    def owned(self) -> frozenset[int]:
        """Numbers of the partitions whose rows it holds. Safe from another thread."""
        wanted = self._topics.requests + "/"
        return frozenset(int(p.removeprefix(wanted)) for p in self.partitions() if p.startswith(wanted))

    def moving(self) -> bool:
        """Whether the join does its rounds. Safe from another thread."""
        return self._pulse.moving(monotonic(), recovering=self.application._state_manager.recovery_required)  # noqa: SLF001

    def totals(self) -> Mapping[str, Totals]:
        """What the tables held in these partitions a second ago, by table. Safe from another thread."""
        return self._totals

    def _count_rows(self) -> None:
        """Between two records, because a store that another thread reads while it is revoked would not close."""
        if monotonic() < self._count_at:
            return
        self._feel(1 + monotonic() - self._count_at)
        self._count_at = monotonic() + 1
        stores = self.application._state_manager.stores  # noqa: SLF001 - Quix has no public call for this
        tables_by_name = (("requests", TABLE), ("accounts", ACCOUNTS))
        self._totals = {name: tables.read(stores[table]["default"].partitions) for name, table in tables_by_name}

    def _feel(self, seconds: float) -> None:
        """Looks how far behind it is, by the ends that came with the last fetches: asks no broker."""
        done, self._joined = self._joined, 0
        client = self.application._consumer._inner_consumer  # noqa: SLF001 - Quix has no public call for this
        if client is None:
            return
        waiting, inputs = 0, self._inputs()
        for place in client.position([tp for tp in client.assignment() if tp.topic in inputs]):
            _, end = client.get_watermark_offsets(place, cached=True)
            waiting += max(0, end - place.offset) if place.offset >= 0 else 0
        if self._pressure.look(waiting, done, seconds):
            metrics.PRESSED.set(self._pressure.on)
            told = "is behind, so chains of simple tasks are bundled" if self._pressure.on else "has caught up"
            log.warning("the join %s: %d records wait, %d were joined in %.1f s", told, waiting, done, seconds)

    def _inputs(self) -> tuple[str, ...]:
        t = self._topics
        return (t.requests, t.plans, t.results, t.control, t.grants, t.wakeups)

    def _topic(self, name: str) -> Topic:
        if name not in self._quix_topics:
            self._quix_topics[name] = self.application.topic(
                name, key_deserializer="bytes", value_deserializer="bytes", key_serializer="bytes",
                value_serializer=_Payload(),
            )  # fmt: skip
        return self._quix_topics[name]

    def _wire(self, inputs: list[Topic]) -> None:
        joined = self.application.dataframe(inputs[0])
        for topic in inputs[1:]:
            joined = joined.concat(self.application.dataframe(topic))
        self._stateful(joined, TABLE, self._process)
        commands = self.application.dataframe(self._topic(self._topics.accounts))
        self._stateful(commands, ACCOUNTS, self._process_account)
        rounds = self.application._dataframe_registry  # noqa: SLF001 - as above
        rounds.register_periodic_task(lambda: self._pulse.beat(monotonic()))
        rounds.register_periodic_task(self._count_rows)

    def _stateful(self, stream: Any, table: str, process: Callable[..., list[Outgoing]]) -> None:
        # Quix names a table after the joined topics; a fixed name keeps the rows when a topic joins later.
        named = stream.__dataframe_clone__(stream=stream.stream, stream_id=table)
        sent = named.apply(process, stateful=True, metadata=True, expand=True)
        sent = sent.set_headers(lambda value, _key, _timestamp, _headers: value.headers)
        sent.to_topic(lambda value, _key, _timestamp, _headers: self._topic(value.topic), key=lambda value: value.key)

    def _process(self, value: Any, key: Any, timestamp: int, headers: Any, state: Any) -> list[Outgoing]:
        incoming = _incoming(value, key, timestamp, headers)
        self._joined += 1
        with logs.about(partial(_about, incoming)):
            return self._join(incoming, state)

    def _join(self, incoming: Incoming, state: Any) -> list[Outgoing]:
        arrival = self._edge.decode(incoming)
        self._watch(incoming.topic, isinstance(arrival, Arrival))
        if not isinstance(arrival, Arrival):
            return arrival
        stored = state.get_bytes(ROW)
        row = self._row(arrival.key.encode(), stored)
        after, outgoing = self._edge.join(row, arrival, incoming)
        if after is not row:
            kept = after.model_dump_json(exclude_defaults=True).encode() if after is not None else None
            tables.save(state, stored, kept, expected=backlog(after), no_longer=backlog(row))
            self._recent.put(arrival.key.encode(), kept, after)
        return outgoing

    def _row(self, key: bytes, stored: bytes | None) -> Row | None:
        if stored is None:
            return None
        return self._recent.get(key, stored) or Row.model_validate_json(stored)

    def _process_account(self, value: Any, key: Any, timestamp: int, headers: Any, state: Any) -> list[Outgoing]:
        incoming = _incoming(value, key, timestamp, headers)
        command = self._accounts.decode(incoming)
        self._watch(incoming.topic, isinstance(command, AccountCommand))
        if not isinstance(command, AccountCommand):
            return command
        stored = state.get_bytes(ROW)
        account = accounts.load(command.account_id, stored) if stored is not None else None
        after, outgoing = self._accounts.act(account, command, incoming)
        if after is not account:
            tables.save(state, stored, accounts.stored(after) if after is not None else None)
        return outgoing

    def _watch(self, topic: str, good: bool) -> None:
        ratio = self._ratios.setdefault(topic, DeadRatio(window=200, least=100))
        ratio.add(dead=not good)
        if not good and ratio.too_many:
            raise PoisonedStream(
                f"{ratio.dead} of the last {ratio.seen} records of {topic} cannot be read, so this aggregator stops "
                "instead of emptying the topic into dead letters. Mend its producer (see dead-letters), then restart"
            )


def _incoming(value: Any, key: Any, timestamp: int, headers: Any) -> Incoming:
    context = message_context()
    return Incoming(
        topic=context.topic,
        partition=context.partition,
        offset=context.offset,
        key=key,
        value=value,
        headers=[(k, v or b"") for k, v in headers or ()],
        at=timestamp,
    )


def _about(incoming: Incoming) -> logs.Fields:
    """What log lines say of the record that is joined. Its transaction has not written anything yet, so what is sent
    has ids but no offsets."""
    key = (incoming.key or b"").decode(errors="replace")
    return {
        "request_id": key,
        "trace_id": headers.traceparent(incoming.headers, key).split("-")[1],
        "read": f"{incoming.topic}/{incoming.partition}/{incoming.offset}",
        "read_id": headers.get(incoming.headers, "ce_id"),
    }


def _world_for(record: Record, world: World, replies: ReplyTopics, fleet: Fleet, *, pressed: bool) -> World:
    if isinstance(record, Request) and record.reply_topic and replies.usable(record.reply_topic):
        return replace(world, fleet=fleet, pressed=pressed, reply_topics=(record.reply_topic,))
    return replace(world, fleet=fleet, pressed=pressed)
