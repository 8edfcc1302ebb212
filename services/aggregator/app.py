"""Quix Streams wiring of the aggregator: four topics into one stateful join, exactly once.

One Kafka transaction covers the table's changelog, everything the join sends and the input offsets (KIP-447); the local
RocksDB copy is written after it. What survives a crash: everything committed; the rest happens again, the same way.
Settings measured in docs/decisions/0001.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatch
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

from hocket.contracts.claims import Blobs
from hocket.contracts.codec import Codec
from hocket.contracts.records import Record, Request
from hocket.contracts.topics import Topics
from hocket.core.poison import DeadRatio
from hocket.kafka.client import librdkafka_options
from hocket.runtime.settings import Settings
from services.aggregator.admission import World
from services.aggregator.edge import Edge, Incoming, Outgoing
from services.aggregator.join import PLANNING, Arrival
from services.aggregator.row import Row

COMMIT_SECONDS = 0.01
"""Length of a transaction: sets the latency of a hop (measured best between 10 and 20 ms)."""
TRANSACTION_TIMEOUT_MS = 10_000
"""A crashed instance holds up read_committed readers at most this long."""
TABLE = "requests-by-id"
"""Name of the table, and part of its changelog's name: it must never change."""
_LOOKUP_SECONDS = 10.0
_ROW = "row"


class PoisonedStream(RuntimeError):  # noqa: N818 - said as an operator would say it
    """Most of a topic cannot be read: its producer is broken. Mend it, then restart; nothing was skipped."""


class _Payload(Serializer):
    """Outgoing records are encoded before they reach Quix."""

    def __call__(self, value: Outgoing, ctx: Any = None) -> bytes:  # noqa: ARG002
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
    return Application(
        broker_address=ConnectionConfig(bootstrap_servers=bootstrap),
        consumer_group=settings.group("aggregator"),
        processing_guarantee="exactly-once",
        auto_offset_reset="earliest",
        # State must never be thrown away silently: stop, and let a person decide.
        auto_recover_from_source_offset_out_of_range=False,
        commit_interval=COMMIT_SECONDS,
        consumer_poll_timeout=COMMIT_SECONDS,
        state_dir=state_dir,
        loglevel=None,
        request_timeout=30,
        consumer_extra_config={
            **client,
            "session.timeout.ms": settings.session_timeout_ms,
            "heartbeat.interval.ms": settings.session_timeout_ms // 3,
            "fetch.wait.max.ms": 20,
            "fetch.queue.backoff.ms": 10,
        },
        producer_extra_config={
            **client,
            "transactional.id": f"{settings.group('aggregator')}-{settings.instance}",
            "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
            "linger.ms": 0,
            "partitioner": "murmur2_random",  # as the Java client: every producer must place keys alike
            "message.max.bytes": 2 * 1024 * 1024,  # a dead letter holds a record near the broker's limit
        },
    )


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
    ) -> None:
        no_time_alignment()
        self._topics = Topics(settings.prefix)
        self._count = count
        self._ratios: dict[str, DeadRatio] = {}
        self.application = quix_application(settings, state_dir)
        self._quix_topics: dict[str, Topic] = {}
        inputs = [self._topic(t) for t in self._inputs()]
        partitions = int(inputs[0].broker_config.num_partitions or 0)
        for name in [self._topics.tasks(s) for s in (PLANNING, *sorted(world.specialties))]:
            self._topic(name)
        replies = ReplyTopics(AdminClient(librdkafka_options(settings)), settings, partitions)
        self._edge = Edge(
            topics=self._topics,
            codec=codec,
            blobs=Blobs(settings.blob_store, settings.allowed_uris, settings.max_attachment_bytes),
            partitions=partitions,
            worker=f"aggregator/{settings.instance}",
            world=lambda record: _world_for(record, world, replies),
            count=count,
        )
        self._wire(inputs)

    def partitions(self) -> list[str]:
        """topic/partition of the inputs it holds; empty while it is not in the group or recovers its table.

        Safe from another thread. Quix has no public call for this.
        """
        if self.application._state_manager.recovery_required:  # noqa: SLF001
            return []
        try:
            held = self.application._consumer.assignment()  # noqa: SLF001
        except (RuntimeError, KafkaException):  # the consumer is closed, or not open yet
            return []
        inputs = self._inputs()
        return [f"{tp.topic}/{tp.partition}" for tp in held if tp.topic in inputs]

    def _inputs(self) -> tuple[str, ...]:
        t = self._topics
        return (t.requests, t.plans, t.results, t.control)

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
        # Quix names the table after the joined topics; a fixed name keeps the rows when a topic joins later.
        joined = joined.__dataframe_clone__(stream=joined.stream, stream_id=TABLE)
        sent = joined.apply(self._process, stateful=True, metadata=True, expand=True)
        sent = sent.set_headers(lambda value, _key, _timestamp, _headers: value.headers)
        sent.to_topic(lambda value, _key, _timestamp, _headers: self._topic(value.topic), key=lambda value: value.key)

    def _process(self, value: Any, key: Any, timestamp: int, headers: Any, state: Any) -> list[Outgoing]:
        context = message_context()
        incoming = Incoming(
            topic=context.topic,
            partition=context.partition,
            offset=context.offset,
            key=key,
            value=value,
            headers=[(k, v or b"") for k, v in headers or ()],
            at=timestamp,
        )
        arrival = self._edge.decode(incoming)
        self._watch(incoming.topic, isinstance(arrival, Arrival))
        if not isinstance(arrival, Arrival):
            return arrival
        stored = state.get_bytes(_ROW)
        row = Row.model_validate_json(stored) if stored is not None else None
        after, outgoing = self._edge.join(row, arrival, incoming)
        if after is not None and after is not row:
            state.set_bytes(_ROW, after.model_dump_json(exclude_defaults=True).encode())
        return outgoing

    def _watch(self, topic: str, good: bool) -> None:
        ratio = self._ratios.setdefault(topic, DeadRatio(window=200, least=100))
        ratio.add(dead=not good)
        if not good and ratio.too_many:
            raise PoisonedStream(
                f"{ratio.dead} of the last {ratio.seen} records of {topic} cannot be read, so this aggregator stops "
                "instead of emptying the topic into dead letters. Mend its producer (see dead-letters), then restart"
            )


def _world_for(record: Record, world: World, replies: ReplyTopics) -> World:
    if isinstance(record, Request) and record.reply_topic and replies.usable(record.reply_topic):
        return replace(world, reply_topics=(record.reply_topic,))
    return world
