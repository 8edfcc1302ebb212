"""What leaves a consumer: outcomes that must be safe before anything is committed, and progress that may get lost."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from hocket.contracts import headers
from hocket.contracts.codec import SINGLE_OBJECT, Codec, RegistryError
from hocket.contracts.records import DeadLetter, Record
from hocket.kafka.client import MAX_RECORD_BYTES
from hocket.kafka.job import Ident
from hocket.kafka.journal import Journal, Left
from hocket.kafka.log import Message, Producer, Raw, TooLarge, Written
from hocket.kafka.recall import Outcomes, Recall

log = logging.getLogger(__name__)

MAX_PROGRESS = 1000
"""Progress records that wait to be written; beyond that they are dropped and counted."""
_GATHER_S = 0.05
"""So long progress waits for more of it, or for an outcome to go with: requests cost a broker more than records."""
_REGISTRY_PAUSE_S = 1.0
_MARK = 5  # bytes of a value that show which schema it needs
R = TypeVar("R", bound=Record)
T = TypeVar("T")


@dataclass(kw_only=True, slots=True)
class Outgoing:
    """A record to send. `event_id` is derived from what it is about, so that a repetition carries the same id."""

    topic: str
    key: str
    record: Record
    event_id: str


DEAD_LETTER_BYTES = 2 * 1024 * 1024 - 16 * 1024
"""Stays clear of the limit of the topic `dead-letters`."""


def dead_letter(raw: Raw, *, kind: str, reason: str, service: str, at_ms: int) -> DeadLetter:
    """The record with everything needed to fix and replay it. Of headers with one name, the last is kept."""
    return DeadLetter(
        topic=raw.topic,
        partition=raw.partition,
        offset=raw.offset,
        key=raw.key,
        value=raw.value,
        headers={name: value or b"" for name, value in raw.headers},
        kind=kind,
        reason=reason,
        service=service,
        timestamp=max(0, raw.timestamp),
        at=at_ms,
    )


class Outbox:
    """Encodes and writes records of one source; `source` is `<service>/<worker>`. With a journal, outcomes are kept
    there until they are safe."""

    def __init__(
        self,
        *,
        producer: Producer,
        codec: Codec,
        source: str,
        clock: Callable[[], int],
        on_drop: Callable[[], object],
        journal: Journal | None = None,
    ) -> None:
        self._journal = journal
        self._producer = producer
        self._codec = codec
        self._source = source
        self._clock = clock
        self._on_drop = on_drop
        self._known: set[object] = set()
        self._progress: deque[tuple[Outgoing, str]] = deque()
        self._waits = asyncio.Event()
        self._posting = asyncio.Lock()  # progress keeps its order
        self.dropped = 0

    async def encode(self, outgoing: Outgoing, trace: str, limit: int = MAX_RECORD_BYTES) -> Message:
        """The record's bytes and headers. Waits while a schema registry is out of reach. Raises TooLarge."""
        name = type(outgoing.record).__name__
        if (outgoing.topic, name) in self._known:
            value = self._codec.encode(outgoing.record, outgoing.topic)
        else:
            value = await self._patiently(
                (outgoing.topic, name), lambda: self._codec.encode(outgoing.record, outgoing.topic)
            )
        if len(value) > limit:
            raise TooLarge(f"the {name} has {len(value)} bytes, at most {limit} can be sent through {outgoing.topic}")
        return Message(
            topic=outgoing.topic,
            key=outgoing.key.encode(),
            value=value,
            headers=headers.event_headers(
                record=name,
                event_id=outgoing.event_id,
                source=self._source,
                subject=outgoing.key,
                at_ms=self._clock(),
                trace=trace,
            ),
        )

    async def decode(self, value: bytes | None, expected: type[R]) -> R:
        """The record in the bytes. Waits while a schema registry is out of reach. Raises CodecError."""
        return await self._patiently((value or b"")[:_MARK], lambda: self._codec.decode(value, expected))

    def decode_now(self, value: bytes | None, expected: type[R]) -> R | None:
        """The record in the bytes; None when a registry may have to be asked for its schema. Raises CodecError."""
        data = value or b""
        at_hand = data[:2] == SINGLE_OBJECT or data[:_MARK] in self._known
        return self._codec.decode(data, expected) if at_hand else None

    async def _patiently(self, schema: object, call: Callable[[], T]) -> T:
        """Runs the codec; in a thread the first time that it sees a schema, because a registry may have to be asked."""
        if schema in self._known:
            return call()
        while True:
            try:
                found = await asyncio.to_thread(call)
            except RegistryError as e:
                log.warning("%s; trying again", e)
                await asyncio.sleep(_REGISTRY_PAUSE_S)
            else:
                self._known.add(schema)
                return found

    async def send(self, messages: Sequence[Message]) -> Sequence[Written]:
        """Where they stand, when all of them are safe; queued progress goes before. Raises TooLarge, KafkaRefused."""
        if self._progress or self._posting.locked():
            await self._post_progress()
        if len(messages) == 1:  # the usual case, without a task of its own
            return (await self._producer.send(*messages[0]),)
        return await asyncio.gather(*[self._producer.send(*m) for m in messages])

    async def send_outcome(self, ident: Ident, messages: Sequence[Message]) -> Sequence[Written]:
        """As `send`, for all that a task's end has to say. Kept from the call on: see `finish_last_run`."""
        if self._journal is None:
            return await self.send(messages)
        number = self._journal.keep(ident, self._clock(), messages)
        written = await self.send(messages)
        self._journal.safe(number)
        return written

    async def finish_last_run(self, recall: Recall | None) -> Sequence[Ident]:
        """Sends outcomes that an earlier run had kept, and that are not found where they belong. Returns which tasks
        are done with that, when all are safe. Raises KafkaRefused."""
        if self._journal is None or not (left := self._journal.left):
            return ()
        times = [outcome.at_ms for outcome in left]
        known = await recall.written(min(times), max(times)) if recall else {}
        sent = await asyncio.gather(*[self._finish(self._journal, outcome, known) for outcome in left])
        log.info("%s: tasks that its last run had ended and not seen safe: %d", self._source, sum(sent))
        return [outcome.ident for outcome, safe in zip(left, sent, strict=True) if safe]

    async def _finish(self, journal: Journal, outcome: Left, known: Outcomes) -> bool:
        since = outcome.ident[2]  # an older outcome is of another delivery, see Tenure
        missing = [m for m in outcome.messages if known.get(headers.get(m.headers, "ce_id") or "", -1) < since]
        sent = True
        try:
            await self.send(missing)
        except TooLarge as e:
            log.warning("an outcome of the last run cannot be sent, its task runs again: %s", e)
            sent = False
        journal.safe(outcome.number)
        return sent

    def close(self) -> None:
        """Lets go of the journal. May be repeated."""
        if self._journal is not None:
            self._journal.close()

    async def write(self, outgoing: Outgoing, trace: str) -> None:
        """Encodes and sends one record; returns when it is safe. Raises TooLarge, KafkaRefused."""
        await self.send([await self.encode(outgoing, trace)])

    def emit(self, outgoing: Outgoing, trace: str) -> None:
        """Queues a progress record; never waits. Drops it when Kafka is too slow."""
        if len(self._progress) >= MAX_PROGRESS:
            self._drop("Kafka is too slow")
            return
        self._progress.append((outgoing, trace))
        self._waits.set()

    async def write_progress(self) -> None:
        """Writes queued progress until cancelled."""
        while True:
            await self._waits.wait()
            await asyncio.sleep(_GATHER_S)
            await self._post_progress()

    async def progress_written(self) -> None:
        """Returns when nothing is queued any more."""
        await self._post_progress()

    async def _post_progress(self) -> None:
        async with self._posting:
            self._waits.clear()
            while self._progress:
                outgoing, trace = self._progress.popleft()
                try:
                    message = await self.encode(outgoing, trace)
                    await self._producer.post(message.topic, message.key, message.value, message.headers)
                except TooLarge as e:
                    self._drop(str(e))

    def _drop(self, why: str) -> None:
        self.dropped += 1
        self._on_drop()
        log.debug("progress not written: %s", why)
