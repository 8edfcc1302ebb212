"""Against Apache Kafka's own image in a container, by testcontainers: what holds for the embedded broker holds for it.

Runs where a container engine and the image are (KAFKA_IMAGE, or that of .env); skipped with a word where not.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from hocket.contracts.records import Answer
from hocket.contracts.specialties import load_specialties
from hocket.kafka.admin import apply_topics
from hocket.local.broker import answers
from hocket.local.process import free_ports
from hocket.runtime.settings import Settings
from tests.support.guard import outside
from tests.support.kafka import Service, producing, read, request, running, send
from tests.support.plans import BRIEF
from tests.support.tree import ROOT

pytestmark = [pytest.mark.kafka, pytest.mark.slow]
LETTER = "Dear team, the delivery came late. Two of ten lamps were broken. Please send new ones by Friday. Yours, Ann"
ASKED = 5


@dataclass(frozen=True)
class Contained:
    """A broker in a container, published on a port of this machine that it tells its clients."""

    container: Any
    port: int

    def settings(self, prefix: str, folder: Path) -> Settings:
        return Settings(
            bootstrap=f"127.0.0.1:{self.port}",
            prefix=prefix,
            partitions=2,
            blob_store=(folder / "blobs").as_uri(),
            state_dir=folder / "state",
        )

    def until_up(self, seconds: float = 90) -> None:
        end = time.monotonic() + seconds
        while not answers(self.port):
            if time.monotonic() > end:
                raise AssertionError(self.container.get_logs()[0].decode(errors="replace")[-2000:])
            time.sleep(0.3)


def image() -> str:
    named = [x for x in (ROOT / ".env").read_text().splitlines() if x.startswith("KAFKA_IMAGE=")]
    return os.environ.get("KAFKA_IMAGE") or named[0].partition("=")[2]


def engine_or_skip() -> None:
    """Skips at once, and says what is missing."""
    docker = pytest.importorskip("docker", reason="no testcontainers here: make setup installs it")
    where = urlsplit(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
    try:  # first by hand: a client that meets nobody leaves its socket open
        with socket.socket(socket.AF_UNIX if where.scheme == "unix" else socket.AF_INET) as one:
            one.connect(where.path if where.scheme == "unix" else (where.hostname, where.port))
    except OSError as e:
        pytest.skip(f"no container engine at {where.geturl()} (start Docker, or set DOCKER_HOST): {e}")
    client = docker.from_env(timeout=10)
    try:
        client.images.get(image())
    except docker.errors.ImageNotFound:
        pytest.skip(f"the engine has no image {image()}: docker pull {image()}, or set KAFKA_IMAGE to one that it has")
    finally:
        client.close()


@pytest.fixture(scope="module")
def contained() -> Iterator[Contained]:
    with outside():
        engine_or_skip()
    with pytest.MonkeyPatch.context() as patch:
        # The container is removed below: testcontainers' reaper, an image of its own, is not needed.
        patch.setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
        from testcontainers.core.container import DockerContainer

        (port,) = free_ports(1)
        container = DockerContainer(image()).with_bind_ports(9092, port).with_envs(**broker_settings(port))
        with outside(), container:
            one = Contained(container, port)
            one.until_up()
            yield one


def broker_settings(port: int) -> dict[str, str]:
    """Any of them replaces all of the image's own, so they are all here, as in docker-compose.yml.

    A listener of its own for the broker, too: what clients are told is an address outside the container, and a broker
    that cannot reach itself ends no transaction.
    """
    return {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:29093",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENERS": "CONTROLLER://:29093,INTERNAL://:19092,HOST://:9092",
        "KAFKA_ADVERTISED_LISTENERS": f"INTERNAL://localhost:19092,HOST://127.0.0.1:{port}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,INTERNAL:PLAINTEXT,HOST:PLAINTEXT",
        "KAFKA_INTER_BROKER_LISTENER_NAME": "INTERNAL",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "4",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS": "4",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
        "KAFKA_HEAP_OPTS": "-Xms256m -Xmx512m",
    }


def services_of(settings: Settings, folder: Path) -> list[Service]:
    (folder / "workflows").mkdir()
    (folder / "workflows" / "brief.yaml").write_text(BRIEF)
    own = {"HOCKET_WORKFLOWS": str(folder / "workflows"), "HOCKET_INSTANCE": "a0"}
    return [
        Service("services.aggregator", settings, folder / "aggregator.log", **own),
        Service("services.workers", settings, folder / "worker.log", "--specialty", "summarisation"),
    ]


async def test_topics_are_made_once_as_declared(contained: Contained, tmp_path: Path) -> None:
    settings = contained.settings("once-", tmp_path)
    assert {c.action for c in await apply_topics(settings, load_specialties())} == {"created"}
    assert await apply_topics(settings, load_specialties()) == []


async def test_each_request_is_answered_once_also_when_the_broker_is_killed(
    contained: Contained, tmp_path: Path
) -> None:
    settings = contained.settings("box-", tmp_path)
    await apply_topics(settings, load_specialties())
    services = services_of(settings, tmp_path)
    with running(*services):
        await assert_answered_once(settings, range(ASKED), services)
        async with producing(settings) as producer:
            await send(producer, "box-requests", *(letter(n) for n in range(ASKED, 2 * ASKED)))
        broker = contained.container.get_wrapped_container()
        await asyncio.to_thread(broker.kill)
        await asyncio.to_thread(broker.start)
        await asyncio.to_thread(contained.until_up)
        async with supervised(services):
            await assert_answered_once(settings, range(2 * ASKED, 3 * ASKED), services)


@contextlib.asynccontextmanager
async def supervised(services: list[Service]) -> AsyncIterator[None]:
    """Starts again what ends, as every deployment does: the join ends when its broker was away for long."""

    async def watch() -> None:
        while True:
            for s in services:
                if s.process is not None and s.process.poll() is not None:
                    s.start()
            await asyncio.sleep(0.5)

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def letter(number: int) -> Any:
    return request(number, text=LETTER, workflow="brief")


async def assert_answered_once(settings: Settings, numbers: range, services: list[Service]) -> None:
    """Asks, and finds one complete answer to each of these and of all before them."""
    async with producing(settings) as producer:
        await send(producer, "box-requests", *(letter(n) for n in numbers))
    ids = {letter(n).request_id for n in range(numbers.stop)}
    got = await read(
        settings, "box-answers", Answer, until=lambda found: {a.request_id for a in found} >= ids, timeout=90, settle=1
    )
    logs = "\n".join(s.tail() for s in services)
    assert sorted(a.request_id for a in got) == sorted(ids), logs
    assert {a.status for a in got} == {"completed"}, logs
