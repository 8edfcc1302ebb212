"""Between bytes and the pure join: what comes in is decoded or dead-lettered, what goes out is encoded for its topic.

Everything here is a function of the record and the row, apart from claim checks, which write content-addressed blobs
(so a replay after a crash writes the same ones). Raises ClaimError or RegistryError when the infrastructure fails: the
process must stop then, so that nothing is skipped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from time import time_ns

from hocket.contracts import claims, headers
from hocket.contracts.codec import Codec
from hocket.contracts.records import Control, Grant, Plan, Record, Request, Result, TaskInput, Wakeup
from hocket.contracts.topics import Topics
from hocket.core import traces
from hocket.runtime import logs, tracing
from services.aggregator.admission import World
from services.aggregator.events import (
    Arrival,
    Ask,
    Dispatch,
    Drop,
    Effect,
    Joined,
    Order,
    Remind,
    Reply,
    Send,
    Tell,
    address,
)
from services.aggregator.join import give_up, step
from services.aggregator.posting import FORWARDED, Incoming, Outgoing, Posting
from services.aggregator.row import Row
from services.aggregator.tracks import Sent, Track

log = logging.getLogger(__name__)

__all__ = ["FORWARDED", "MAX_KEY_BYTES", "ROW_LIMIT", "Edge", "Incoming", "Outgoing"]

ROW_LIMIT = 128 * 1024
"""Bytes of outputs that may stay inside a row; more goes to the blob store, so that a row fits into one record."""
MAX_KEY_BYTES = 200


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
        group: str = "",
    ) -> None:
        self._group = group
        self._topics, self._blobs, self._world, self._count = topics, blobs, world, count
        self._post = Posting(topics=topics, codec=codec, partitions=partitions, worker=worker, count=count)
        self._types: dict[str, type[Joined]] = {
            topics.requests: Request,
            topics.plans: Plan,
            topics.results: Result,
            topics.control: Control,
            topics.grants: Grant,
            topics.wakeups: Wakeup,
        }

    def decode(self, incoming: Incoming) -> Arrival | list[Outgoing]:
        """The record to join; or what to send instead: a dead letter, or the record itself to its right partition."""
        found = self._post.decode(incoming, self._types[incoming.topic], _key, MAX_KEY_BYTES)
        if isinstance(found, list):
            return found
        _, key = _key(found)
        given = headers.traceparent(incoming.headers, key)
        trace = tracing.decided(given, key) if isinstance(found, Request) else given
        return Arrival(key=key, record=found, trace=trace, cause=given)

    def join(self, row: Row | None, arrival: Arrival, incoming: Incoming) -> tuple[Row | None, list[Outgoing]]:
        """The row after the record, and what must be produced with it. A crash of the step ends only its request."""
        began = time_ns()
        arrival = self._shrunk(arrival)
        letters: list[Outgoing] = []
        try:
            after, effects = step(row, arrival, incoming.at, self._world(arrival.record))
        except Exception as e:  # noqa: BLE001 - a bug in the join must not stop the stream: dead letter, failed answer
            letters = self._post.dead_letter(incoming, "crashed", f"{type(e).__name__}: {e}")
            after, effects = give_up(row, arrival, incoming.at)
        trace = (row or after or Row(phase="ended")).trace or arrival.trace
        effects = _on_the_alarms_clock(effects, arrival.record, incoming.at)
        context = traces.read(trace)
        track = self._track(context, arrival, incoming) if tracing.on() and context.sampled else None
        sent: list[Sent] = []
        out = [o for e in effects if (o := self._outgoing(e, incoming.at, trace, track, sent)) is not None]
        if logs.tasks() and log.isEnabledFor(logging.INFO):
            _tell(effects, out)
        if track is not None:
            tracing.emit(track.spans(row, sent, began, time_ns()))
        return self._bounded(after), letters + out

    def _track(self, trace: traces.Context, arrival: Arrival, incoming: Incoming) -> Track:
        return Track(
            trace=trace,
            arrival=arrival,
            topic=incoming.topic,
            partition=incoming.partition,
            offset=incoming.offset,
            group=self._group,
            content=tracing.with_content(),
        )

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

    def _outgoing(self, effect: Effect, at: int, trace: str, track: Track | None, told: list[Sent]) -> Outgoing | None:
        """The record to produce; with a track, its header is the track's and it is noted in `told`."""
        if isinstance(effect, Drop):
            self._count("dropped", effect.reason)
            return None
        topic, sized = self._placed(effect)
        event_id, key, record = address(sized)
        if track is not None:
            trace = track.header(sized, event_id)
            told.append(Sent(effect=sized, topic=topic, event_id=event_id))
        sent = self._post.encode(topic, record, key=key.encode(), subject=key, event_id=event_id, at=at, trace=trace)
        cleared = isinstance(effect, Remind) and effect.timer.due_at is None
        return replace(sent, payload=None) if cleared else sent

    def _placed(self, effect: Send) -> tuple[str, Send]:
        """The effect's topic, and the effect with its payloads within the limits."""
        topics = self._topics
        match effect:
            case Dispatch(task=task):
                self._count("dispatched", task.specialty)
                for step_behind in task.bundle:
                    self._count("bundled", step_behind.specialty)
                return topics.tasks(task.specialty), Dispatch(task=claims.shrink_task(task, self._blobs.put))
            case Reply(answer=answer, topic=topic):
                self._count("answered", answer.status)
                outputs = claims.shrink_inputs(answer.outputs, self._blobs.put)
                kept = answer.model_copy(update={"outputs": outputs})
                return topic or topics.answers, Reply(answer=kept, topic=topic)
            case Ask():
                return topics.accounts, effect
            case Remind():
                return topics.timers, effect
            case Order():
                return topics.control, effect
            case Tell():
                return topics.progress, effect


def _tell(effects: list[Effect], out: list[Outgoing]) -> None:
    """One line for what began or ended a request; at DEBUG for every step."""
    answers = [e.answer.status for e in effects if isinstance(e, Reply)]
    level = logging.INFO if answers else logging.DEBUG
    if log.isEnabledFor(level):
        ids = [f"{o.topic} {headers.get(o.headers, 'ce_id')}" for o in out]
        log.log(level, f"answered: {answers[0]}" if answers else "joined", extra={"written_ids": ids})


def _key(record: Joined) -> tuple[str, str]:
    if isinstance(record, Grant):
        return "asker", record.asker
    return "request_id", record.request_id


def _on_the_alarms_clock(effects: list[Effect], record: Joined, at: int) -> list[Effect]:
    """The effects with their timer as much later as the wake-up was early by the broker's clock.

    Without this an alarm clock that is ahead of the broker by a second would ring for a whole second.
    """
    early = record.due_at - at if isinstance(record, Wakeup) else 0
    if early <= 0:
        return effects
    return [
        Remind(timer=e.timer.model_copy(update={"due_at": e.timer.due_at + early}))
        if isinstance(e, Remind) and e.timer.due_at is not None
        else e
        for e in effects
    ]
