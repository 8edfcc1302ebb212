"""Bad input harms only itself: each kind ends in a dead letter or an answer with a reason, and the next is fine."""

from __future__ import annotations

from pathlib import Path

import pytest

from hocket.contracts.records import Answer, Attachment, DeadLetter, Plan, PlannedTask, Request, Task
from hocket.contracts.topics import Topics
from hocket.runtime.settings import Settings
from tests.support.kafka import CODEC, Service, producing, read, request, running, send

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

MAIL = (Path(__file__).parents[2] / "examples" / "complaint.eml").read_bytes()


def plan(request_id: str, *tasks: tuple[str, str, tuple[str, ...]]) -> Plan:
    planned = [PlannedTask(task_id=i, specialty=s, instruction="-", depends_on=d) for i, s, d in tasks]
    return Plan(
        request_id=request_id,
        source="llm",
        tasks=tuple(planned),
        output_task=planned[-1].task_id,
        worker="somebody",
        started_at=1,
        ended_at=1,
    )


def mail(name: str, data: bytes = MAIL, media_type: str = "message/rfc822", **changes: object) -> Request:
    return request(
        name, attachments=(Attachment(name=f"{name}.x", media_type=media_type, data=data),), text="", **changes
    )


async def test_each_kind_of_bad_input_ends_with_a_reason_and_the_next_request_is_answered(
    settings: Settings, topics_ready: Topics, tmp_path: Path
) -> None:
    topics = topics_ready
    corrupt = mail("corrupt", b"\x89PNG\r\n\x1a\n garbage", "image/png", workflow="invoice-intake")
    misrouted = mail("misrouted", workflow="complaint-triage")
    services = [
        Service("services.aggregator", settings, tmp_path / "aggregator.log", HOCKET_INSTANCE="a"),
        Service("services.workers", settings, tmp_path / "workers.log", "--all"),
    ]
    with running(*services):
        async with producing(settings) as producer:
            await producer.send_and_wait(topics.requests, b"{}", key=b"json")
            await producer.send_and_wait(topics.tasks("sentiment"), b"{}", key=b"json")
            await send(producer, topics.requests, corrupt, request("unknown"), request("cycle"))
            await send(producer, topics.requests, mail("unplannable", workflow="no-such-workflow"))
            await read(settings, topics.tasks("planning"), Task, until=lambda t: len(t) >= 2)  # both wait for a plan
            await send(
                producer,
                topics.plans,
                plan("runknown", ("a", "astrology", ())),
                plan("rcycle", ("a", "sentiment", ("b",)), ("b", "sentiment", ("a",))),
            )
            value = CODEC.encode(misrouted, topics.requests)
            for partition in range(settings.partitions):  # three of these four places are wrong
                await producer.send_and_wait(topics.requests, value, key=b"rmisrouted", partition=partition)
            await send(producer, topics.requests, mail("good", workflow="complaint-triage"))
            found = await read(settings, topics.answers, Answer, until=lambda a: len(a) >= 6, timeout=60, settle=1)
            letters = await read(settings, topics.dead_letters, DeadLetter, until=lambda d: len(d) >= 2)
    answers = {a.request_id: a for a in found}
    assert len(found) == len(answers), "one answer each"
    failed = {i: (a.error.kind, a.error.message) for i, a in answers.items() if a.error is not None}
    assert failed["rcorrupt"][0] == "bad_input" and "corrupt.x" in failed["rcorrupt"][1]
    assert failed["runknown"][0] == "invalid_plan" and "astrology" in failed["runknown"][1]
    assert failed["rcycle"][0] == "invalid_plan" and "circle" in failed["rcycle"][1]
    assert failed["runplannable"][0] == "unknown_workflow" and "complaint-triage" in failed["runplannable"][1]
    assert {i for i, a in answers.items() if a.status == "completed"} == {"rmisrouted", "rgood"}
    assert answers["rmisrouted"].content == answers["rgood"].content
    assert {(topics.plain(d.topic), d.kind, d.value) for d in letters} == {
        ("requests", "undecodable", b"{}"),
        ("tasks-sentiment", "undecodable", b"{}"),
    }
