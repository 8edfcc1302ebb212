"""Kills every container of a running compose stack under load, one after the other, and counts the answers.

    docker compose up --build --wait && make compose-faults

A container dies as by a crash: its first process is killed from outside, so that the restart policy brings it back.
Where that is not allowed (no root, or the engine in a virtual machine), it is `docker kill` and `docker start`.
Ends with 1 unless every request got exactly one answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
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

ROOT = Path(__file__).parents[1]
LETTER = ROOT / "examples" / "complaint.eml"
BACK_WITHIN_S = 180.0


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

    @property
    def open(self) -> set[str]:
        return set(self.asked) - set(self.answers)


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"docker {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def containers(only: list[str], skipped: list[str]) -> list[tuple[str, str]]:
    """(service, id) of every container that stays."""
    listed = [json.loads(line) for line in docker("compose", "ps", "--format", "json").splitlines()]
    found = sorted((c["Service"], c["ID"]) for c in listed if c["Service"] not in {"topics", *skipped})
    return [c for c in found if c[0] in only or not only]


def state(container: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(docker("inspect", "--format", "{{json .State}}", container))
    return found


def fine(container: str) -> bool:
    now = state(container)
    health = now.get("Health")
    return bool(now["Running"]) and (not isinstance(health, dict) or health["Status"] == "healthy")


def crash(container: str) -> None:
    pid = state(container)["Pid"]
    try:
        os.kill(int(str(pid)), signal.SIGKILL)
    except (PermissionError, ProcessLookupError):
        docker("kill", container)
        docker("start", container)


async def back(container: str, before: object) -> float:
    """Seconds until it runs anew and is healthy."""
    began = time.monotonic()
    while time.monotonic() - began < BACK_WITHIN_S:
        if state(container)["StartedAt"] != before and fine(container):
            return time.monotonic() - began
        await asyncio.sleep(0.5)
    raise SystemExit(f"{container} is not back after {BACK_WITHIN_S:.0f} s: docker compose logs")


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


async def run(args: argparse.Namespace) -> int:
    """Asks, kills, counts; the exit code."""
    tally, stop, ready = Tally(), asyncio.Event(), asyncio.Event()
    listening = asyncio.create_task(listen(args.bootstrap, tally, ready))
    await ready.wait()
    asking = asyncio.create_task(ask(args.bootstrap, tally, args.rate, stop))
    await asyncio.sleep(args.settle)
    for service, container in containers(args.only, args.skip):
        before = state(container)["StartedAt"]
        crash(container)
        seconds = await back(container, before)
        print(f"{service:<22} killed, healthy again after {seconds:5.1f} s; {len(tally.open)} open", flush=True)
        await asyncio.sleep(args.settle)
    stop.set()
    await asking
    ended = time.monotonic()
    while tally.open and time.monotonic() - ended < args.patience:
        await asyncio.sleep(0.5)
    await asyncio.sleep(5)  # for strays
    if listening.done():
        listening.result()  # raises what ended it
    listening.cancel()
    return report(tally, ended)


def report(tally: Tally, ended: float) -> int:
    asked = set(tally.asked)
    twice = {r: s for r, s in tally.answers.items() if r in asked and len(s) > 1}
    statuses = Counter(s[0] for r, s in tally.answers.items() if r in asked)
    late = max(0.0, tally.last_at - ended)
    print(f"{len(asked)} requests, {sum(statuses.values())} answered {dict(statuses)}, {len(tally.open)} missing,")
    print(f"{len(twice)} answered twice; the last answer {late:.1f} s after the last request")
    for lost in sorted(tally.open)[:10]:
        print(f"missing: {lost}")
    return int(bool(tally.open or twice))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", default="localhost:9092")
    parser.add_argument("--rate", type=float, default=2.0, help="requests a second")
    parser.add_argument("--settle", type=float, default=3.0, help="seconds between a recovery and the next kill")
    parser.add_argument("--patience", type=float, default=120.0, help="seconds to wait for the last answers")
    parser.add_argument("--only", nargs="*", default=[], metavar="SERVICE")
    parser.add_argument("--skip", nargs="*", default=[], metavar="SERVICE")
    sys.exit(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
