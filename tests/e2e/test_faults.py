"""kill -9 of each service and of the broker in turn, while requests run: each answer arrives, once, soon after."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import pytest

from hocket.contracts.records import Answer, Attachment, Request
from hocket.contracts.specialties import load_specialties
from hocket.contracts.topics import Topics
from hocket.kafka.admin import apply_topics
from hocket.local.broker import EmbeddedBroker
from hocket.local.process import free_ports
from hocket.runtime.settings import Settings
from tests.support.kafka import CODEC, Service, producing, reader, running

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(400)]

COMPLAINT = Path(__file__).parents[2] / "examples" / "complaint.eml"
WITHIN_SECONDS = 60.0


def complaint(number: int) -> Request:
    """Every other request names its workflow; the rest goes through the planner."""
    mail = Attachment(name="complaint.eml", media_type="message/rfc822", data=COMPLAINT.read_bytes())
    workflow = "complaint-triage" if number % 2 else None
    return Request(request_id=f"c{number}", workflow=workflow, attachments=(mail,), submitted_at=1)


class Stream:
    """Submits two requests a second and notes when each answer became visible to a read_committed reader."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.topics = settings, Topics(settings.prefix)
        self.sent: dict[str, float] = {}
        self.answers: list[tuple[float, Answer]] = []
        self._stop = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._submit()), asyncio.create_task(self._watch())]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop.set()
        if kind is not None:  # what failed may never be answered
            self._tasks[1].cancel()
        await asyncio.gather(*self._tasks, return_exceptions=kind is not None)

    async def _submit(self) -> None:
        async with producing(self.settings) as producer:
            while not self._stop.is_set():
                request = complaint(len(self.sent))
                self.sent[request.request_id] = time.monotonic()
                value = CODEC.encode(request, self.topics.requests)
                await producer.send(self.topics.requests, value, key=request.request_id.encode())
                await asyncio.sleep(0.5)

    async def _watch(self) -> None:
        async with reader(self.settings, self.topics.answers) as consumer:
            while not (self._stop.is_set() and not self.open()):
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    self.answers += [(time.monotonic(), CODEC.decode(r.value, Answer)) for r in batch]

    def open(self) -> set[str]:
        return set(self.sent) - {a.request_id for _, a in self.answers}


async def supervise(services: Iterable[Service], down: set[Service]) -> None:
    """As every deployment does: a service that gives up (the aggregator does, when a transaction times out) is
    started again. `down`: those that the test has killed itself."""
    while True:
        for service in services:
            if service not in down and service.process is not None and service.process.poll() is not None:
                service.start()
        await asyncio.sleep(0.2)


async def settled(stream: Stream, since: float, what: str) -> None:
    """Everything submitted before `since` is answered within the promised time."""
    due = {i for i, at in stream.sent.items() if at <= since}
    while missing := due & stream.open():
        late = time.monotonic() - since
        assert late < WITHIN_SECONDS, f"{what}: {len(missing)} requests unanswered {late:.0f} s after the restart"
        await asyncio.sleep(0.1)


async def test_every_answer_arrives_once_whatever_is_killed(settings: Settings, tmp_path: Path) -> None:
    with EmbeddedBroker() as broker:
        here = settings.model_copy(update={"bootstrap": broker.bootstrap})
        await apply_topics(here, load_specialties())
        (port,) = free_ports(1)
        services = {
            "aggregator": Service("services.aggregator", here, tmp_path / "aggregator.log", HOCKET_INSTANCE="a"),
            "planner": Service("services.planner", here, tmp_path / "planner.log", HOCKET_INSTANCE="p"),
            "workers": Service("services.workers", here, tmp_path / "workers.log", "--all", HOCKET_INSTANCE="w"),
            "monitor": Service(
                "services.monitor", here, tmp_path / "monitor.log", HOCKET_INSTANCE="m", HOCKET_HTTP_PORT=str(port)
            ),
        }
        down: set[Service] = set()
        with running(*services.values()):
            supervisor = asyncio.create_task(supervise(services.values(), down))
            async with Stream(here) as stream:
                await settled(stream, time.monotonic(), "start")
                for name, victim in [*services.items(), ("broker", broker)]:
                    await asyncio.sleep(2)
                    down.update({victim} & set(services.values()))
                    await asyncio.to_thread(victim.kill)
                    await asyncio.sleep(1.5)
                    await asyncio.to_thread(victim.start)
                    down.clear()
                    await settled(stream, time.monotonic(), name)
                await settled(stream, time.monotonic(), "end")
            supervisor.cancel()
    counted = Counter(a.request_id for _, a in stream.answers)
    assert set(counted) == set(stream.sent)
    assert set(counted.values()) == {1}
    assert {a.status for _, a in stream.answers} == {"completed"}
