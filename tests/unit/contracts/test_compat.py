"""The compatibility check: one named case per rule of Avro's schema resolution, and fastavro as the judge."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.contracts.compat import full_transitive, unreadable
from tests.support.avro import data


def record(*fields: dict[str, Any], name: str = "R") -> dict[str, Any]:
    return {"type": "record", "name": name, "namespace": "hocket", "fields": list(fields)}


def field(name: str, of: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": of, **more}


def enum(*symbols: str, **more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": "E", "symbols": list(symbols), **more}


A = field("a", "string")
READABLE = [
    (record(A), record(A)),
    (record(A, field("b", "int", default=1)), record(A)),
    (record(A), record(A, field("b", "int"))),
    (record(field("a", "long")), record(field("a", "int"))),
    (record(field("a", ["null", "string"])), record(A)),
    (record(field("a", enum("x", "y"))), record(field("a", enum("x")))),
    (record(field("a", enum("x", default="x"))), record(field("a", enum("x", "y")))),
    (record(field("new", "string", aliases=["a"])), record(A)),
    (record(field("a", {"type": "string"})), record(A)),
    (
        record(field("a", record(A, name="I")), field("b", "I")),
        record(field("a", record(A, name="I")), field("b", "hocket.I")),
    ),
]
BROKEN = [
    (record(A, field("b", "int")), record(A), "b is not written, and has no default"),
    (record(field("a", "int")), record(field("a", "long")), "a was long and is read as int"),
    (record(A), record(field("a", ["null", "string"])), "a was null and is read as string"),
    (record(field("a", enum("x"))), record(field("a", enum("x", "y"))), "a may be y, which the reader does not know"),
    (record(A, name="Other"), record(A), "the record was R and is read as Other"),
    (record(field("a", ["null", "int"])), record(A), "a was string, which none of its types can hold"),
    (
        record(field("a", {"type": "array", "items": record(A, field("n", "int"), name="I")})),
        record(field("a", {"type": "array", "items": record(A, name="I")})),
        "a[].n is not written, and has no default",
    ),
    (
        record(field("a", {"type": "map", "values": "int"})),
        record(field("a", {"type": "map", "values": "string"})),
        "a[] was string and is read as int",
    ),
]


@pytest.mark.parametrize(("reader", "writer"), READABLE)
def test_readable(reader: Any, writer: Any) -> None:
    assert unreadable(reader, writer) == []


@pytest.mark.parametrize(("reader", "writer", "fault"), BROKEN)
def test_unreadable_says_where_and_why(reader: Any, writer: Any, fault: str) -> None:
    assert unreadable(reader, writer) == [fault]


def test_a_recursive_type_ends() -> None:
    node = record(field("next", ["null", "hocket.R"], default=None))
    wider = record(field("next", ["null", "hocket.R"], default=None), field("n", "int", default=0))
    assert unreadable(wider, node) == []


def test_full_transitive_looks_at_every_pair_in_both_directions() -> None:
    versions = {"v1": record(A), "v2": record(A, field("b", "int", default=0)), "v3": record(A, field("b", "string"))}
    assert full_transitive(versions) == [
        "v2 cannot read v3: b was string and is read as int",
        "v3 cannot read v1: b is not written, and has no default",
        "v3 cannot read v2: b was int and is read as string",
    ]


TYPES = st.sampled_from(
    [
        "int",
        "long",
        "string",
        "boolean",
        ["null", "int"],
        ["null", "long"],
        ["null", "string"],
        enum("x", "y"),
        enum("x"),
    ]
)
DEFAULTS: dict[str, Any] = {"int": 1, "long": 1, "string": "", "boolean": False}


@st.composite
def schemas(draw: st.DrawFn) -> Any:
    fields = []
    for name in draw(st.lists(st.sampled_from("abc"), unique=True, max_size=3)):
        of = draw(TYPES)
        kind = of if isinstance(of, str) else of["type"] if isinstance(of, dict) else "null"
        default = {} if draw(st.booleans()) else {"default": "x" if kind == "enum" else DEFAULTS.get(kind)}
        more = {"name": f"E{name}"} if isinstance(of, dict) else {}
        fields.append(field(name, {**of, **more} if isinstance(of, dict) else of, **default))
    return record(*fields)


@given(schemas(), schemas(), st.data())
def test_what_is_called_readable_is_read_by_fastavro(reader: Any, writer: Any, draw: st.DataObject) -> None:
    if unreadable(reader, writer):
        return
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(writer), draw.draw(data(writer)))
    out.seek(0)
    read: Any = fastavro.schemaless_reader(out, fastavro.parse_schema(writer), fastavro.parse_schema(reader))
    assert set(read) == {f["name"] for f in reader["fields"]}
