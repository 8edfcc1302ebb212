"""Between bytes and the pure join: what comes in is decoded or dead-lettered, what goes out is encoded for its topic.

Everything here is a function of the record and the row, apart from claim checks, which write content-addressed blobs
(so a replay after a crash writes the same ones). Raises ClaimError or RegistryError when the infrastructure fails: the
process must stop then, so that nothing is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hocket.contracts import claims, headers
from hocket.contracts.codec import Codec, CodecError
from hocket.contracts.records import Control, DeadLetter, Plan, Record, Request, Result, TaskInput
from hocket.contracts.topics import Topics
from hocket.kafka.client import partition_of
from services.aggregator.admission import World
from services.aggregator.join import Arrival, Dispatch, Drop, Effect, Reply, Send, address, give_up, step
from services.aggregator.row import Row

FORWARDED = "hocket-forwarded"
"""Header of a record that the aggregator has moved to the partition of its key, once."""
ROW_LIMIT = 128 * 1024
"""Bytes of outputs that may stay inside a row; more goes to the blob store, so that a row fits into one record."""
MAX_KEY_BYTES = 200


@dataclass(frozen=True, kw_only=True)
class Incoming:
    """One record as it was read; `at` is its append time in milliseconds."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    at: int


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """One record to be produced in the transaction of the record that caused it."""

    topic: str
    key: bytes | None
    payload: bytes
    headers: list[tuple[str, bytes]]


class Edge:
    """The aggregator's translation between topics and the join. `count(event, label)` feeds the metrics."""

    def __init__(
        self,
        *,
        topics: Topics,
        codec: Codec,
        blobs: claims.Blobs,
        partitions: int,
        worker: str,
        world: Callable[[Record], World],
        count: Callable[[str, str], None],
    ) -> None:
        self._topics, self._codec, self._blobs, self._partitions = topics, codec, blobs, partitions
        self._worker, self._world, self._count = worker, world, count
        self._types: dict[str, type[Request | Plan | Result | Control]] = {
            topics.requests: Request,
            topics.plans: Plan,
            topics.results: Result,
            topics.control: Control,
        }

    def decode(self, incoming: Incoming) -> Arrival | list[Outgoing]:
        """The record to join; or what to send instead: a dead letter, or the record itself to its right partition."""
        try:
            record = self._codec.decode(incoming.value, self._types[incoming.topic])
        except CodecError as e:
            return self.dead_letter(incoming, e.kind, str(e))
        key = record.request_id.encode()
        if not 0 < len(key) <= MAX_KEY_BYTES:
            return self.dead_letter(incoming, "invalid", f"request_id must have 1 to {MAX_KEY_BYTES} bytes")
        if key == incoming.key and partition_of(key, self._partitions) == incoming.partition:
            trace = headers.traceparent(incoming.headers, record.request_id)
            return Arrival(key=record.request_id, record=record, trace=trace)
        if headers.get(incoming.headers, FORWARDED):
            return self.dead_letter(incoming, "misrouted", "forwarded once and still not in the partition of its key")
        self._count("forwarded", incoming.topic)
        mark = [*incoming.headers, (FORWARDED, b"1")]
        return [Outgoing(topic=incoming.topic, key=key, payload=incoming.value or b"", headers=mark)]

    def join(self, row: Row | None, arrival: Arrival, incoming: Incoming) -> tuple[Row | None, list[Outgoing]]:
        """The row after the record, and what must be produced with it. A crash of the step ends only its request."""
        arrival = self._shrunk(arrival)
        letters: list[Outgoing] = []
        try:
            after, effects = step(row, arrival, incoming.at, self._world(arrival.record))
        except Exception as e:  # noqa: BLE001 - a bug in the join must not stop the stream: dead letter, failed answer
            letters = self.dead_letter(incoming, "crashed", f"{type(e).__name__}: {e}")
            after, effects = give_up(row, arrival, incoming.at)
        trace = (row or after or Row(phase="ended")).trace or arrival.trace
        out = [o for effect in effects if (o := self._outgoing(effect, incoming.at, trace)) is not None]
        return self._bounded(after), letters + out

    def _shrunk(self, arrival: Arrival) -> Arrival:
        if isinstance(arrival.record, Request):
            return replace(arrival, record=claims.shrink_request(arrival.record, self._blobs.put))
        if isinstance(arrival.record, Result):
            return replace(arrival, record=claims.shrink_result(arrival.record, self._blobs.put))
        return arrival

    def _bounded(self, row: Row | None) -> Row | None:
        """The row with as many outputs as needed moved to the blob store."""
        if row is None or row.phase != "running":
            return row
        held = tuple(
            TaskInput(task_id=i, output=t.result.output)
            for i, t in row.tasks.items()
            if t.result is not None and t.result.output is not None
        )
        kept = claims.shrink_inputs(held, self._blobs.put, ROW_LIMIT)
        if kept is held:
            return row
        tasks = dict(row.tasks)
        for k in kept:
            task = tasks[k.task_id]
            if task.result is not None:
                result = task.result.model_copy(update={"output": k.output})
                tasks[k.task_id] = task.model_copy(update={"result": result})
        return row.model_copy(update={"tasks": tasks})

    def _outgoing(self, effect: Effect, at: int, trace: str) -> Outgoing | None:
        if isinstance(effect, Drop):
            self._count("dropped", effect.reason)
            return None
        topic, sized = self._placed(effect)
        event_id, request_id, record = address(sized)
        return self._encode(
            topic, record, key=request_id.encode(), subject=request_id, event_id=event_id, at=at, trace=trace
        )

    def _placed(self, effect: Send) -> tuple[str, Send]:
        """The effect's topic, and the effect with its payloads within the limits."""
        match effect:
            case Dispatch(task=task):
                self._count("dispatched", task.specialty)
                return self._topics.tasks(task.specialty), Dispatch(task=claims.shrink_task(task, self._blobs.put))
            case Reply(answer=answer, topic=topic):
                self._count("answered", answer.status)
                outputs = claims.shrink_inputs(answer.outputs, self._blobs.put)
                kept = answer.model_copy(update={"outputs": outputs})
                return topic or self._topics.answers, Reply(answer=kept, topic=topic)
            case _:
                return self._topics.progress, effect

    def _encode(
        self, topic: str, record: Record, *, key: bytes | None, subject: str, event_id: str, at: int, trace: str
    ) -> Outgoing:
        return Outgoing(
            topic=topic,
            key=key,
            payload=self._codec.encode(record, topic),
            headers=headers.event_headers(
                record=type(record).__name__,
                event_id=event_id,
                source=self._worker,
                subject=subject,
                at_ms=at,
                trace=trace,
            ),
        )

    def dead_letter(self, incoming: Incoming, kind: str, reason: str) -> list[Outgoing]:
        """The dead letter for a record that cannot be processed, with its bytes untouched."""
        self._count("dead_letter", kind)
        letter = DeadLetter(
            topic=incoming.topic,
            partition=incoming.partition,
            offset=incoming.offset,
            key=incoming.key,
            value=incoming.value,
            headers={k: v or b"" for k, v in incoming.headers},
            kind=kind,
            reason=reason,
            service="aggregator",
            timestamp=incoming.at,
            at=incoming.at,
        )
        place = f"{incoming.topic}/{incoming.partition}/{incoming.offset}"
        trace = headers.traceparent(incoming.headers, place)
        to = self._topics.dead_letters
        return [self._encode(to, letter, key=incoming.key, subject=place, event_id=place, at=incoming.at, trace=trace)]
