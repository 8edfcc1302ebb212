"""The topics and their records as an AsyncAPI 3.0 document, with the Kafka binding 0.5.0.

Each operation is of one service, named in front and as its tag; what is not a client's carries the tag `internal`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from hocket import __version__
from hocket.contracts.codec import schema
from hocket.contracts.topics import PER_SPECIALTY, Topics, TopicSpec

_AVRO = "application/vnd.apache.avro;version=1.9.0"
_BINDING = "0.5.0"
_CLIENT = "client"


def document(topics: Topics, specialties: Iterable[str]) -> dict[str, Any]:
    """The document of an installation; without specialties their topics stand as one channel with a parameter."""
    names = sorted(specialties)
    specs = topics.all(names)
    if not names:
        specs = specs | {topics.prefix + PER_SPECIALTY: topics.specs[PER_SPECIALTY]}
    channels = {_id(topics.plain(n)): _channel(topics, n, spec) for n, spec in sorted(specs.items())}
    return {
        "asyncapi": "3.0.0",
        "id": "urn:hocket",
        "info": {
            "title": "Hocket",
            "version": __version__,
            "description": "Write a Request, read its Answer. Values are Avro: in single-object encoding, or in "
            "Confluent framing where a schema registry is configured; both are read. Keys are UTF-8 text.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/avro",
        "channels": channels,
        "operations": dict(_operations(topics, specs)),
        "components": {
            "messages": {record: _message(record, specs) for record in sorted({s.record for s in specs.values()})}
        },
    }


def _id(plain: str) -> str:
    return plain.replace("{specialty}", "specialty")


def _channel(topics: Topics, name: str, spec: TopicSpec) -> dict[str, Any]:
    found: dict[str, Any] = {
        "address": name,
        "description": spec.purpose,
        "messages": {spec.record: {"$ref": f"#/components/messages/{spec.record}"}},
        "bindings": {"kafka": _topic_binding(name, spec)},
    }
    if topics.plain(name) == PER_SPECIALTY:
        found["parameters"] = {"specialty": {"description": "The name of a specialty, such as extraction"}}
    return found


def _topic_binding(name: str, spec: TopicSpec) -> dict[str, Any]:
    policy = (["compact"] if spec.compacted else []) + (["delete"] if spec.expires else [])
    configuration: dict[str, Any] = {"cleanup.policy": policy}
    if spec.expires:
        configuration["retention.ms"] = spec.retention_ms
    if spec.max_message_bytes is not None:
        configuration["max.message.bytes"] = spec.max_message_bytes
    binding: dict[str, Any] = {"topic": name, "topicConfiguration": configuration, "bindingVersion": _BINDING}
    return binding | ({"partitions": spec.partitions} if isinstance(spec.partitions, int) else {})


def _operations(topics: Topics, specs: Mapping[str, TopicSpec]) -> Iterable[tuple[str, dict[str, Any]]]:
    for name, spec in sorted(specs.items()):
        channel = _id(topics.plain(name))
        for action, who in (("send", spec.producers), ("receive", spec.consumers)):
            for service in who:
                body: dict[str, Any] = {"action": action, "channel": {"$ref": f"#/channels/{channel}"}}
                body["summary"] = f"{service} {'writes' if action == 'send' else 'reads'} {topics.plain(name)}"
                body["tags"] = [{"name": service}] + ([] if service == _CLIENT else [{"name": "internal"}])
                yield f"{service}_{action}_{channel}", body


def _message(record: str, specs: Mapping[str, TopicSpec]) -> dict[str, Any]:
    avsc = schema(record)
    keys = sorted({s.key for s in specs.values() if s.record == record})
    return {
        "name": avsc["name"],
        "title": record,
        "summary": avsc.get("doc", ""),
        "contentType": "application/avro",
        "payload": {"schemaFormat": _AVRO, "schema": avsc},
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": " or ".join(keys)},
                "schemaIdLocation": "payload",
                "schemaIdPayloadEncoding": "confluent",
                "schemaLookupStrategy": "TopicNameStrategy",
                "bindingVersion": _BINDING,
            }
        },
    }


def dump(found: Mapping[str, Any]) -> str:
    """As YAML; the same document gives the same text."""
    text: str = yaml.dump(found, sort_keys=False, allow_unicode=True, width=120, Dumper=_Plain)
    return text


class _Plain(yaml.SafeDumper):
    """Without anchors: the same value may stand in several places, and people read this."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True
