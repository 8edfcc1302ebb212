"""The port on aiokafka. Import it where a client is opened, not at the top of a module: it takes a moment.

Traps that shape this file, each seen in aiokafka 0.14.0:
- Task topics are written in transactions, so only committed records are read.
- `on_partitions_assigned` comes before any record of the new partitions only as long as it does not await (#738).
- StickyPartitionAssignor keeps its memory on the class: each consumer needs a class of its own.
- A batch that the broker refuses leaves a hole in the idempotent producer's sequence, so that producer is thrown away.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.protocol.commit import OffsetFetchRequest

from hocket.contracts.headers import Headers
from hocket.kafka.admin import KafkaUnreachable, raise_closed
from hocket.kafka.client import aiokafka_options
from hocket.kafka.log import Assigned, CommitRefused, KafkaRefused, Raw, Revoked, TooLarge, Written
from hocket.runtime.settings import Settings

log = logging.getLogger(__name__)

_MAX_REQUEST = 2 * 1024 * 1024  # dead letters may be that large, see schemas/topics.yaml
_BATCH = 512 * 1024  # with the default of 16 KB every waiting sender wakes at each drain: half the throughput
_CLOSE_S = 5.0
_START_S = 30.0
_PAUSE_S = 0.2
_MAX_PAUSE_S = 5.0
_REFUSALS = (
    kafka_errors.TopicAuthorizationFailedError,
    kafka_errors.GroupAuthorizationFailedError,
    kafka_errors.ClusterAuthorizationFailedError,
    kafka_errors.AuthenticationFailedError,
    kafka_errors.AuthenticationMethodNotSupported,
    kafka_errors.SaslAuthenticationFailed,
)


def _refused(error: KafkaError, settings: Settings) -> KafkaRefused:
    return KafkaRefused(
        f"Kafka at {settings.bootstrap} refuses user {settings.sasl_username or 'anonymous'!r}: {error!r}. "
        "Its operator must grant the access, or HOCKET_SASL_USERNAME and HOCKET_SASL_PASSWORD must be corrected"
    )


async def _start(make: Callable[[], Any], settings: Settings) -> Any:
    """A started client. Tries for 30 s, as brokers and services often start together; then raises KafkaUnreachable.

    Raises KafkaRefused at once where that cannot help, as with a wrong password.
    """
    give_up = time.monotonic() + _START_S
    while True:
        client = make()
        try:
            await client.start()
        except _REFUSALS as e:
            await _close(client)
            raise _refused(e, settings) from e
        except (KafkaError, OSError) as e:
            await _close(client)
            await raise_closed(settings, e, give_up=time.monotonic() > give_up)
            await asyncio.sleep(_PAUSE_S)
        except BaseException:
            await _close(client)
            raise
        else:
            return client


async def _close(client: Any) -> None:
    """Closes a client of either kind; gives up waiting after seconds, when no broker answers."""
    with contextlib.suppress(KafkaError, OSError, TimeoutError):
        async with asyncio.timeout(_CLOSE_S):
            await client.stop()


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    def __init__(self, on_assigned: Assigned, on_revoked: Revoked) -> None:
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self.settled = False

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self.settled = True
        self._on_assigned([tp.partition for tp in assigned])

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self.settled = False
        await self._on_revoked([tp.partition for tp in revoked])


class KafkaConsumer:
    """A group member on aiokafka. One topic; see the port for the contract."""

    def __init__(self, settings: Settings, *, topic: str, group: str, client_id: str) -> None:
        self._settings = settings
        self._topic = topic
        self._group = group
        self._client_id = client_id
        self._client: Any = None
        self._listener: _Listener | None = None

    def _make(self) -> Any:
        session = self._settings.session_timeout_ms
        return AIOKafkaConsumer(
            **aiokafka_options(self._settings),
            client_id=self._client_id,
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            session_timeout_ms=session,
            # A rebalance is noticed at the next heartbeat, so quick ones shorten it.
            heartbeat_interval_ms=min(500, session // 3),
            rebalance_timeout_ms=max(session, 10_000),
            partition_assignment_strategy=[type("Sticky", (StickyPartitionAssignor,), {})],
            metadata_max_age_ms=30_000,
        )

    @property
    def joined(self) -> bool:
        """Whether the partitions are settled."""
        return self._listener is not None and self._listener.settled

    async def start(self, on_assigned: Assigned, on_revoked: Revoked) -> None:
        """Connects, and joins in the background."""
        self._client = await _start(self._make, self._settings)
        self._listener = _Listener(on_assigned, on_revoked)
        self._client.subscribe([self._topic], listener=self._listener)

    async def poll(self, max_records: int, timeout_ms: int) -> Sequence[Raw]:
        """Records as soon as there are any. Must not be wrapped into a task of its own, see the port."""
        try:
            batches = await self._client.getmany(timeout_ms=timeout_ms, max_records=max_records)
        except _REFUSALS as e:
            raise _refused(e, self._settings) from e
        except KafkaError as e:
            if not e.retriable:
                raise
            log.warning("reading %s: %r, trying again", self._topic, e)
            await asyncio.sleep(_PAUSE_S)
            return ()
        return [_raw(record) for batch in batches.values() for record in batch]

    def pause(self, partitions: Collection[int]) -> None:
        """Polls return nothing of these. What was prefetched of them is thrown away and fetched again later."""
        self._client.pause(*self._held(partitions))

    def resume(self, partitions: Collection[int]) -> None:
        """Ends a pause."""
        self._client.resume(*self._held(partitions))

    def _held(self, partitions: Iterable[int]) -> list[TopicPartition]:
        assigned = self._client.assignment()
        return [tp for p in partitions if (tp := TopicPartition(self._topic, p)) in assigned]

    async def position(self, partition: int) -> int | None:
        """The offset after the last one that polls have passed."""
        try:
            async with asyncio.timeout(_PAUSE_S):
                found: int = await self._client.position(TopicPartition(self._topic, partition))
        except (KafkaError, TimeoutError):
            return None
        return found

    async def commit(self, offsets: Mapping[int, tuple[int, str]]) -> None:
        """Commits next offsets with their metadata."""
        try:
            await self._client.commit({TopicPartition(self._topic, p): o for p, o in offsets.items()})
        except (CommitFailedError, IllegalStateError) as e:
            raise CommitRefused(str(e)) from e
        except _REFUSALS as e:
            raise _refused(e, self._settings) from e

    async def committed(self, partitions: Collection[int]) -> Mapping[int, tuple[int, str] | None]:
        """The group's offsets with their metadata, which the client's own `committed` throws away."""
        while True:
            try:
                return await self._fetch_committed(partitions)
            except _REFUSALS as e:
                raise _refused(e, self._settings) from e
            except KafkaError as e:
                log.warning("reading the offsets of %s: %r, trying again", self._topic, e)
                await asyncio.sleep(_PAUSE_S)

    async def _fetch_committed(self, partitions: Collection[int]) -> dict[int, tuple[int, str] | None]:
        """Asks itself: to the client, a partition that the answer leaves out (an error of the group) is a new one."""
        coordinator = self._client._coordinator  # noqa: SLF001 - nothing public gives the metadata with every error
        await coordinator.ensure_coordinator_known()
        request = OffsetFetchRequest(self._group, [(self._topic, list(partitions))])
        response = await coordinator._send_req(request)  # noqa: SLF001
        found: dict[int, tuple[int, str] | None] = {}
        for partition, offset, metadata, code in (row for _, rows in response.topics for row in rows):
            if code:
                coordinator.coordinator_dead()  # look it up again: it may have moved
                raise kafka_errors.for_code(code)(f"partition {partition}")
            found[partition] = None if offset < 0 else (offset, metadata or "")
        if missing := set(partitions) - set(found):
            coordinator.coordinator_dead()
            raise KafkaError(f"no word about partitions {sorted(missing)}")
        return found

    async def close(self) -> None:
        """Leaves the group."""
        if self._client is not None:
            await _close(self._client)


def _raw(record: Any) -> Raw:
    return Raw(
        record.topic,
        record.partition,
        record.offset,
        record.key,
        record.value,
        tuple(record.headers),
        record.timestamp,
    )


class KafkaProducer:
    """An idempotent producer on aiokafka; replaced by a new one when it is broken."""

    def __init__(self, settings: Settings, *, client_id: str) -> None:
        self._settings = settings
        self._client_id = client_id
        self._client: Any = None
        self._replacing = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    def _make(self) -> Any:
        return AIOKafkaProducer(
            **aiokafka_options(self._settings),
            client_id=self._client_id,
            acks="all",
            enable_idempotence=True,
            max_request_size=_MAX_REQUEST,
            max_batch_size=_BATCH,
        )

    async def start(self) -> None:
        """Connects. Raises KafkaUnreachable when no broker answers."""
        self._client = await _start(self._make, self._settings)

    async def close(self) -> None:
        """Sends what is still buffered; gives up after seconds when no broker answers."""
        await asyncio.gather(_close(self._client), *self._closing)

    async def send(self, topic: str, key: bytes | None, value: bytes, headers: Headers) -> Written:
        """Returns when the record is safe."""
        pause = _PAUSE_S
        while True:
            client = self._client
            try:
                sent = await self._enqueue(client, topic, key, value, headers)
                place = await sent
            except _REFUSALS as e:
                raise _refused(e, self._settings) from e
            except kafka_errors.MessageSizeTooLargeError as e:
                await self._replace(client)
                raise TooLarge(f"the broker's limit for {topic} is below {len(value)} bytes: max.message.bytes") from e
            except KafkaError as e:
                log.warning("writing to %s: %r, trying again in %.1f s", topic, e, pause)
                if not e.retriable:
                    await self._replace(client)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _MAX_PAUSE_S)
            else:
                return Written(topic, place.partition, place.offset)

    async def post(self, topic: str, key: bytes | None, value: bytes, headers: Headers) -> None:
        """Hands the record to the client."""
        try:
            sent = await self._enqueue(self._client, topic, key, value, headers)
        except KafkaError as e:
            log.debug("not written to %s: %r", topic, e)
        else:
            sent.add_done_callback(_forget)

    async def _enqueue(self, client: Any, topic: str, key: bytes | None, value: bytes, headers: Headers) -> Any:
        try:
            return await client.send(topic, value=value, key=key, headers=headers)
        except kafka_errors.MessageSizeTooLargeError as e:
            raise TooLarge(f"{len(value)} bytes for {topic} are more than {_MAX_REQUEST}") from e

    async def _replace(self, broken: Any) -> None:
        async with self._replacing:
            if self._client is not broken:
                return  # somebody else was quicker
            log.warning("replacing the producer: its sequence is broken")
            try:
                self._client = await _start(self._make, self._settings)
            except KafkaUnreachable as e:
                log.warning("%s", e)
                return  # the next attempt to send comes here again
            task = asyncio.create_task(_close(broken))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


def _forget(sent: asyncio.Future[Any]) -> None:
    if not sent.cancelled() and sent.exception() is not None:
        log.debug("a progress record was lost: %r", sent.exception())


@asynccontextmanager
async def open_producer(settings: Settings, client_id: str) -> AsyncIterator[KafkaProducer]:
    """A started producer that is closed at the end."""
    producer = KafkaProducer(settings, client_id=client_id)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.close()
