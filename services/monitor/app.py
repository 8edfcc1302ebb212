"""The monitor's live tables, on faust: newest heartbeat of every worker, counts of answers and of dead letters.

faust's at-least-once may lose a record when it is killed at the wrong moment (docs/decisions), which is why it runs
here, where a lost heartbeat does no harm, and not in the aggregator. Its tables keep changelog topics under this
installation's prefix (`<group>-<table>-changelog`), compacted every few minutes so that a restart reads little.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

import orjson
import structlog

from hocket.contracts.codec import Codec, CodecError, R, build
from hocket.contracts.records import Answer, DeadLetter, Heartbeat
from hocket.contracts.topics import Topics
from hocket.kafka.admin import TopicState
from hocket.kafka.client import aiokafka_options, topics_of
from hocket.runtime.settings import Settings
from services.monitor.counts import Tally, decoded, total
from services.monitor.lag import FORGET_MS, Worker, worker

if TYPE_CHECKING:
    import faust

MAX_WORKERS = 2_000
"""So many workers are kept; a new one beyond that is left out until others are forgotten."""
TABLES: Mapping[str, str] = {"heartbeats": "workers", "answers": "answers", "dead-letters": "dead-letters"}
"""The table that each topic feeds."""
_YEAR_S = 31_536_000
MAX_SESSION_S = 30.0
"""faust does not start with a session that is longer than its time-out of requests."""
CHANGELOG_CONFIGS = {
    # faust replays a changelog at every start; Kafka compacts closed segments only, and by default closes one a week.
    "cleanup.policy": "compact",
    "segment.ms": "300000",
    "min.cleanable.dirty.ratio": "0.1",
}

log = structlog.get_logger(__name__)


class Live:
    """The faust app and its tables. Reading never blocks and is right once `app.start()` has returned.

    `topics` are the topics in `TABLES` as they stand on the broker, by full name: a table has as many partitions as the
    topic that feeds it. Its changelog must exist (`changelogs`) before the app starts.
    """

    def __init__(
        self, settings: Settings, codec: Codec, topics: Mapping[str, TopicState], now_ms: Callable[[], int]
    ) -> None:
        names: Topics = topics_of(settings)
        self._codec = codec
        self._now_ms = now_ms
        self.undecodable: dict[str, int] = {}
        self._sources = {(t.name, p) for t in topics.values() for p in range(t.partitions)}
        replication = max(1, topics[names.heartbeats].replication)
        self.app = _faust_app(settings, replication)
        self._heartbeats, self._answers, self._dead_letters = (
            self._table(table, topics[names.prefix + plain]) for plain, table in TABLES.items()
        )
        self._agent(names.heartbeats, self._on_heartbeat)
        self._agent(names.answers, self._on_answer)
        self._agent(names.dead_letters, self._on_dead_letter)

    def _table(self, name: str, source: TopicState) -> Any:
        # Raw bytes on purpose: with any richer type, one entry that does not decode stops faust's recovery for good.
        return self.app.Table(
            name, partitions=source.partitions, key_type=bytes, value_type=bytes, extra_topic_configs=CHANGELOG_CONFIGS
        )

    def _agent(self, name: str, handle: Any) -> None:
        raw = "raw"  # decoded in the handler, so that one bad record is one bad record
        topic = self.app.topic(name, allow_empty=True, key_serializer=raw, value_serializer=raw)

        async def agent(stream: Any) -> None:
            events: AsyncIterator[Any] = stream.events()
            async for event in events:
                handle(event)

        self.app.agent(topic, name=name)(agent)

    def _decode(self, event: Any, expected: type[R]) -> R | None:
        """The record, or None after counting one that is none: it is another service's business to complain."""
        try:
            return self._codec.decode(event.value, expected)
        except CodecError as e:
            topic = event.message.topic
            self.undecodable[topic] = self.undecodable.get(topic, 0) + 1
            log.warning("skipped a record", topic=topic, offset=event.message.offset, error=str(e)[:300])
            return None

    def _on_heartbeat(self, event: Any) -> None:
        seen_ms = round(event.message.timestamp * 1000)
        if self._now_ms() - seen_ms > FORGET_MS:  # the rest of an outage: not worth a table write each
            return
        beat = self._decode(event, Heartbeat)
        if beat is None:
            return
        key = beat.worker.encode()
        if key not in self._heartbeats and len(self._heartbeats) >= MAX_WORKERS - 1:
            self._forget(seen_ms)
        if key in self._heartbeats or len(self._heartbeats) < MAX_WORKERS:
            self._heartbeats[key] = orjson.dumps([seen_ms, beat.model_dump()])
        if event.message.offset % 100 == 0:
            self._forget(seen_ms)

    def _forget(self, now_ms: int) -> None:
        """Drops workers that are long gone. Only inside an agent: faust's tables may be written nowhere else."""
        old = [k for k, row in self._heartbeats.items() if now_ms - orjson.loads(row)[0] > FORGET_MS]
        for key in old:
            self._heartbeats.pop(key)

    def _on_answer(self, event: Any) -> None:
        answer = self._decode(event, Answer)
        if answer is None:
            return
        receipt = answer.receipt
        began = receipt.admitted_at if receipt.submitted_at is None else receipt.submitted_at
        seconds = max(0, receipt.answered_at - began) / 1000  # a client's clock may be ahead
        self._count(self._answers, event, (answer.status,), seconds)

    def _on_dead_letter(self, event: Any) -> None:
        letter = self._decode(event, DeadLetter)
        if letter is not None:
            self._count(self._dead_letters, event, (letter.topic, letter.kind))

    def _count(self, table: Any, event: Any, labels: tuple[str, ...], seconds: float | None = None) -> None:
        key = str(event.message.partition).encode()
        before = decoded(table.get(key))
        after = before.counted(event.message.offset, labels, seconds)
        if after is not before:
            table[key] = after.encoded()

    def whole(self) -> bool:
        """Whether this process reads every partition. With a second monitor in the group each shows only its part."""
        held = {(tp.topic, tp.partition) for tp in self.app.consumer.assignment()}
        return self._sources <= held

    def workers(self, now_ms: int) -> list[Worker]:
        """Every worker that was heard of in the last ten minutes, by id."""
        rows = [orjson.loads(row) for _, row in sorted(self._heartbeats.items())]
        found = [worker(build(Heartbeat, beat), seen_ms, now_ms) for seen_ms, beat in rows]
        return [w for w in found if w.age_ms <= FORGET_MS]

    def answers(self) -> Tally:
        """Answers by status, and how long they took from submission."""
        return total(decoded(row) for row in self._answers.values())

    def dead_letters(self) -> Tally:
        """Dead letters by the topic they were read from and the kind of fault."""
        return total(decoded(row) for row in self._dead_letters.values())


def changelogs(settings: Settings, topics: Mapping[str, TopicState]) -> dict[str, TopicState]:
    """The changelog topic of each table, as faust names it, with the topic that feeds the table."""
    prefix = topics_of(settings).prefix
    return {f"{settings.group('monitor')}-{table}-changelog": topics[prefix + plain] for plain, table in TABLES.items()}


def session_s(settings: Settings) -> float:
    """Seconds after which a dead monitor's partitions are free. Not the whole of a long HOCKET_SESSION_TIMEOUT_MS,
    which is meant for workers with calls in flight: the next monitor would wait so long for its predecessor's."""
    return min(settings.session_timeout_ms / 1000, MAX_SESSION_S)


def _faust_app(settings: Settings, replication: int) -> faust.App:
    servers = ";".join(f"kafka://{server.strip()}" for server in settings.bootstrap.split(","))
    return _app_class()(
        settings.group("monitor"),
        broker=servers,
        broker_credentials=_credentials(settings),
        store="memory://",
        web_enabled=False,
        topic_replication_factor=replication,
        topic_disable_leader=True,
        table_standby_replicas=0,
        # The tables hold offsets of their own, so nothing is counted twice whatever is read again.
        consumer_auto_offset_reset="earliest",
        broker_commit_interval=1.0,
        broker_session_timeout=session_s(settings),
        broker_heartbeat_interval=session_s(settings) / 4,
        broker_request_timeout=MAX_SESSION_S,
        # aiokafka leaves the group for good when faust does not poll in time; faust does not when it has nothing to do.
        broker_max_poll_interval=_YEAR_S,
        producer_request_timeout=30.0,
        stream_buffer_maxsize=512,
        agent_supervisor="mode.CrashingSupervisor",
    )


def _app_class() -> type[faust.App]:
    """faust's App with a consumer that sees committed records only: answers are written in transactions, and those of
    an aborted one were never given. faust has this only together with its exactly_once."""
    import faust
    from faust.transport.drivers import aiokafka as driver

    faust_log = logging.getLogger("faust")

    class CommittedThread(driver.AIOKafkaConsumerThread):
        logger = faust_log

        def _create_worker_consumer(self, transport: Any) -> Any:
            consumer = super()._create_worker_consumer(transport)
            consumer._isolation_level = "read_committed"  # noqa: SLF001 - read at start; there is no other way in
            return consumer

    class CommittedConsumer(driver.Consumer):
        logger = faust_log

        def _new_consumer_thread(self) -> Any:
            return CommittedThread(self, loop=self.loop, beacon=self.beacon)

    class CommittedTransport(driver.Transport):
        Consumer = CommittedConsumer

    class CommittedApp(faust.App):
        logger = faust_log

        def _create_directories(self) -> None:
            """None is needed: the tables live in memory, and a container's file system may be read-only."""

        def _new_transport(self) -> Any:
            return CommittedTransport(self.conf.broker_consumer, self)

    return CommittedApp


def _credentials(settings: Settings) -> Any:
    """The same connection as everywhere else, in faust's words; None for a plain one."""
    import faust
    from faust.auth import OAuthCredentials

    options = aiokafka_options(settings)
    context = options.get("ssl_context")
    if "sasl_oauth_token_provider" in options:
        return OAuthCredentials(oauth_cb=options["sasl_oauth_token_provider"], ssl_context=context)
    if settings.security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            mechanism=options["sasl_mechanism"],
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context is not None else None
