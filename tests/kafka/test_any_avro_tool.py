"""Any Avro tool reads the topics: plain fastavro with nothing but the .avsc files, and Confluent's own deserializer."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from hocket.contracts.codec import Codec, record_types, schema
from hocket.contracts.records import Record
from hocket.contracts.registry import ConfluentRegistry, RegistryError
from hocket.contracts.topics import Topics
from hocket.runtime.settings import Settings
from tests.support.golden import golden
from tests.support.kafka import producing
from tests.support.tree import ROOT

READER = """
import io, json, sys
import fastavro
from confluent_kafka import Consumer, TopicPartition
from fastavro.schema import fingerprint, to_parsing_canonical_form
from pathlib import Path

assert "hocket" not in sys.modules
bootstrap, topic, partitions, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
schemas = {}
for path in Path("schemas").glob("*.avsc"):
    avsc = json.loads(path.read_text())
    schemas[bytes.fromhex(fingerprint(to_parsing_canonical_form(avsc), "CRC-64-AVRO"))] = avsc
consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "x", "enable.auto.commit": False})
consumer.assign([TopicPartition(topic, p, 0) for p in range(partitions)])
found = {}
while len(found) < count:
    message = consumer.poll(10)
    assert message is not None and message.error() is None, message
    value = message.value()
    assert value[:2] == b"\\xc3\\x01"
    avsc = schemas[value[2:10]]
    read = fastavro.schemaless_reader(io.BytesIO(value[10:]), avsc, None)
    out = io.BytesIO()
    fastavro.schemaless_writer(out, avsc, read)
    found[avsc["name"]] = {"same": out.getvalue() == value[10:], "fields": sorted(read)}
consumer.close()
assert "hocket" not in sys.modules
print(json.dumps(found))
"""


def records() -> list[Record]:
    """The golden message of every record: each field set to something."""
    return [record_types()[p.parent.name].model_validate_json(p.read_text("utf-8")) for p in golden()]


async def test_plain_fastavro_reads_every_record_with_the_schema_files_alone(
    topics_ready: Topics, settings: Settings
) -> None:
    codec, topic = Codec(), topics_ready.progress
    async with producing(settings) as producer:
        for record in records():
            await producer.send_and_wait(topic, codec.encode(record, topic), key=b"k")
    names = {type(r).__name__ for r in records()}
    arguments = [settings.bootstrap, topic, str(settings.partitions), str(len(names))]
    done = subprocess.run(
        [sys.executable, "-c", READER, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == names
    assert all(found[n] == {"same": True, "fields": sorted(record_types()[n].model_fields)} for n in names)


def deserialized(url: str, topic: str, value: bytes) -> Any:
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroDeserializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    with SchemaRegistryClient({"url": url}) as client:
        return AvroDeserializer(client)(value, SerializationContext(topic, MessageField.VALUE))


def test_confluents_deserializer_reads_every_record_from_a_real_registry(registry: str) -> None:
    codec = Codec(ConfluentRegistry(registry, auto_register=True))
    for record in records():
        topic = f"t-{type(record).__name__.lower()}"
        read = deserialized(registry, topic, codec.encode(record, topic))
        assert sorted(read) == sorted(type(record).model_fields)
        assert read.get("request_id") == getattr(record, "request_id", None)


def test_what_confluents_serializer_writes_is_read(registry: str) -> None:
    """As a client with the Confluent stack sends it: the committed file registered by the client itself."""
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroSerializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    request = next(r for r in records() if type(r).__name__ == "Request")
    with SchemaRegistryClient({"url": registry}) as client:
        write = AvroSerializer(client, json.dumps(schema("Request")))
        value = write(request.model_dump(), SerializationContext("t-requests", MessageField.VALUE))
    assert value is not None
    assert Codec(ConfluentRegistry(registry)).decode(value, type(request)) == request


def test_both_framings_are_read_side_by_side(registry: str) -> None:
    record = records()[0]
    with_registry = Codec(ConfluentRegistry(registry, auto_register=True))
    for value in (with_registry.encode(record, "t-mixed"), Codec().encode(record, "t-mixed")):
        assert with_registry.decode(value, type(record)) == record


def test_an_unregistered_schema_is_refused_with_what_to_do(registry: str) -> None:
    with pytest.raises(RegistryError, match="HOCKET_REGISTRY_AUTO_REGISTER=true"):
        Codec(ConfluentRegistry(registry)).encode(records()[0], "t-never-registered")


def test_an_unknown_id_is_a_bad_record_and_no_outage(registry: str) -> None:
    from hocket.contracts.codec import CodecError

    with pytest.raises(CodecError, match="is not in the registry"):
        Codec(ConfluentRegistry(registry)).decode(b"\x00\x7f\xff\xff\xff\x02", type(records()[0]))


def test_a_registry_out_of_reach_is_named() -> None:
    with pytest.raises(RegistryError, match=r"http://127\.0\.0\.1:9/api gives no id"):
        Codec(ConfluentRegistry("http://127.0.0.1:9/api")).encode(records()[0], "t")
