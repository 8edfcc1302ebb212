"""With the authorizer on: each service does its work with the rights that `hocket acls` prints, and nothing else."""

from __future__ import annotations

import asyncio
import json
import shlex
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from typer.testing import CliRunner

from hocket.cli.app import app
from hocket.contracts.acls import services_of
from hocket.contracts.specialties import load_specialties
from hocket.contracts.topics import Topics, TopicSpec
from hocket.local.broker import BrokerOptions, EmbeddedBroker
from hocket.local.process import free_ports
from hocket.runtime.settings import Settings
from tests.support.kafka import Service, environment, running

pytestmark = [pytest.mark.kafka, pytest.mark.slow]
PREFIX = "sec-"
SPECIALTIES = sorted(load_specialties())
WORKER = "worker-summarisation"
EXAMINED = ("aggregator", "planner", WORKER, "monitor", "client", "topics")
BRIEF = """
name: brief
description: One summary.
match:
  media_types: [text/plain]
  words: [lamps]
tasks:
  - id: summary
    specialty: summarisation
    instruction: Summarise the letter.
output: summary
"""
ANSWERED = 'hocket_answers_total{status="completed"} 2'
TOPICS = Topics(PREFIX)
ALL = TOPICS.all(SPECIALTIES)
LETTER = "Dear team, the delivery came late. Two of ten lamps were broken. Please send new ones by Friday. Yours, Ann"


def password(service: str) -> str:
    return f"word-of-{service}"


@pytest.fixture(scope="module")
def secured() -> Iterator[EmbeddedBroker]:
    """Nobody may do anything through the listener SASL without an ACL; through the other one, everything."""
    users = " ".join(f'user_hocket-{s}="{password(s)}"' for s in services_of(SPECIALTIES))
    properties = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "listener.name.sasl.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl.plain.sasl.jaas.config": (
            f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};"
        ),
    }
    with EmbeddedBroker(BrokerOptions(listeners={"SASL": "SASL_PLAINTEXT"}, properties=properties)) as broker:
        yield broker


@pytest.fixture
def home(secured: EmbeddedBroker, tmp_path: Path) -> Settings:
    return Settings(
        bootstrap=secured.address("SASL"),
        prefix=PREFIX,
        partitions=2,
        blob_store=(tmp_path / "blobs").as_uri(),
        state_dir=tmp_path / "state",
    )


def login(service: str) -> dict[str, str]:
    return {
        "HOCKET_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "HOCKET_SASL_MECHANISM": "PLAIN",
        "HOCKET_SASL_USERNAME": f"hocket-{service}",
        "HOCKET_SASL_PASSWORD": password(service),
    }


def printed(*words: str) -> str:
    done = CliRunner().invoke(app, ["--bootstrap", "here:1", "--prefix", PREFIX, "acls", *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def allow(broker: EmbeddedBroker) -> None:
    """The client's rights by Kafka's own tool as printed, all others from the JSON (a tool's start takes seconds)."""
    for line in printed("--service", "client").splitlines()[1:]:
        words = shlex.split(line)[1:]
        words[words.index("here:1")] = broker.bootstrap
        done = broker.run_tool("org.apache.kafka.tools.AclCommand", *words)
        assert done.returncode == 0, done.stdout + done.stderr
    bindings = [
        AclBinding(
            ResourceType["BROKER" if a["resource"] == "cluster" else a["resource"].replace("-", "_").upper()],
            a["name"], ResourcePatternType[a["pattern"].upper()], s["principal"], "*",
            AclOperation[_words(operation)], AclPermissionType.ALLOW,
        )
        for s in json.loads(printed("-o", "json"))["services"]
        if s["service"] != "client"
        for a in s["acls"]
        for operation in a["operations"]
    ]  # fmt: skip
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    for future in admin.create_acls(bindings).values():
        future.result(20)


def _words(operation: str) -> str:
    """DescribeConfigs as DESCRIBE_CONFIGS."""
    return "".join(f"_{c}" if c.isupper() and n else c for n, c in enumerate(operation)).upper()


def hocket(home: Settings, service: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from hocket.cli.app import main; main()", *words]
    env = environment(home, **login(service))
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=90, check=False)


def client(home: Settings, service: str, **more: Any) -> dict[str, Any]:
    return {
        "bootstrap.servers": home.bootstrap,
        "security.protocol": "sasl_plaintext",
        "sasl.mechanism": "PLAIN",
        "sasl.username": f"hocket-{service}",
        "sasl.password": password(service),
        "log_level": 0,
        **more,
    }


def denied_writes(home: Settings, service: str, topics: list[str]) -> set[str]:
    denied = set()

    def delivered(error: KafkaError | None, message: Any) -> None:
        if error is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            denied.add(message.topic())

    producer = Producer(client(home, service, **{"message.timeout.ms": 15_000}))
    for topic in topics:
        producer.produce(topic, b"not mine", partition=0, on_delivery=delivered)
    producer.flush(20)
    return denied


def denied_reads(home: Settings, service: str, topics: list[str]) -> set[str]:
    """A topic that it cannot even ask about, it cannot read: Read includes Describe. The others it tries to fetch."""
    consumer = Consumer(client(home, service, **{"group.id": "none", "enable.auto.commit": False}))
    asked = {t: consumer.list_topics(t, timeout=30).topics[t].error for t in topics}
    denied = {t for t, e in asked.items() if e is not None and e.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED}
    try:
        consumer.assign([TopicPartition(t, 0, 0) for t in topics if t not in denied])
        end = time.monotonic() + 15
        while denied != set(topics) and time.monotonic() < end:
            message = consumer.poll(0.5)
            error = message.error() if message else None
            if error is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                denied.add(str(message.topic()))
    finally:
        consumer.close()
    return denied


def denied_group(home: Settings, service: str, group: str) -> bool:
    """Whether a service cannot join a group; it tries with a topic that it may read, if there is one."""
    readable = sorted(set(ALL) - set(foreign(service, "read"))) or [TOPICS.requests]
    consumer = Consumer(client(home, service, **{"group.id": group, "enable.auto.commit": False}))
    try:
        consumer.subscribe(readable[:1])
        end = time.monotonic() + 10
        while time.monotonic() < end:
            message = consumer.poll(0.5)
            error = message.error() if message else None
            if error is not None and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                return True
    except KafkaException as e:
        return bool(e.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED)
    finally:
        consumer.close()
    return False


def denied_transactions(home: Settings, service: str) -> bool:
    producer = Producer(client(home, service, **{"transactional.id": f"{PREFIX}hocket-aggregator-a0"}))
    try:
        producer.init_transactions(10)
    except KafkaException as e:
        return bool(e.args[0].code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
    return False


def foreign(service: str, side: str) -> list[str]:
    """Topics that a service has no business with, said anew from the declarations."""
    role = service.partition("-")[0]

    def own(name: str, spec: TopicSpec) -> bool:
        if role in (spec.producers if side == "write" else spec.consumers):
            tasks = role == "worker" and name.startswith(f"{PREFIX}tasks-")
            return not tasks or name == f"{PREFIX}tasks-{service.removeprefix('worker-')}"
        joins = spec.joined and "aggregator" in spec.consumers and name != TOPICS.progress
        if side == "write":
            return service == "aggregator" and joins  # it forwards what stands in a wrong partition
        waits = name.startswith(f"{PREFIX}tasks-") or (joins and "aggregator" not in spec.groupless)
        return service == "monitor" and waits  # to tell the age of what waits there

    return sorted(n for n, s in ALL.items() if not own(n, s))


async def test_each_service_does_its_work_and_nothing_else(
    secured: EmbeddedBroker, home: Settings, tmp_path: Path
) -> None:
    refused = hocket(home, "topics", "topics", "apply", "--wait", "0")
    assert refused.returncode == 4, "without ACLs nothing is allowed"
    await asyncio.to_thread(allow, secured)
    made = hocket(home, "topics", "topics", "apply")
    assert made.returncode == 0, made.stdout + made.stderr

    (port,) = free_ports(1)
    letter = tmp_path / "letter.txt"
    letter.write_text(LETTER)
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "brief.yaml").write_text(BRIEF)
    own = {"HOCKET_WORKFLOWS": str(tmp_path / "workflows")}
    services = [
        Service(
            "services.aggregator", home, tmp_path / "aggregator.log", HOCKET_INSTANCE="a0", **own, **login("aggregator")
        ),
        Service("services.planner", home, tmp_path / "planner.log", **own, **login("planner")),
        Service("services.workers", home, tmp_path / "worker.log", "--specialty", "summarisation", **login(WORKER)),
        Service("services.monitor", home, tmp_path / "monitor.log", HOCKET_HTTP_PORT=str(port), **login("monitor")),
    ]
    with running(*services):
        plain = ["ask", "What of the lamps?", "--attach", str(letter), "--timeout", "30"]
        in_a_session = ["ask", "Summarise it.", *plain[2:], "--workflow", "brief", "--session", "s"]
        for words in (plain, in_a_session):  # by the planner; with an account, without the planner
            asked = await asyncio.to_thread(hocket, home, "client", *words, "-o", "json")
            logs = "\n".join(s.tail() for s in services)
            assert asked.returncode == 0, f"{asked.stdout[:800]}{asked.stderr}\n{logs}"
            assert "broken" in asked.stdout or "late" in asked.stdout
        page = await asyncio.to_thread(metrics, port, f"{PREFIX}hocket-{WORKER}")
        assert ANSWERED in page, services[-1].tail()

    found: dict[str, dict[str, Any]] = {}
    for service in EXAMINED:
        writes, reads = foreign(service, "write"), foreign(service, "read")
        assert await asyncio.to_thread(denied_writes, home, service, writes) == set(writes), service
        assert await asyncio.to_thread(denied_reads, home, service, reads) == set(reads), service
        groups = [f"{PREFIX}hocket-{s}" for s in ("aggregator", "planner", WORKER) if s != service]
        for group in groups:
            assert await asyncio.to_thread(denied_group, home, service, group), (service, group)
        if service != "aggregator":
            assert await asyncio.to_thread(denied_transactions, home, service), service
        found[service] = {"writes": writes, "reads": reads, "groups": groups}
    for service, denied in found.items():
        print(f"{service} was denied: {json.dumps(denied)}")
    for s in services:
        assert "AUTHORIZATION" not in s.log.read_text().upper(), f"{s.command} was denied what it needs\n{s.tail()}"


def metrics(port: int, group: str) -> str:
    """The monitor's metrics, once they tell of the group and of an answer."""
    end = time.monotonic() + 30
    page = ""
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as reply:
                page = reply.read().decode()
        except OSError:
            page = ""
        if group in page and ANSWERED in page:
            return page
        time.sleep(0.3)
    return page
