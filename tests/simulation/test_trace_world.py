"""A whole trace, from the real join and real runtimes on the in-memory log: one tree, its links, no orphan."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from hocket.contracts.claims import Blobs
from hocket.contracts.codec import Codec
from hocket.contracts.records import Answer, Output, Plan, PlannedTask, Request, Result, Task
from hocket.contracts.topics import Topics
from hocket.core import traces
from hocket.core.traces import Span
from hocket.kafka.runtime import Outgoing, Runtime
from hocket.runtime import tracing
from hocket.runtime.settings import Settings
from hocket.testing.log import FakeLog
from services.aggregator.admission import World
from services.aggregator.edge import Edge, Incoming
from services.aggregator.join import Arrival
from services.aggregator.row import Row
from tests.support.tracing import Kept, traced

T = Topics("t-")
CODEC = Codec()
PARTITIONS = 4
WORKERS = ("extraction", "summarisation", "synthesis")
PLAN = (
    PlannedTask(task_id="facts", specialty="extraction", instruction="-"),
    PlannedTask(task_id="gist", specialty="summarisation", instruction="-"),
    PlannedTask(task_id="answer", specialty="synthesis", instruction="-", depends_on=("facts", "gist")),
)


async def plans(task: Task, _delivery: Any) -> list[Outgoing]:
    plan = Plan(
        request_id=task.request_id, source="llm", tasks=PLAN, output_task="answer", worker="p", started_at=1, ended_at=2
    )
    return [Outgoing(topic=T.plans, key=task.request_id, record=plan, event_id=f"{task.request_id}/plan/0")]


async def works(task: Task, _delivery: Any) -> list[Outgoing]:
    with tracing.within(tracing.step("worker_task")):
        await asyncio.sleep(0)
    result = Result(
        request_id=task.request_id, task_id=task.task_id, specialty=task.specialty, status="completed",
        output=Output(specialty=task.specialty, text="x", data="{}"), worker=task.specialty, attempt=task.attempt,
        started_at=1, ended_at=2,
    )  # fmt: skip
    return [Outgoing(topic=T.results, key=task.request_id, record=result, event_id=f"r/{task.task_id}")]


@asynccontextmanager
async def runtime(log: FakeLog, name: str) -> Any:
    topic = T.tasks(name)
    made = Runtime(
        settings=Settings(grace_seconds=1.0), topics=T, codec=CODEC, topic=topic, group=f"g-{name}", service="worker",
        worker=name, handler=plans if name == "planning" else works, on_crash=lambda *_: [], producer=log.producer(),
        consumer=log.consumer(topic, f"g-{name}"),
    )  # fmt: skip
    run = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        await made.stop(1)
        await run


class Join:
    """The aggregator's edge over the log, one record after the other; every step of it is done twice."""

    def __init__(self, log: FakeLog, folder: Path) -> None:
        world = World(specialties=frozenset(WORKERS), workflows={})
        self.log, self.row, self.seen = log, None, set[tuple[str, int, int]]()
        self.edge = Edge(
            topics=T, codec=CODEC, blobs=Blobs(folder.as_uri()), partitions=PARTITIONS, worker="a",
            world=lambda _: world, count=lambda *_: None, group="g-aggregator",
        )  # fmt: skip

    def turn(self) -> None:
        for topic in (T.requests, T.plans, T.results):
            for raw in self.log.records(topic):
                place = (topic, raw.partition, raw.offset)
                if place in self.seen:
                    continue
                self.seen.add(place)
                given = Incoming(
                    topic=topic, partition=raw.partition, offset=raw.offset, key=raw.key, value=raw.value,
                    headers=[(k, v or b"") for k, v in raw.headers], at=1_000,
                )  # fmt: skip
                arrival = self.edge.decode(given)
                assert isinstance(arrival, Arrival)
                before: Row | None = self.row
                self.edge.join(before, arrival, given)  # its transaction is aborted
                self.row, out = self.edge.join(before, arrival, given)
                for o in out:
                    self.log.append(o.topic, o.key, o.payload, o.headers)


async def lived(folder: Path) -> tuple[Kept, FakeLog]:
    log = FakeLog(partitions=PARTITIONS)
    with traced() as kept:
        async with AsyncExitStack() as stack:
            for name in ("planning", *WORKERS):
                await stack.enter_async_context(runtime(log, name))
            request = Request(request_id="r", text="Compare.", submitted_at=1)
            log.append(T.requests, b"r", CODEC.encode(request, T.requests))
            join = Join(log, folder)
            async with asyncio.timeout(20):
                while not log.records(T.answers):
                    join.turn()
                    log.wake()
                    await asyncio.sleep(0.01)
    return kept, log


async def test_all_of_a_request_is_one_tree_though_every_step_of_the_join_is_repeated(tmp_path: Path) -> None:
    kept, log = await lived(tmp_path)
    [answer] = [CODEC.decode(r.value, Answer) for r in log.records(T.answers)]
    assert answer.status == "completed"
    told: dict[str, Span] = {}
    for s in kept.spans:  # what was told twice was told alike
        known = told.setdefault(s.context.span_id, s)
        assert (known.name, known.parent, known.links) == (s.name, s.parent, s.links)
    assert len({s.context.trace_id for s in told.values()}) == 1
    roots = [s for s in told.values() if s.parent is None]
    assert [s.name for s in roots] == ["orchestrate"]
    assert {s.parent for s in told.values()} - {None} <= told.keys(), "every parent is there"
    assert {link.span_id for s in told.values() for link in s.links} <= told.keys(), "and whatever is linked to"
    assert [e.name for e in roots[0].events] == ["decomposing_task", "synthesis_started"]
    assert roots[0].events[1].attributes == {"result.count": 2}
    whole = roots[0].context.span_id

    def one(name: str) -> Span:
        [found] = [s for s in told.values() if s.name == name]
        return found

    for name in ("planning", *WORKERS):
        sent, done = one(f"send {T.tasks(name)}"), one(f"process {T.tasks(name)}")
        assert (done.parent, done.links) == (whole, (sent.context,))
    sent_by = {
        s.context.span_id: told[s.parent or ""].attributes["messaging.destination.name"]
        for s in told.values()
        if s.name == f"send {T.results}"
    }
    joined = [sent_by[c.span_id] for c in one(f"send {T.tasks('synthesis')}").links]
    assert joined == [T.tasks("extraction"), T.tasks("summarisation")]
    assert len(one(f"send {T.answers}").links) == 3
    assert one(f"process {T.plans}").links == (one(f"send {T.plans}").context,)
    assert traces.request_span("r") == whole
