"""`hocket schemas register|check` as its user runs it, against a real registry (Apicurio with Confluent's API)."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from typer.testing import CliRunner, Result

from hocket.cli.app import app
from hocket.contracts.codec import Codec, RegistryError, schema
from hocket.contracts.records import Control
from hocket.contracts.registry import ConfluentRegistry
from hocket.contracts.specialties import load_specialties
from hocket.contracts.topics import Topics

pytestmark = pytest.mark.kafka
ALL = Topics("").all(load_specialties())


def schemas(registry: str, prefix: str, *words: str) -> Result:
    return CliRunner().invoke(app, ["--prefix", prefix, "schemas", *words, "--registry", registry])


def versions(registry: str, subject: str) -> list[int]:
    with SchemaRegistryClient({"url": registry}) as client:
        return list(client.get_versions(subject))


def put(registry: str, subject: str, avsc: dict[str, Any]) -> None:
    with SchemaRegistryClient({"url": registry}) as client:
        client.register_schema(subject, Schema(json.dumps(avsc), "AVRO"))


def test_registering_twice_changes_nothing_and_producers_find_their_schemas(registry: str) -> None:
    lacking = schemas(registry, "a-", "check")
    assert lacking.exit_code == 1
    assert "a-requests-value: Request is not registered; run `hocket schemas register`" in lacking.stdout

    first = schemas(registry, "a-", "register")
    assert first.exit_code == 0, first.output
    assert first.stdout.count(" registered, compatibility set to FULL_TRANSITIVE") == len(ALL)

    second = schemas(registry, "a-", "register")
    assert (second.exit_code, "registered" in second.stdout) == (0, False)
    assert versions(registry, "a-tasks-code-value") == [1]
    assert schemas(registry, "a-", "check").exit_code == 0

    record = Control(request_id="r", action="cancel", by="me", at=1)
    codec = Codec(ConfluentRegistry(registry))  # as deployed: it registers nothing itself
    assert codec.decode(codec.encode(record, "a-control"), Control) == record


def test_processes_that_register_the_same_schema_at_once_all_get_its_id(registry: str) -> None:
    """Past bug: Apicurio answers all but the first with 409, and their processes ended."""
    wanted = schema("Control")

    def process(subject: str) -> int:
        return ConfluentRegistry(registry, auto_register=True).id_of(subject, wanted)

    with ThreadPoolExecutor(8) as pool:
        for number in range(5):
            assert len(set(pool.map(process, [f"e{number}-control-value"] * 8))) == 1


def test_a_schema_that_would_break_others_is_not_registered_on_the_way(registry: str) -> None:
    narrow = schema("Control")
    put(registry, "f-control-value", {**narrow, "fields": [*narrow["fields"], {"name": "must", "type": "string"}]})
    with SchemaRegistryClient({"url": registry}) as client:
        client.set_compatibility(subject_name="f-control-value", level="FULL_TRANSITIVE")
    with pytest.raises(RegistryError, match="gives no id for f-control-value"):
        ConfluentRegistry(registry, auto_register=True).id_of("f-control-value", narrow)
    assert versions(registry, "f-control-value") == [1]


def test_an_incompatible_schema_is_refused_with_the_diff_and_nothing_is_registered(registry: str) -> None:
    foreign = schema("Plan") | {"fields": [*schema("Plan")["fields"], {"name": "must", "type": "int"}]}
    put(registry, "b-plans-value", foreign)
    for command in ("check", "register"):
        refused = schemas(registry, "b-", command)
        assert refused.exit_code == 1
        assert "b-plans-value: Plan is refused" in refused.stdout
        assert "version 1 cannot read this version of Hocket: must is not written, and has no default" in refused.stdout
        assert '-      "name": "must"' in refused.stdout
    with SchemaRegistryClient({"url": registry}) as client:
        assert [s for s in client.get_subjects() if s.startswith("b-")] == ["b-plans-value"]


def test_an_older_form_in_the_registry_gets_a_second_version(registry: str) -> None:
    """As an upgrade does it: the field of the newer schema has a default."""
    newest = schema("Heartbeat")
    older = newest | {"fields": [f for f in newest["fields"] if "default" not in f]}
    assert older != newest
    put(registry, "c-heartbeats-value", older)
    done = schemas(registry, "c-", "register")
    assert done.exit_code == 0, done.output
    assert versions(registry, "c-heartbeats-value") == [1, 2]


def test_a_weaker_level_is_told_and_raised(registry: str) -> None:
    assert schemas(registry, "d-", "register").exit_code == 0
    with SchemaRegistryClient({"url": registry}) as client:
        client.set_compatibility("d-plans-value", "BACKWARD")
    told = schemas(registry, "d-", "check")
    assert told.exit_code == 1
    assert "d-plans-value: its compatibility level is not FULL_TRANSITIVE" in told.stdout
    assert schemas(registry, "d-", "register").exit_code == 0
    assert schemas(registry, "d-", "check").exit_code == 0


def test_without_a_registry_it_says_what_to_set_and_an_absent_one_is_one_sentence() -> None:
    unset = CliRunner().invoke(app, ["schemas", "check"])
    assert (unset.exit_code, "HOCKET_REGISTRY_URL" in unset.stderr) == (2, True)
    absent = CliRunner().invoke(app, ["schemas", "check", "--registry", "http://127.0.0.1:1", "--wait", "0"])
    assert absent.exit_code == 4
    assert "http://127.0.0.1:1 does not answer" in absent.stderr
