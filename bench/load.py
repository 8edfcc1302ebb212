"""Complaints at a steady rate, and their answers counted: the load of benches that kill or replace whole services."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from hocket.contracts.codec import Codec
from hocket.contracts.records import Answer, Attachment, Request
from hocket.kafka.admin import list_topics
from hocket.kafka.client import codec_of
from hocket.runtime.settings import Settings

LETTER = Path(__file__).parents[1] / "examples" / "complaint.eml"


@cache
def codec() -> Codec:
    """By HOCKET_REGISTRY_URL, as every client."""
    return codec_of(Settings())


@dataclass
class Tally:
    """What was asked and what came back, by request id."""

    asked: dict[str, float] = field(default_factory=dict)
    answers: dict[str, list[str]] = field(default_factory=dict)
    last_at: float = 0.0
    ended: float = 0.0
    """When the asking ended."""

    @property
    def open(self) -> set[str]:
        return set(self.asked) - set(self.answers)


@contextlib.asynccontextmanager
async def under_load(bootstrap: str, *, rate: float, patience: float, strays: float) -> AsyncIterator[Tally]:
    """So many requests a second meanwhile. Then their answers are waited for, `patience` seconds at most, and second
    ones for `strays` seconds."""
    tally, stop, ready = Tally(), asyncio.Event(), asyncio.Event()
    listening = asyncio.create_task(listen(bootstrap, tally, ready))
    await ready.wait()
    asking = asyncio.create_task(ask(bootstrap, tally, rate, stop))
    yield tally
    stop.set()
    await asking
    tally.ended = time.monotonic()
    while tally.open and time.monotonic() - tally.ended < patience:
        await asyncio.sleep(0.5)
    await asyncio.sleep(strays)
    if listening.done():
        listening.result()  # raises what ended it
    listening.cancel()


def request(number: int, run: str, letter: bytes) -> Request:
    return Request(
        request_id=f"{run}-{number}",
        text="Process this complaint.",
        workflow="complaint-triage",
        attachments=[Attachment(name=LETTER.name, media_type="message/rfc822", data=letter, size=len(letter))],
        submitted_at=time.time_ns() // 1_000_000,
    )


async def ask(bootstrap: str, tally: Tally, rate: float, stop: asyncio.Event) -> None:
    """Submits until told to stop; a request counts once the broker has it."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True)
    await producer.start()
    run, letter, number = f"faults-{time.time_ns()}", LETTER.read_bytes(), 0
    try:
        while not stop.is_set():
            one = request(number, run, letter)
            await sent(producer, one)
            tally.asked[one.request_id] = time.monotonic()
            number += 1
            await asyncio.sleep(1 / rate)
    finally:
        await producer.stop()


async def sent(producer: AIOKafkaProducer, one: Request) -> None:
    while True:
        try:
            await producer.send_and_wait("requests", codec().encode(one, "requests"), key=one.request_id.encode())
        except KafkaError as e:
            if not e.retriable:
                raise
            await asyncio.sleep(0.5)  # the broker is being killed, too; asking again is the same request
        else:
            return


async def listen(bootstrap: str, tally: Tally, ready: asyncio.Event) -> None:
    """Reads committed answers for ever. From the first one there is: where topics are new, a consumer may learn the
    end of a partition only seconds later, and would miss what came meanwhile."""
    settings = Settings(bootstrap=bootstrap)
    while not (found := [t for t in await list_topics(settings) if t.name == "answers" and t.ready]):
        await asyncio.sleep(0.2)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        consumer.assign([TopicPartition("answers", p) for p in range(found[0].partitions)])
        ready.set()
        while True:
            for records in (await consumer.getmany(timeout_ms=300)).values():
                for record in records:
                    answer = codec().decode(record.value, Answer)
                    tally.answers.setdefault(answer.request_id, []).append(answer.status)
                    if answer.request_id in tally.asked:
                        tally.last_at = time.monotonic()
    finally:
        await consumer.stop()


def report(tally: Tally) -> int:
    """Prints what became of the requests; the exit code."""
    asked = set(tally.asked)
    twice = {r: s for r, s in tally.answers.items() if r in asked and len(s) > 1}
    statuses = Counter(s[0] for r, s in tally.answers.items() if r in asked)
    late = max(0.0, tally.last_at - tally.ended)
    print(f"{len(asked)} requests, {sum(statuses.values())} answered {dict(statuses)}, {len(tally.open)} missing,")
    print(f"{len(twice)} answered twice; the last answer {late:.1f} s after the last request")
    for lost in sorted(tally.open)[:10]:
        print(f"missing: {lost}")
    return int(bool(tally.open or twice))
