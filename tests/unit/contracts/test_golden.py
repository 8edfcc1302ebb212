"""Golden messages: what any released version of Hocket wrote, this one reads, and reads to the same."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from hocket.contracts.codec import Codec, fingerprint_of, known_schemas, record_types, schema
from hocket.contracts.compat import full_transitive
from tests.support.golden import EXAMPLES, golden

CASES = [pytest.param(p, id=f"{p.parent.name}-{p.stem}") for p in golden()]


@pytest.mark.parametrize("path", CASES)
def test_the_committed_bytes_still_read_as_the_committed_json(path: Path) -> None:
    encoded = path.with_suffix(".avro")
    assert encoded.exists(), f"{encoded.name} is missing: run `python -m tests.support.golden`"
    value = encoded.read_bytes()
    assert value[2:10] in known_schemas(), (
        f"the schema of {path.parent.name} has changed since {path.stem} was written: put the released one into "
        f"schemas/history/{path.parent.name}.{path.stem}.avsc, and add a golden message of the new version"
    )
    read = Codec().decode(value, record_types()[path.parent.name])
    assert read.model_dump(mode="json") == _completed(path)


def _completed(path: Path) -> object:
    """The JSON as today's record shows it: fields that came later stand at their defaults."""
    return record_types()[path.parent.name].model_validate_json(path.read_text("utf-8")).model_dump(mode="json")


def test_every_record_has_a_golden_message_in_its_current_form() -> None:
    """A new one: write schemas/examples/<Record>/v<version>.json, run `python -m tests.support.golden`, commit both."""
    current = {fingerprint_of(schema(name)): name for name in record_types()}
    covered = {current.get(p.read_bytes()[2:10]) for p in EXAMPLES.glob("*/*.avro")}
    missing = sorted(set(record_types()) - covered)
    wanted = [f"schemas/examples/{name}/v{version('hocket')}.json" for name in missing]
    assert missing == [], f"write {', '.join(wanted)}, then run `python -m tests.support.golden`"


def test_a_golden_message_sets_something_beside_the_defaults_in_every_record() -> None:
    for path in golden():
        fields = json.loads(path.read_text("utf-8"))
        required = {n for n, f in record_types()[path.parent.name].model_fields.items() if f.is_required()}
        assert required <= set(fields), path


@pytest.mark.parametrize("name", sorted(record_types()))
def test_every_released_version_of_a_record_reads_every_other(name: str) -> None:
    versions = {f"{name}#{mark.hex()}": s for mark, s in known_schemas().items() if s["name"] == name}
    assert versions, f"{name} has no schema"
    assert full_transitive(versions) == []
