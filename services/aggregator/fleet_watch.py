"""Watches the fleet: the latest heartbeats and signs of life, in memory, for the join to decide with.

A thread of the aggregator process that reads heartbeats (all) and progress (of the partitions whose rows this process
holds) without a group. Nothing is kept: after a restart the view is complete again within a heartbeat, and until then
the join decides as if nothing were known.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any, TypeVar

from confluent_kafka import OFFSET_END, Consumer, KafkaException, Message, TopicPartition

from hocket.contracts.codec import Codec, CodecError
from hocket.contracts.records import Heartbeat, Progress
from hocket.contracts.topics import Topics
from hocket.kafka.client import librdkafka_options
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings
from services.aggregator.fleet import Fleet, SpecialtyView
from services.aggregator.tasks import PLANNING

log = logging.getLogger(__name__)

ALIVE_MS = 10_000
"""A worker that has not beaten for so long is not counted."""
SIGNS_MS = 600_000
"""How long a sign of life is remembered ..."""
MAX_SIGNS = 50_000
"""... and of how many tasks at most: the oldest are forgotten, and those tasks then count from their dispatch."""
_SAMPLE_MS = 1_000
"""Of one request at most one progress record in this time is decoded; those that tell of a begin (a task that does not
stream has only that one) need not be. Signs only matter by tens of seconds."""
_LOOK_S = 1.0
_MOST = 1_000
_PLANNER = "planner"
_LIFE = ("assigned", "text", "other")
"""What only a worker that has begun a task, and has not ended it, tells."""

K = TypeVar("K")


def summed(beats: Iterable[Heartbeat], now: int) -> dict[str, SpecialtyView]:
    """One view for each specialty (the planner's among them) of the workers that beat lately.

    Times of several workers are weighed by what each of them ends. p95 is the worst of them, so that none of their
    tasks is taken for stuck too early.
    """
    by_name: dict[str, list[Heartbeat]] = {}
    for beat in beats:
        name = beat.specialty if beat.specialty is not None else PLANNING if beat.service == _PLANNER else None
        if name is not None and now - beat.at < ALIVE_MS and beat.state == "running":
            by_name.setdefault(name, []).append(beat)
    return {name: _view(found) for name, found in by_name.items()}


def _view(beats: list[Heartbeat]) -> SpecialtyView:
    timed = [(b.p50_millis, max(b.per_second, 0.01)) for b in beats if b.p50_millis is not None]
    weight = sum(w for _, w in timed)
    slow = [b.p95_millis for b in beats if b.p95_millis is not None]
    return SpecialtyView(
        p50_millis=sum(p * w for p, w in timed) / weight if timed else None,
        p95_millis=max(slow, default=None),
        workers=len(beats),
        queue=sum(b.queued for b in beats),
        per_second=sum(b.per_second for b in beats),
    )


class FleetWatch:
    """Runs while `following`. A broker that is away makes the view empty, which holds nothing back."""

    def __init__(
        self,
        settings: Settings,
        codec: Codec,
        variants: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self._settings, self._codec, self._variants = settings, codec, variants or {}
        self._owned: Callable[[], frozenset[int]] = frozenset
        self._topics = Topics(settings.prefix)
        self._beats: dict[str, Heartbeat] = {}
        self._signs: dict[str, int] = {}
        self._sampled: dict[bytes, int] = {}
        self._view = Fleet()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fleet", daemon=True)

    @contextmanager
    def following(self, owned: Callable[[], frozenset[int]]) -> Iterator[None]:
        """Reads until its end. `owned` gives the partition numbers whose rows this process holds; thread-safe."""
        self._owned = owned
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join(timeout=5)

    def view(self) -> Fleet:
        """The fleet of at most a second ago. Never blocks."""
        return self._view

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._live()
            except KafkaException as e:
                log.warning("the fleet is watched again in a second: %s", e)
                self._beats, self._view = {}, Fleet()
                self._stop.wait(_LOOK_S)

    def _live(self) -> None:
        consumer = Consumer(
            {
                **librdkafka_options(self._settings),
                "group.id": self._settings.group(
                    "fleet"
                ),  # librdkafka wants one; it is neither joined nor committed to
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "latest",
                "fetch.wait.max.ms": 500,
            }
        )
        followed: frozenset[int] | None = None
        look_at = 0.0
        try:
            while not self._stop.is_set():
                if monotonic() >= look_at:
                    look_at = monotonic() + _LOOK_S
                    owned = self._owned()
                    if owned != followed:
                        consumer.assign(self._places(owned))
                        followed = owned
                    self._look(now_ms())
                first = consumer.poll(0.2)
                for message in [] if first is None else [first, *consumer.consume(_MOST, 0)]:
                    self._take(message)
        finally:
            with suppress(KafkaException, RuntimeError):
                consumer.close()

    def _places(self, owned: frozenset[int]) -> list[TopicPartition]:
        progress = [TopicPartition(self._topics.progress, p, OFFSET_END) for p in sorted(owned)]
        return [TopicPartition(self._topics.heartbeats, 0, OFFSET_END), *progress]

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is not None:
            raise KafkaException(error)
        now = now_ms()
        with suppress(CodecError):  # what cannot be read says nothing
            if message.topic() == self._topics.heartbeats:
                beat = self._codec.decode(message.value(), Heartbeat)
                self._beats[beat.worker] = beat.model_copy(update={"at": now})
                return
            begun = _begun(message.headers())
            if begun is not None:
                self._note(begun, now)
            else:
                self._sign(message.key() or b"", message.value(), now)

    def _sign(self, key: bytes, value: Any, now: int) -> None:
        if now - self._sampled.get(key, 0) < _SAMPLE_MS:
            return
        progress = self._codec.decode(value, Progress)
        if progress.task_id is None or progress.worker is None or progress.kind not in _LIFE:
            return
        self._sampled.pop(key, None)
        self._sampled[key] = now
        self._note(f"{progress.request_id}/{progress.task_id}", now)

    def _note(self, task: str, now: int) -> None:
        self._signs.pop(task, None)
        self._signs[task] = now

    def _look(self, now: int) -> None:
        """Forgets what is old and makes the view anew."""
        self._beats = {k: b for k, b in self._beats.items() if now - b.at < ALIVE_MS}
        self._signs = _bounded(self._signs, now - SIGNS_MS)
        self._sampled = _bounded(self._sampled, now - _SAMPLE_MS)
        self._view = Fleet(
            specialties=summed(self._beats.values(), now), variants=self._variants, signs=dict(self._signs)
        )


def _begun(headers: list[tuple[str, Any]] | None) -> str | None:
    """The task ("request/task") that a worker has begun, if the record's id says that: half of all progress, so it is
    not decoded."""
    for name, value in headers or ():
        if name == "ce_id" and value is not None and value.endswith(b"/assigned"):
            task: str = str(value, "utf-8", "replace").rsplit("/", 2)[0]
            return task
    return None


def _bounded(times: dict[K, int], since: int) -> dict[K, int]:
    kept = {k: at for k, at in times.items() if at >= since}
    return dict(list(kept.items())[-MAX_SIGNS:])
