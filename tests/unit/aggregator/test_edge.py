"""Between bytes and the join: routing, dead letters, claim checks, and a crash of the step."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hocket.contracts import headers
from hocket.contracts.claims import Blobs
from hocket.contracts.codec import Codec
from hocket.contracts.records import (
    Answer,
    Attachment,
    DeadLetter,
    Output,
    PlannedTask,
    Progress,
    Request,
    Result,
    Task,
)
from hocket.contracts.topics import Topics
from hocket.contracts.workflows import Step, Workflow
from hocket.core import traces
from hocket.kafka.client import partition_of
from services.aggregator import edge as edge_module
from services.aggregator.admission import World
from services.aggregator.edge import FORWARDED, ROW_LIMIT, Edge, Incoming, Outgoing
from services.aggregator.join import Arrival
from services.aggregator.row import Row, TaskRow
from tests.support.tracing import traced

PARTITIONS = 4
TOPICS = Topics("t-")
CODEC = Codec()
FLOW = Workflow(
    name="flow",
    description="-",
    tasks=(
        Step(id="a", specialty="extraction", instruction="-"),
        Step(id="b", specialty="decision", instruction="-", needs=("a",)),
    ),
    output="b",
)


@pytest.fixture
def counted() -> Counter[tuple[str, str]]:
    return Counter()


@pytest.fixture
def edge(tmp_path: Path, counted: Counter[tuple[str, str]]) -> Edge:
    world = World(specialties={"extraction", "decision"}, workflows={"flow": FLOW})

    def count(event: str, label: str) -> None:
        counted[event, label] += 1

    return Edge(
        topics=TOPICS,
        codec=CODEC,
        blobs=Blobs((tmp_path / "blobs").as_uri()),
        partitions=PARTITIONS,
        worker="aggregator/test",
        world=lambda _: world,
        count=count,
    )


def incoming(record: Any, topic: str = TOPICS.requests, **changes: Any) -> Incoming:
    key = record.request_id.encode()
    fields: dict[str, Any] = {
        "topic": topic,
        "partition": partition_of(key, PARTITIONS),
        "offset": 7,
        "key": key,
        "value": CODEC.encode(record, topic),
        "headers": [],
        "at": 1000,
    }
    return Incoming(**(fields | changes))


def request(**changes: Any) -> Request:
    return Request(**({"request_id": "r1", "text": "x", "workflow": "flow", "submitted_at": 1} | changes))


def result(text: str = "done", data: str = "{}", task_id: str = "a") -> Result:
    return Result(
        request_id="r1",
        task_id=task_id,
        specialty="extraction",
        status="completed",
        output=Output(specialty="extraction", text=text, data=data),
        worker="w",
        started_at=1,
        ended_at=2,
    )


def arrived(edge: Edge, record: Incoming) -> Arrival:
    found = edge.decode(record)
    assert isinstance(found, Arrival)
    return found


def instead(edge: Edge, record: Incoming) -> Outgoing:
    found = edge.decode(record)
    assert not isinstance(found, Arrival)
    [out] = found
    return out


def test_a_record_in_its_place_is_joined_under_its_trace(edge: Edge) -> None:
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    found = arrived(edge, incoming(request(), headers=[("traceparent", trace.encode())]))
    assert (found.key, found.record, found.trace) == ("r1", request(), trace)


def test_a_record_elsewhere_is_forwarded_once_with_its_own_headers(edge: Edge) -> None:
    wrong = (partition_of(b"r1", PARTITIONS) + 1) % PARTITIONS
    out = instead(edge, incoming(request(), partition=wrong, headers=[("mine", b"1")]))
    assert (out.topic, out.key, out.headers) == (TOPICS.requests, b"r1", [("mine", b"1"), (FORWARDED, b"1")])
    again = instead(edge, incoming(request(), partition=wrong, headers=out.headers))
    letter = CODEC.decode(again.payload, DeadLetter)
    assert (again.topic, letter.kind) == (TOPICS.dead_letters, "misrouted")


@pytest.mark.parametrize("key", [None, b"other"])
def test_a_record_under_another_key_goes_to_the_key_of_its_request(edge: Edge, key: bytes | None) -> None:
    out = instead(edge, incoming(request(), key=key))
    assert out.key == b"r1"


def test_what_cannot_be_read_becomes_a_dead_letter_with_its_bytes(edge: Edge, counted: Counter[Any]) -> None:
    out = instead(edge, incoming(request(), value=b"garbage", headers=[("who", b"me")]))
    letter = CODEC.decode(out.payload, DeadLetter)
    assert (letter.topic, letter.offset, letter.value, letter.headers) == (
        TOPICS.requests,
        7,
        b"garbage",
        {"who": b"me"},
    )
    assert headers.get(out.headers, "ce_type") == "hocket.DeadLetter"
    assert counted["dead_letter", "undecodable"] == 1


@pytest.mark.parametrize("request_id", ["", "x" * 201])
def test_an_impossible_request_id_is_a_dead_letter(edge: Edge, request_id: str) -> None:
    letter = CODEC.decode(instead(edge, incoming(request(request_id=request_id))).payload, DeadLetter)
    assert (letter.kind, letter.reason) == ("invalid", "request_id must have 1 to 200 bytes")


def test_an_admitted_request_sends_its_plan_and_its_roots(edge: Edge) -> None:
    record = incoming(request())
    row, out = edge.join(None, arrived(edge, record), record)
    assert row is not None and row.phase == "running"
    assert [o.topic for o in out] == [TOPICS.progress, TOPICS.tasks("extraction")]
    assert CODEC.decode(out[0].payload, Progress).kind == "planned"
    assert CODEC.decode(out[1].payload, Task).task_id == "a"
    ids = [headers.get(o.headers, "ce_id") for o in out]
    assert ids == [headers.get(o.headers, "ce_id") for o in edge.join(None, arrived(edge, record), record)[1]]


def test_large_attachments_of_a_foreign_producer_move_to_the_blob_store(edge: Edge) -> None:
    big = Attachment(name="big", media_type="x/y", data=b"z" * 300_000)
    record = incoming(request(attachments=(big,)))
    row, out = edge.join(None, arrived(edge, record), record)
    task = CODEC.decode(out[-1].payload, Task)
    assert task.attachments[0].data is None and task.attachments[0].size == 300_000
    assert row is not None and len(row.model_dump_json()) < 10_000


def test_outputs_beyond_the_limit_leave_the_row(edge: Edge) -> None:
    tasks = {
        i: TaskRow(planned=PlannedTask(task_id=i, specialty="extraction", instruction="-"), dispatched_at=1)
        for i in ("a", "b", "c")
    }
    row: Row | None = Row(phase="running", request=request(), tasks=tasks, plan=None)
    for task_id in ("a", "b"):
        record = incoming(result(data='"' + "d" * (ROW_LIMIT - 10_000) + '"', task_id=task_id), TOPICS.results)
        row, _ = edge.join(row, arrived(edge, record), record)
    assert row is not None
    held = [t.result.output for t in row.tasks.values() if t.result is not None]
    assert [o.data is None for o in held if o is not None].count(True) == 1
    assert len(row.model_dump_json()) < 2 * ROW_LIMIT


def test_a_crash_of_the_step_is_a_dead_letter_and_a_failed_answer(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    record = incoming(request())
    arrival = arrived(edge, record)
    monkeypatch.setattr(edge_module, "step", crash)
    row, out = edge.join(None, arrival, record)
    assert row is not None and row.phase == "ended"
    assert [o.topic for o in out] == [TOPICS.dead_letters, TOPICS.answers, TOPICS.timers]
    assert CODEC.decode(out[0].payload, DeadLetter).kind == "crashed"
    answer = CODEC.decode(out[1].payload, Answer)
    assert answer.error is not None and answer.error.kind == "internal"


def test_a_step_tells_the_same_spans_whenever_it_is_repeated_and_none_when_tracing_is_off(edge: Edge) -> None:
    record = incoming(request(workflow="flow"))
    with traced() as kept:
        row, out = edge.join(None, arrived(edge, record), record)
        again = edge.join(None, arrived(edge, record), record)
        first, repeated = kept.spans[: len(kept.spans) // 2], kept.spans[len(kept.spans) // 2 :]
    assert [(s.name, s.context, s.parent) for s in first] == [(s.name, s.context, s.parent) for s in repeated]
    assert [s.name for s in first] == ["process t-requests", "send t-tasks-extraction"]
    assert [s.parent for s in first] == [traces.request_span("r1"), first[0].context.span_id]
    sent = next(o for o in out if o.topic == TOPICS.tasks("extraction"))
    assert headers.get(sent.headers, "traceparent") == first[1].context.header
    assert (row, [o.payload for o in out]) == (again[0], [o.payload for o in again[1]])
    _, plain = edge.join(None, arrived(edge, record), record)
    given = headers.traceparent((), "r1")
    assert {headers.get(o.headers, "traceparent") for o in plain} == {given}


def test_the_answering_step_tells_of_the_whole_request_below_the_clients_span(edge: Edge) -> None:
    client = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    record = incoming(request(workflow="flow", text="secret"), headers=[("traceparent", client.encode())])
    row, _ = edge.join(None, arrived(edge, record), record)  # by a process that does not trace
    with traced() as kept:
        for task_id in ("a", "b"):
            given = incoming(result(task_id=task_id), TOPICS.results)
            row, _ = edge.join(row, arrived(edge, given), given)
        late = incoming(result(task_id="b"), TOPICS.results)
        edge.join(row, arrived(edge, late), late)
    whole = kept.named("orchestrate")
    assert (whole.parent, whole.context.trace_id) == ("b" * 16, "a" * 32)
    assert whole.attributes["hocket.task.type"] == "flow"
    assert "secret" not in str(whole)
    answer = kept.named("send t-answers")
    assert [c.span_id for c in answer.links] == [traces.outcome_span(result(task_id=t)) for t in ("a", "b")]
    known = {"b" * 16} | {s.context.span_id for s in kept.spans}
    assert {s.parent for s in kept.spans} <= known, "also of a result that came too late"


def test_what_the_sampler_leaves_out_is_marked_for_everybody_after(edge: Edge) -> None:
    record = incoming(request(workflow="flow"))
    with traced(record=False) as kept:
        row, out = edge.join(None, arrived(edge, record), record)
    assert kept.spans == []
    assert row is not None and row.trace.endswith("-00")
    assert all((headers.get(o.headers, "traceparent") or "").endswith("-00") for o in out)
