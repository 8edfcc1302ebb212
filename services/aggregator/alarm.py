"""The alarm clock: reads the timers of the partitions that this process owns, and says on Kafka which are due.

A thread of the aggregator process. It owns what the join owns, and not all partitions: with all, every timer would fire
once in each process, harmlessly but for nothing. During a rebalance a timer may fire in two processes, or late; the row
decides by its own data. Nothing here needs to survive a crash: the timers stand in compacted topics and are read again.

Writes with a plain idempotent producer, outside the join's transactions: a wake-up promises nothing. Fires by the local
clock; what the row takes for the time is the broker's append time of the wake-up.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from hocket.contracts import headers
from hocket.contracts.codec import Codec, CodecError
from hocket.contracts.records import AccountCommand, Record, Timer, Wakeup
from hocket.contracts.topics import Topics
from hocket.kafka.client import librdkafka_options
from hocket.runtime import metrics
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings
from services.aggregator.accounts import TICK
from services.aggregator.timetable import Range, Timetable

log = logging.getLogger(__name__)

_LOOK_S = 0.2
"""How often it asks which partitions the join owns."""
_PARKED_S = 600.0
"""Timers of a lost partition are kept this long, so that it need not be read again when it comes back."""
_MOST = 1_000
"""Wake-ups written before it looks at new timers again."""
_TICK_S = 0.05
_RETRY_S = 1.0
_RANGE_S = 30.0

Place = tuple[str, int]
"""Topic and partition."""


@dataclass(kw_only=True)
class _Followed:
    """One partition of a timer topic: its timers, up to where it was read, and whether that was once its end."""

    timers: Timetable
    position: int = OFFSET_BEGINNING
    caught_up: bool = False
    parked_at: float | None = None


class Alarm:
    """Runs from `with` to its end. `owned` gives the partition numbers whose rows this process holds; thread-safe.

    `on_crash` is called in the alarm's thread when a defect ends it: without an alarm clock deadlines would pass
    unseen, so the process must stop then. A broker that is away is waited for.
    """

    def __init__(
        self,
        settings: Settings,
        codec: Codec,
        *,
        owned: Callable[[], frozenset[int]],
        on_crash: Callable[[], None],
        timetable: Callable[[], Timetable] = Timetable,
    ) -> None:
        self._timetable = timetable
        self._settings, self._codec, self._owned, self._on_crash = settings, codec, owned, on_crash
        self._topics = Topics(settings.prefix)
        self._source = f"aggregator/{settings.instance}"
        self._followed: dict[Place, _Followed] = {}
        self._active: frozenset[Place] = frozenset()
        self._failed: list[tuple[Place, str, int]] = []
        self.crashed = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alarm", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    @property
    def held(self) -> int:
        """Timers held in memory."""
        return sum(len(f.timers) for f in list(self._followed.values()))

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._live()
            except KafkaException as e:
                log.warning("the alarm clock starts again: %s", e)
                self._stop.wait(_RETRY_S)
            except Exception:
                log.exception("the alarm clock has crashed; this aggregator stops, so that another one takes over")
                self.crashed = True
                self._on_crash()
                return

    def _live(self) -> None:
        self._followed, self._active, self._failed = {}, frozenset(), []
        producer = Producer(
            {**librdkafka_options(self._settings), "enable.idempotence": True, "linger.ms": 1,
             "partitioner": "murmur2_random"}
        )  # fmt: skip
        look_at = 0.0
        with _reader(self._settings) as consumer:
            while not self._stop.is_set():
                if monotonic() >= look_at:
                    look_at = monotonic() + _LOOK_S
                    self._follow(consumer)
                    self._look_ahead()
                for message in _some(consumer, _TICK_S):
                    self._take(message)
                self._fire(producer)
                producer.poll(0)
            producer.flush(2)

    def _follow(self, consumer: Consumer) -> None:
        """Reads what the join owns now; what it has lost is parked for a while, then let go."""
        names = (self._topics.timers, self._topics.account_timers)
        wanted = frozenset((n, p) for p in self._owned() for n in names)
        now = monotonic()
        for place, followed in list(self._followed.items()):
            if place not in wanted and followed.parked_at is not None and now - followed.parked_at > _PARKED_S:
                del self._followed[place]
        metrics.TIMERS.set(self.held)
        if wanted == self._active:
            return
        for place in self._active - wanted:
            self._followed[place].parked_at = now
        for place in wanted - self._active:
            if place not in self._followed:
                self._followed[place] = _Followed(timers=self._timetable())
            followed = self._followed[place]
            followed.caught_up, followed.parked_at = False, None
        self._active = wanted
        consumer.assign([TopicPartition(n, p, self._followed[n, p].position) for n, p in sorted(wanted)])

    def _take(self, message: Message) -> None:
        place = (message.topic() or "", message.partition() or 0)
        followed = self._followed.get(place)
        if followed is None or place not in self._active:
            return
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - how librdkafka says it
                followed.caught_up = True
                return
            raise KafkaException(error)
        timer = self._timer(message)
        followed.position = (message.offset() or 0) + 1
        if timer is not None:
            followed.timers.put(timer.request_id, timer.due_at, message.offset() or 0, now_ms())

    def _timer(self, message: Message) -> Timer | None:
        """The timer in a record; a record without value clears the timer of its key. None: not readable, skipped."""
        key, value = message.key(), message.value()
        if value is None:
            return Timer(request_id=(key or b"").decode(errors="replace"))
        try:
            return self._codec.decode(value, Timer)
        except CodecError as e:
            log.warning("skipped a timer in %s/%s/%s: %s", message.topic(), message.partition(), message.offset(), e)
            return None

    def _look_ahead(self) -> None:
        """Reads again the ranges whose minute comes near."""
        for place in self._active:
            followed = self._followed[place]
            for found in followed.timers.coming(now_ms()) if followed.caught_up else ():
                for message in self._range(place, found):
                    timer = self._timer(message)
                    if timer is not None:
                        followed.timers.put_again(timer.request_id, timer.due_at, message.offset() or 0, now_ms())

    def _range(self, place: Place, offsets: Range) -> Iterator[Message]:
        end = monotonic() + _RANGE_S
        with _reader(self._settings) as consumer:
            consumer.assign([TopicPartition(*place, offsets[0])])
            while not self._stop.is_set():
                for message in _some(consumer, _TICK_S):
                    error = message.error()
                    if error is None and (message.offset() or 0) <= offsets[1]:
                        yield message
                    elif error is None or error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
                        return
                    else:
                        raise KafkaException(error)
                if monotonic() > end:
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001

    def _fire(self, producer: Producer) -> None:
        """Writes what is due. Only of partitions read to their end: before it, a timer may have been replaced."""
        now = now_ms()
        failed, self._failed = self._failed, []
        for place, key, at in failed:
            self._ring(producer, place, key, at, now)
        for place in self._active:
            followed = self._followed[place]
            if followed.caught_up:
                for key, at in followed.timers.due(now, _MOST):
                    self._ring(producer, place, key, at, now)

    def _ring(self, producer: Producer, place: Place, key: str, at: int, now: int) -> None:
        topic, record, event_id = self._call(place, key, at, now)
        head = headers.event_headers(
            record=type(record).__name__,
            event_id=event_id,
            source=self._source,
            subject=key,
            at_ms=now,
            trace=headers.traceparent(None, key),
        )

        def delivered(error: Any, _message: Any) -> None:
            if error is not None:
                log.warning("a wake-up was not written and is tried again: %s", error)
                self._failed.append((place, key, at))

        try:
            producer.produce(
                topic, self._codec.encode(record, topic), key.encode(), headers=list(head), on_delivery=delivered
            )
            metrics.WAKEUPS.inc()
        except BufferError:  # the broker is slow: the rest waits for the next round
            self._failed.append((place, key, at))

    def _call(self, place: Place, key: str, at: int, now: int) -> tuple[str, Record, str]:
        if place[0] == self._topics.timers:
            return self._topics.wakeups, Wakeup(request_id=key, due_at=at, at=now), f"{key}/wakeup/{at}"
        command_id = f"{TICK}/{at}"
        tick = AccountCommand(account_id=key, asker="", command_id=command_id, action=TICK, at=now)
        return self._topics.accounts, tick, f"{key}/{command_id}"


@contextmanager
def _reader(settings: Settings) -> Iterator[Consumer]:
    """A read_committed consumer outside any group."""
    options: Mapping[str, Any] = {
        **librdkafka_options(settings),
        "group.id": settings.group("alarm"),  # librdkafka wants one; it is neither joined nor committed to
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
        "fetch.wait.max.ms": 50,
    }
    consumer = Consumer(dict(options))
    try:
        yield consumer
    finally:
        with suppress(KafkaException, RuntimeError):
            consumer.close()


def _some(consumer: Consumer, seconds: float) -> list[Message]:
    """What is there: waits for the first one only."""
    first = consumer.poll(seconds)
    return [] if first is None else [first, *consumer.consume(_MOST, 0)]
