"""The embedded broker as its users meet it: started, asked, killed, refused. One broker where one will do."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from hocket.local import broker as module
from hocket.local.broker import BrokerOptions, EmbeddedBroker
from hocket.local.process import BrokerError, command_of, wait_until
from hocket.local.registry import ApicurioRegistry

pytestmark = pytest.mark.kafka

GROUPS = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
OWNER = """
import time
from hocket.local.broker import EmbeddedBroker
broker = EmbeddedBroker()
broker.start()
print(broker.pid, broker.folder, flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def broker():
    with EmbeddedBroker() as running:
        yield running


def create(bootstrap, topic, **config):
    admin = AdminClient({"bootstrap.servers": bootstrap, **config})
    for future in admin.create_topics([NewTopic(topic, num_partitions=1)]).values():
        future.result(15)


def produce(bootstrap, topic, *values, **config):
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", **config})
    failures = []
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _: failures.append(error))
    assert producer.flush(15) == 0
    assert failures == [None] * len(values)


def consume(bootstrap, topic, count, **config):
    """Read `count` records as a group member and commit them."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "readers",
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 6000,
            "enable.auto.commit": False,
            **config,
        }
    )
    consumer.subscribe([topic])
    found = []
    try:
        assert wait_until(lambda: len(found.extend(consumer.consume(10, 0.2)) or found) >= count, 20)
        consumer.commit(asynchronous=False)
    finally:
        consumer.close()
    return found


def values(records):
    return [record.value() for record in records]


def test_produce_consume_kill_and_come_back_with_the_data(broker):
    create(broker.bootstrap, "kept")
    produce(broker.bootstrap, "kept", "a", "b")
    before, pid = broker.bootstrap, broker.pid
    broker.kill()
    assert not broker.running
    assert command_of(pid) == ""
    assert not module.answers(int(before.rpartition(":")[2]))

    broker.start()
    assert broker.bootstrap == before
    produce(before, "kept", "c")
    records = consume(before, "kept", 3)
    assert values(records) == [b"a", b"b", b"c"]
    log_append_time = 2
    assert {record.timestamp()[0] for record in records} == {log_append_time}


def test_restart_in_good_order_keeps_data_offsets_and_the_ports(broker):
    create(broker.bootstrap, "orderly")
    produce(broker.bootstrap, "orderly", "a")
    assert len(consume(broker.bootstrap, "orderly", 1)) == 1
    before = broker.bootstrap
    broker.restart()
    assert broker.bootstrap == before
    produce(before, "orderly", "b")
    assert values(consume(before, "orderly", 1)) == [b"b"]


def test_a_misspelt_topic_fails_instead_of_appearing(broker):
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    for _ in range(2):  # asking for a topic is what would make it
        error = admin.list_topics("mispelt", timeout=30).topics["mispelt"].error
        assert error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_it_listens_on_the_loopback_address_only(broker):
    port = int(broker.bootstrap.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 1):
        pass
    # A server bound to every address would answer on all of 127.0.0.0/8.
    if sys.platform == "linux":
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), 1)


def test_kafkas_own_tools_run(broker):
    create(broker.bootstrap, "tooled")
    produce(broker.bootstrap, "tooled", "a")
    consume(broker.bootstrap, "tooled", 1, **{"group.id": "tooled-group"})
    listed = broker.run_tool(GROUPS, "--bootstrap-server", broker.bootstrap, "--list")
    assert listed.returncode == 0, listed.stderr
    assert "tooled-group" in listed.stdout.split()


def test_a_running_broker_is_not_started_twice(broker):
    with pytest.raises(BrokerError, match="running already"):
        broker.start()


def test_a_kept_folder_serves_one_broker_and_survives_its_owner(tmp_path):
    options = BrokerOptions(data_dir=tmp_path / "data")
    with EmbeddedBroker(options) as first:
        address = first.bootstrap
        create(address, "kept")
        produce(address, "kept", "a")
        with pytest.raises(BrokerError, match=r"in use by a running broker"):
            EmbeddedBroker(options).start()
    with EmbeddedBroker(options) as second:
        assert second.bootstrap == address
        consumer = Consumer({"bootstrap.servers": address, "group.id": "none"})
        assert consumer.get_watermark_offsets(TopicPartition("kept", 0), timeout=30) == (0, 1)
        consumer.close()


def test_a_taken_port_is_named():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(BrokerError, match=f"Port {port} on 127.0.0.1 is taken by another program"):
            EmbeddedBroker(BrokerOptions(port=port)).start()


def test_a_port_taken_between_look_and_start_is_replaced(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        offers = [[other.getsockname()[1], 31_998], module.free_ports(2)]
        monkeypatch.setattr(module, "free_ports", lambda count, taken: offers.pop(0))
        with EmbeddedBroker() as running:
            assert not running.bootstrap.endswith(f":{other.getsockname()[1]}")
    assert offers == []


def test_a_start_that_takes_long_is_waited_for_and_explained(monkeypatch):
    """Given up after a minute, a broker with thousands of partitions never came back after a crash."""
    monkeypatch.setattr(module, "_LONG_START_S", 0.0)
    said = []
    with EmbeddedBroker(progress=said.append) as running:
        assert running.running
    assert any("looks through all its data" in line for line in said)
    assert BrokerOptions().start_timeout >= 300


def test_a_broker_that_dies_at_start_says_why_and_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(BrokerError, match=r"(?s)could not prepare .*num\.network\.threads"):
        EmbeddedBroker(BrokerOptions(properties={"num.network.threads": "none"})).start()
    with pytest.raises(BrokerError, match=r"(?s)ended with code 1 at start.*ClassNotFoundException: no\.such\.Thing"):
        EmbeddedBroker(BrokerOptions(properties={"authorizer.class.name": "no.such.Thing"})).start()
    with pytest.raises(BrokerError, match=r"did not answer within 0 s"):
        EmbeddedBroker(BrokerOptions(start_timeout=0.05)).start()
    assert list(tmp_path.iterdir()) == []


def test_an_owner_killed_outright_leaves_no_broker_and_no_folder():
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True) as owner:
        pid, folder = owner.stdout.readline().split()
        assert "kafka.Kafka" in command_of(int(pid))
        owner.send_signal(signal.SIGKILL)
    assert wait_until(lambda: command_of(int(pid)) == "", 30)
    assert wait_until(lambda: not Path(folder).exists(), 30)


def test_an_extra_listener_with_sasl_and_access_rules():
    jaas = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_worker="secret";'
    options = BrokerOptions(
        listeners={"SASL": "SASL_PLAINTEXT"},
        properties={
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl.plain.sasl.jaas.config": jaas,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        },
    )
    login = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "worker",
        "sasl.password": "secret",
    }
    with EmbeddedBroker(options) as running:
        create(running.bootstrap, "guarded")
        with pytest.raises(KafkaException, match="TOPIC_AUTHORIZATION_FAILED"):
            create(running.address("SASL"), "forbidden", **login)
        granted = running.run_tool(
            "org.apache.kafka.tools.AclCommand",
            *("--bootstrap-server", running.bootstrap, "--add", "--allow-principal", "User:worker"),
            *("--operation", "Write", "--topic", "guarded"),
        )
        assert granted.returncode == 0, granted.stderr
        produce(running.address("SASL"), "guarded", "a", **login)


def test_the_registry_stores_a_schema():
    schema = json.dumps({"type": "record", "name": "Task", "fields": [{"name": "id", "type": "string"}]})
    with ApicurioRegistry() as registry:
        url = registry.url
        made = ask(f"{url}/subjects/tasks-value/versions", {"schema": schema})
        found = ask(f"{url}/schemas/ids/{made['id']}")
        assert json.loads(found["schema"]) == json.loads(schema)
        assert ask(f"{url}/subjects") == ["tasks-value"]
        registry.kill()
        assert not registry.running
        assert registry.url == url


def ask(url, body=None):
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    kind = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
    connection.request("POST" if body else "GET", parts.path, json.dumps(body) if body else None, kind)
    response = connection.getresponse()
    try:
        assert response.status == 200
        return json.load(response)
    finally:
        connection.close()
