"""`schemas/topics.yaml`: complete, without typos, and the names that derive from it."""

from __future__ import annotations

import pytest

from hocket.contracts.codec import record_types
from hocket.contracts.topics import PER_SPECIALTY, Topics, load_specs, retention_ms
from hocket.kafka.client import MAX_RECORD_BYTES

SPECS = load_specs()
SERVICES = {"client", "aggregator", "planner", "worker", "monitor"}
BROADCAST = {"heartbeats"}
"""What the aggregator reads beside its tables."""


@pytest.mark.parametrize("name", SPECS)
def test_a_topic_carries_one_known_record(name: str) -> None:
    assert SPECS[name].record in record_types()


@pytest.mark.parametrize("name", SPECS)
def test_a_topic_is_written_and_read_by_known_services(name: str) -> None:
    spec = SPECS[name]
    assert spec.producers
    assert spec.consumers
    assert set(spec.producers) | set(spec.consumers) <= SERVICES


def test_no_schema_is_unused() -> None:
    assert set(record_types()) == {s.record for s in SPECS.values()}


@pytest.mark.parametrize("name", SPECS)
def test_a_topic_says_what_it_is_for(name: str) -> None:
    assert SPECS[name].purpose.endswith(".")


@pytest.mark.parametrize("name", SPECS)
def test_no_topic_name_has_a_dot(name: str) -> None:
    assert "." not in name


@pytest.mark.parametrize("name", SPECS)
def test_the_key_is_a_field_of_the_record(name: str) -> None:
    """A dead letter is the one exception: it is keyed as the record it holds."""
    fields = record_types()[SPECS[name].record].model_fields
    assert SPECS[name].key in fields or SPECS[name].record == "DeadLetter"


@pytest.mark.parametrize("name", SPECS)
def test_partitions_are_one_of_the_three_kinds(name: str) -> None:
    partitions = SPECS[name].partitions
    assert partitions in ("joined", "tasks") or (isinstance(partitions, int) and partitions >= 1)


def test_what_the_aggregator_joins_is_joined_under_the_key_of_a_row() -> None:
    for name, spec in SPECS.items():
        if "aggregator" in spec.consumers and name not in BROADCAST:
            assert spec.partitions == "joined", name
            assert spec.key in ("request_id", "asker", "account_id"), name


def test_a_dead_letter_holds_the_largest_record_with_its_reason() -> None:
    limit = SPECS["dead-letters"].max_message_bytes
    assert limit is not None
    assert limit >= 2 * MAX_RECORD_BYTES
    others = {s.max_message_bytes for n, s in SPECS.items() if n != "dead-letters"}
    assert others == {None}


def test_dead_letters_outlive_everything_else() -> None:
    longest = max(s.retention_ms for n, s in SPECS.items() if n != "dead-letters")
    assert SPECS["dead-letters"].retention_ms > longest


def test_names_carry_the_prefix() -> None:
    topics = Topics("prod-")
    assert topics.dead_letters == "prod-dead-letters"
    assert topics.tasks("extraction") == "prod-tasks-extraction"
    assert topics.plain("prod-answers") == "answers"


def test_a_prefix_with_a_dot_is_refused() -> None:
    with pytest.raises(ValueError, match="HOCKET_PREFIX"):
        Topics("prod.")


def test_a_misspelt_topic_is_an_error_at_once() -> None:
    with pytest.raises(AttributeError, match=r"no topic 'request' in schemas/topics\.yaml"):
        _ = Topics().request


def test_every_topic_of_an_installation() -> None:
    names = Topics("p-").all(["extraction", "legal"])
    expected = {f"p-{n}" for n in SPECS if n != PER_SPECIALTY} | {"p-tasks-extraction", "p-tasks-legal"}
    assert set(names) == expected


def test_the_declaration_behind_a_full_name() -> None:
    topics = Topics("p-")
    assert topics.spec("p-tasks-legal") is SPECS[PER_SPECIALTY] or topics.spec("p-tasks-legal") == SPECS[PER_SPECIALTY]
    assert topics.spec("p-tasks-planning") == SPECS["tasks-planning"]
    assert topics.spec("p-orders") is None
    assert topics.spec("requests") is None


@pytest.mark.parametrize(("text", "millis"), [("7d", 604_800_000), ("1h", 3_600_000)])
def test_retention(text: str, millis: int) -> None:
    assert retention_ms(text) == millis


@pytest.mark.parametrize("text", ["7", "d", "7w", "1.5d", ""])
def test_a_retention_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="retention must look like"):
        retention_ms(text)
