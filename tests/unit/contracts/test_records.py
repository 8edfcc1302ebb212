"""The pydantic models and the .avsc files say the same, in both directions; and every file explains itself."""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from hocket.contracts import internal, records
from hocket.contracts.codec import record_types, schema
from hocket.contracts.records import Record
from tests.support.avro import named_types

NAMES = sorted(record_types())
PRIMITIVES = {str: "string", bool: "boolean", float: "double", bytes: "bytes", type(None): "null"}
UNSET = object()


def models() -> dict[str, type[Record]]:
    return {t.__name__: t for t in Record.__subclasses__() if t.__module__ in (records.__name__, internal.__name__)}


def definitions(name: str) -> dict[str, dict[str, Any]]:
    return {t["name"]: t for t in named_types(schema(name))}


def shape_of_schema(node: Any, known: dict[str, Any]) -> Any:
    """A type without docs and defaults; int and long are both what Python calls int, times are told apart."""
    if isinstance(node, list):
        return ["union", *(shape_of_schema(x, known) for x in node)]
    if isinstance(node, str):
        if node in known:
            return shape_of_schema(known[node], known)
        return "int" if node == "long" else node
    if node.get("logicalType"):
        return (node["type"], node["logicalType"])
    kind = node["type"]
    if kind == "array":
        return ["array", shape_of_schema(node["items"], known)]
    if kind == "map":
        return ["map", shape_of_schema(node["values"], known)]
    if kind == "enum":
        return ["enum", *node["symbols"]]
    return f"record {node['name']}"


def shape_of_model(annotation: Any, metadata: tuple[Any, ...] = ()) -> Any:
    """The same shape, from a Python annotation."""
    origin, args = get_origin(annotation), get_args(annotation)
    if metadata or (origin is not None and hasattr(annotation, "__metadata__")):
        return ("long", "timestamp-millis")  # Millis is the only annotated type there is
    if annotation is int:
        return "int"
    if annotation in PRIMITIVES:
        return PRIMITIVES[annotation]
    if origin is Literal:
        return ["enum", *args]
    if origin is tuple:
        return ["array", shape_of_model(args[0])]
    if origin is dict:
        return ["map", shape_of_model(args[1])]
    if origin in (Union, types.UnionType):
        return ["union", *sorted((shape_of_model(a) for a in args), key=lambda s: s != "null")]
    return f"record {annotation.__name__}"


def default_of_model(field: Any) -> Any:
    """The default as it stands in JSON; UNSET when the field must be given."""
    if field.is_required():
        return UNSET
    value = field.default_factory() if field.default is PydanticUndefined else field.default
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return list(value) if isinstance(value, tuple) else value


CASES = [(name, part) for name in NAMES for part, d in definitions(name).items() if d["type"] == "record"]


@pytest.mark.parametrize(("name", "part"), CASES)
def test_every_record_of_a_schema_has_the_same_fields_as_its_model(name: str, part: str) -> None:
    """Names, order, types, nullability, enum symbols and defaults."""
    known = definitions(name)
    model = models()[part]
    in_schema = {f["name"]: (shape_of_schema(f["type"], known), f.get("default", UNSET)) for f in known[part]["fields"]}
    in_model = {
        n: (shape_of_model(f.annotation, tuple(f.metadata)), default_of_model(f)) for n, f in model.model_fields.items()
    }
    assert in_model == in_schema
    assert list(in_model) == list(in_schema)


def test_every_model_stands_in_a_schema() -> None:
    assert set(models()) == {part for _, part in CASES}


def test_every_schema_file_has_a_model() -> None:
    from importlib.resources import files

    snake = {p.name.removesuffix(".avsc") for p in files("schemas").iterdir() if p.name.endswith(".avsc")}
    assert {"".join(w.title() for w in s.split("_")) for s in snake} == set(NAMES)


def test_a_type_that_several_schemas_define_is_the_same_in_all_of_them() -> None:
    """Avro has no imports, so nested types are repeated; which file they come from must not matter."""
    seen: dict[str, tuple[str, Any]] = {}
    differing = []
    for name in NAMES:
        for part, definition in definitions(name).items():
            first, other = seen.setdefault(part, (name, definition))
            if _expanded(definition, definitions(name)) != _expanded(other, definitions(first)):
                differing.append(f"{part} differs between {first} and {name}")
    assert differing == []


def _expanded(node: Any, known: dict[str, Any]) -> Any:
    """A definition with every reference by name written out: where a type is first spelled depends on the file."""
    if isinstance(node, list):
        return [_expanded(x, known) for x in node]
    if isinstance(node, str):
        return _expanded(known[node], known) if node in known else node
    if isinstance(node, dict):
        return {
            k: _expanded(v, known) if k in ("type", "items", "values", "fields") else v
            for k, v in node.items()
            if k != "namespace"
        }
    return node


@pytest.mark.parametrize("name", NAMES)
def test_every_record_enum_and_field_is_explained(name: str) -> None:
    silent = []
    for part, definition in definitions(name).items():
        if not definition.get("doc", "").strip():
            silent.append(part)
        silent += [f"{part}.{f['name']}" for f in definition.get("fields", ()) if not f.get("doc", "").strip()]
    assert silent == []


@pytest.mark.parametrize("name", NAMES)
def test_every_enum_has_a_default_so_that_it_may_grow(name: str) -> None:
    enums = [d for d in definitions(name).values() if d["type"] == "enum"]
    assert [e["name"] for e in enums if e.get("default") not in e["symbols"]] == []


@pytest.mark.parametrize("name", NAMES)
def test_what_may_be_null_is_null_by_default(name: str) -> None:
    """Avro takes a union's default from its first type; a nullable field without a default could never be added."""
    wrong = [
        f"{part}.{f['name']}"
        for part, d in definitions(name).items()
        for f in d.get("fields", ())
        if isinstance(f["type"], list) and (f["type"][0] != "null" or f.get("default", UNSET) is not None)
    ]
    assert wrong == []


def test_records_are_immutable_and_refuse_unknown_fields() -> None:
    from pydantic import ValidationError

    wakeup = records.Wakeup(request_id="r", due_at=1, at=2)
    with pytest.raises(ValidationError, match="frozen"):
        wakeup.at = 3  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        records.Wakeup.model_validate({"request_id": "r", "due_at": 1, "at": 2, "more": 1})
