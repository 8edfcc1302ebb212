"""llm/schemas.py: Avro record, JSON schema and `faults` say the same about the same data."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import fastavro
import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.llm.schemas import SchemaError, faults, fitted, json_schema

RECORD: dict[str, Any] = {
    "type": "record",
    "name": "Finding",
    "namespace": "hocket.outputs",
    "doc": "What was found.",
    "fields": [
        {"name": "text", "type": "string", "doc": "In words."},
        {"name": "score", "type": "double"},
        {"name": "count", "type": "int", "default": 0},
        {"name": "mood", "type": {"type": "enum", "name": "Mood", "symbols": ["good", "bad"], "doc": "How it feels."}},
        {"name": "second", "type": ["null", "hocket.outputs.Mood"], "default": None},
        {"name": "tags", "type": {"type": "array", "items": "string"}, "default": []},
        {"name": "facts", "type": {"type": "map", "values": ["null", "long", "string"]}, "default": {}},
        {
            "name": "parts",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "Part",
                    "fields": [
                        {"name": "name", "type": "string"},
                        {"name": "sure", "type": "boolean", "default": True},
                        {"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]},
                    ],
                },
            },
            "default": [],
        },
    ],
}
GOOD: dict[str, Any] = {"text": "x", "score": 1, "mood": "good", "parts": [{"name": "p", "at": None}]}


def encoded(schema: Mapping[str, Any], data: Any) -> bytes:
    out = io.BytesIO()
    plain = json.loads(json.dumps(schema).replace('"logicalType"', '"note"'))
    fastavro.schemaless_writer(out, fastavro.parse_schema(plain), data, strict=True)
    return out.getvalue()


def test_the_json_schema_says_what_the_record_says() -> None:
    made = json_schema(RECORD)
    assert made["required"] == ["text", "score", "mood"]
    assert made["additionalProperties"] is False
    assert made["description"] == "What was found."
    assert made["properties"]["text"] == {"type": "string", "description": "In words."}
    assert made["properties"]["mood"] == {"type": "string", "enum": ["good", "bad"], "description": "How it feels."}
    assert made["properties"]["second"]["anyOf"][1]["enum"] == ["good", "bad"]
    assert made["properties"]["parts"]["items"]["required"] == ["name", "at"]
    jsonschema.Draft202012Validator.check_schema(made)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"text": None}, "text: must be a text, not None"),
        ({"score": "1"}, "score: must be a number, not '1'"),
        ({"score": True}, "score: must be a number, not True"),
        ({"score": float("nan")}, "score: must be a number, not nan"),
        ({"count": 1.5}, "count: must be a whole number, not 1.5"),
        ({"count": 2**31}, "count: must be a whole number, not 2147483648"),
        ({"mood": "so so"}, "mood: must be one of good, bad, not 'so so'"),
        ({"second": "so"}, "second: must be one of good, bad, not 'so'"),
        ({"tags": "a"}, "tags: must be a list, not 'a'"),
        ({"tags": ["a", 1]}, "tags[1]: must be a text, not 1"),
        ({"facts": {"a": []}}, "facts.a: must be null or a whole number or a text, not []"),
        ({"parts": [{"name": "p"}]}, "parts[0].at: is missing"),
        ({"parts": [{"name": "p", "at": 1, "x": 1}]}, "parts[0]: there is no field 'x'"),
        ({"text": "\ud800"}, "text: must be a text, not '\\ud800'"),
        ({"more": 1}, "the reply: there is no field 'more'"),
    ],
)
def test_each_fault_names_its_field(change: dict[str, Any], fault: str) -> None:
    assert faults(RECORD, GOOD | change) == [fault]


def test_missing_fields_and_wrong_roots_are_faults() -> None:
    assert faults(RECORD, {}) == ["text: is missing", "score: is missing", "mood: is missing"]
    assert faults(RECORD, [1]) == ["the reply: must be an object, not [1]"]
    assert len(faults(RECORD, {f"f{n}": n for n in range(100)})) == 20


def test_fitting_fills_in_defaults_and_whole_floats() -> None:
    found = fitted(RECORD, GOOD | {"count": 3.0})
    assert found["count"] == 3
    assert isinstance(found["count"], int)
    assert found["second"] is None
    assert found["parts"] == [{"name": "p", "sure": True, "at": None}]
    assert encoded(RECORD, found)
    found["tags"].append("mine")
    assert fitted(RECORD, GOOD)["tags"] == []


@pytest.mark.parametrize("kind", ["bytes", {"type": "fixed", "name": "F", "size": 4}])
def test_bytes_cannot_come_out_of_a_model(kind: Any) -> None:
    record = {"type": "record", "name": "R", "fields": [{"name": "raw", "type": kind}]}
    with pytest.raises(SchemaError, match=r"R.raw: a model cannot answer with (bytes|fixed)"):
        json_schema(record)


def test_a_record_that_contains_itself_is_refused() -> None:
    record = {"type": "record", "name": "R", "fields": [{"name": "next", "type": ["null", "R"]}]}
    with pytest.raises(SchemaError, match=r"R.next: R contains itself"):
        json_schema(record)


def test_every_shipped_output_record_can_be_asked_for() -> None:
    folder = Path(str(files("schemas"))) / "outputs"
    found = sorted(folder.glob("*.avsc"))
    for path in found:
        made = json_schema(json.loads(path.read_text("utf-8")))
        jsonschema.Draft202012Validator.check_schema(made)
        assert made["additionalProperties"] is False, path.name


# Random records, and data that is right, nearly right, or anything.

names = st.sampled_from(["a", "b", "c"])
primitives = st.sampled_from(["null", "boolean", "int", "long", "double", "string"])


def records(number: list[int]) -> st.SearchStrategy[Any]:
    def extend(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return (
            st.builds(lambda items: {"type": "array", "items": items}, inner)
            | st.builds(lambda values: {"type": "map", "values": values}, inner)
            | st.builds(lambda kind: kind if isinstance(kind, list) or kind == "null" else ["null", kind], inner)
            | st.builds(lambda fields: _record(number, fields), st.dictionaries(names, st.tuples(inner, st.booleans())))
        )

    enums = st.builds(lambda: {"type": "enum", "name": _name(number), "symbols": ["x", "y"]})
    kinds = st.recursive(primitives | enums, extend, max_leaves=6)
    fields = st.dictionaries(names, st.tuples(kinds, st.booleans()), min_size=1)
    return st.builds(lambda given: _record(number, given), fields)


def _name(number: list[int]) -> str:
    number[0] += 1
    return f"N{number[0]}"


def _record(number: list[int], given: dict[str, tuple[Any, bool]]) -> dict[str, Any]:
    fields = []
    for name, (kind, defaulted) in given.items():
        field = {"name": name, "type": kind}
        if defaulted and kind in ("int", "long"):
            field["default"] = 7
        fields.append(field)
    return {"type": "record", "name": _name(number), "fields": fields}


def data_for(kind: Any) -> st.SearchStrategy[Any]:
    simple = {
        "null": st.none(),
        "boolean": st.booleans(),
        "int": st.integers(-(2**31), 2**31 - 1) | st.sampled_from([3.0, 2**31]),
        "long": st.integers(-(2**63), 2**63 - 1),
        "double": st.floats() | st.integers(),
        "string": st.text(max_size=4),
    }
    if isinstance(kind, str):
        return simple[kind]
    if isinstance(kind, list):
        return st.one_of([data_for(k) for k in kind])
    if kind["type"] == "enum":
        return st.sampled_from([*kind["symbols"], "z"])
    if kind["type"] == "array":
        return st.lists(data_for(kind["items"]), max_size=2)
    if kind["type"] == "map":
        return st.dictionaries(names, data_for(kind["values"]), max_size=2)
    needed = {f["name"]: data_for(f["type"]) for f in kind["fields"] if "default" not in f}
    spare = {f["name"]: data_for(f["type"]) for f in kind["fields"] if "default" in f}
    return st.fixed_dictionaries(needed, optional=spare | {"zz": st.none()} if kind["fields"] else {})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
    max_leaves=4,
)
cases = st.builds(lambda: [0]).flatmap(records).flatmap(lambda s: st.tuples(st.just(s), data_for(s) | json_values))


@given(cases)
def test_json_schema_and_faults_agree_and_what_they_accept_avro_encodes(case: tuple[dict[str, Any], Any]) -> None:
    schema, data = case
    accepted = jsonschema.Draft202012Validator(json_schema(schema)).is_valid(data)
    if not _has_odd_numbers(data):
        assert accepted == (faults(schema, data) == [])
    if not faults(schema, data):
        assert encoded(schema, fitted(schema, data)) is not None
        assert faults(schema, fitted(schema, data)) == []


def _has_odd_numbers(data: Any) -> bool:
    """NaN, infinity and numbers beyond doubles are not JSON; only `faults` must refuse them."""
    if isinstance(data, float):
        return data != data or data in (float("inf"), float("-inf"))
    if isinstance(data, dict):
        return any(map(_has_odd_numbers, data.values()))
    if isinstance(data, list):
        return any(map(_has_odd_numbers, data))
    return isinstance(data, int) and abs(data) >= 2**1023
