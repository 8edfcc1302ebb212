"""Avro output records as JSON schemas for models, and plain data held against them. Pure.

The three functions agree: what the JSON schema accepts, `faults` finds nothing wrong with, and `fitted` makes of it
data that Avro encodes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Json = dict[str, Any]
_INT = {"int": 2**31, "long": 2**63}
_PRIMITIVE: dict[str, Json] = {
    "null": {"type": "null"},
    "boolean": {"type": "boolean"},
    "int": {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    "long": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    "float": {"type": "number"},
    "double": {"type": "number"},
    "string": {"type": "string"},
}
_DOUBLE = 2**1023
"""Whole numbers below it are doubles too, if not exact ones."""
_NAMED = ("record", "enum")
_MAX_FAULTS = 20


class SchemaError(Exception):
    """An output record uses what a model cannot answer with (bytes, fixed, recursion); the message names the place."""


def json_schema(schema: Mapping[str, Any]) -> Json:
    """The JSON schema (draft 2020-12) of an Avro record; docs become descriptions. Raises SchemaError."""
    return _json(schema, _names(schema), str(schema.get("name", "record")), ())


def faults(schema: Mapping[str, Any], data: object) -> list[str]:
    """Everything that keeps the data from being the record, each naming its field; empty when it fits."""
    found: list[str] = []
    for fault in _faults(schema, data, _names(schema), ""):
        found.append(fault)
        if len(found) == _MAX_FAULTS:
            break
    return found


def fitted(schema: Mapping[str, Any], data: Any) -> Any:
    """Data without faults in the exact shape Avro encodes: defaults filled in, 3.0 as 3 where an integer belongs."""
    return _fitted(schema, data, _names(schema))


def _names(schema: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    todo = [schema]
    while todo:
        node = todo.pop()
        if isinstance(node, list):
            todo += node
        elif isinstance(node, Mapping):
            if node.get("type") in _NAMED:
                found[node["name"].rpartition(".")[2]] = node
            todo += [f["type"] for f in node.get("fields", ())]
            todo += [node[k] for k in ("items", "values") if k in node]
            if not isinstance(node.get("type"), str):
                todo.append(node.get("type"))
    return found


def _resolved(node: Any, names: Mapping[str, Any]) -> Any:
    """The node itself behind names and behind {"type": ...} wrappers."""
    while True:
        if isinstance(node, str) and node not in _PRIMITIVE and node.rpartition(".")[2] in names:
            node = names[node.rpartition(".")[2]]
        elif isinstance(node, Mapping) and (not isinstance(node["type"], str) or node["type"] in _PRIMITIVE):
            node = node["type"]
        else:
            return node


def _json(node: Any, names: Mapping[str, Any], where: str, inside: tuple[str, ...]) -> Json:
    node = _resolved(node, names)
    if isinstance(node, list):
        return {"anyOf": [_json(branch, names, where, inside) for branch in node]}
    if isinstance(node, str):
        if node not in _PRIMITIVE:
            raise SchemaError(f"{where}: a model cannot answer with {node}")
        return dict(_PRIMITIVE[node])
    kind = node["type"]
    if kind == "enum":
        return _described({"type": "string", "enum": list(node["symbols"])}, node)
    if kind == "array":
        return {"type": "array", "items": _json(node["items"], names, f"{where}[]", inside)}
    if kind == "map":
        return {"type": "object", "additionalProperties": _json(node["values"], names, f"{where}{{}}", inside)}
    if kind != "record":
        raise SchemaError(f"{where}: a model cannot answer with {kind}")
    if node["name"] in inside:
        raise SchemaError(f"{where}: {node['name']} contains itself")
    inside = (*inside, node["name"])
    properties = {
        f["name"]: _described(_json(f["type"], names, f"{where}.{f['name']}", inside), f) for f in node["fields"]
    }
    needed = [f["name"] for f in node["fields"] if "default" not in f]
    made: Json = {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}
    return _described(made, node)


def _described(made: Json, node: Mapping[str, Any]) -> Json:
    return {**made, "description": node["doc"]} if node.get("doc") else made


def _faults(node: Any, data: object, names: Mapping[str, Any], at: str) -> Iterator[str]:
    node = _resolved(node, names)
    place = at or "the reply"
    if isinstance(node, list):
        if not any(not any(True for _ in _faults(branch, data, names, at)) for branch in node):
            yield from _union_faults(node, data, names, at)
    elif isinstance(node, str):
        if not _is(node, data):
            yield f"{place}: must be {_said(node)}, not {_shown(data)}"
    elif node["type"] == "enum":
        if not isinstance(data, str) or data not in node["symbols"]:
            yield f"{place}: must be one of {', '.join(node['symbols'])}, not {_shown(data)}"
    elif node["type"] == "array":
        yield from _array_faults(node, data, names, at)
    elif node["type"] == "map":
        yield from _map_faults(node, data, names, at)
    elif node["type"] == "record":
        yield from _record_faults(node, data, names, at)
    else:
        yield f"{place}: {node['type']} is not possible here"


def _union_faults(node: Sequence[Any], data: object, names: Mapping[str, Any], at: str) -> Iterator[str]:
    full = [b for b in node if _resolved(b, names) != "null"]
    if len(full) == 1 and data is not None:
        yield from _faults(full[0], data, names, at)
    else:
        kinds = " or ".join(_said(_resolved(b, names)) for b in node)
        yield f"{at or 'the reply'}: must be {kinds}, not {_shown(data)}"


def _array_faults(node: Mapping[str, Any], data: object, names: Mapping[str, Any], at: str) -> Iterator[str]:
    if not isinstance(data, list):
        yield f"{at or 'the reply'}: must be a list, not {_shown(data)}"
        return
    for n, item in enumerate(data):
        yield from _faults(node["items"], item, names, f"{at}[{n}]")


def _map_faults(node: Mapping[str, Any], data: object, names: Mapping[str, Any], at: str) -> Iterator[str]:
    if not isinstance(data, Mapping):
        yield f"{at or 'the reply'}: must be an object, not {_shown(data)}"
        return
    for key, value in data.items():
        if not _is("string", key):
            yield f"{at or 'the reply'}: {_shown(key)} cannot be a key"
        yield from _faults(node["values"], value, names, f"{at}.{key}" if at else str(key))


def _record_faults(node: Mapping[str, Any], data: object, names: Mapping[str, Any], at: str) -> Iterator[str]:
    if not isinstance(data, Mapping):
        yield f"{at or 'the reply'}: must be an object, not {_shown(data)}"
        return
    known = {f["name"]: f for f in node["fields"]}
    for key in data:
        if key not in known:
            yield f"{at or 'the reply'}: there is no field {_shown(key)}"
    for name, spec in known.items():
        place = f"{at}.{name}" if at else name
        if name in data:
            yield from _faults(spec["type"], data[name], names, place)
        elif "default" not in spec:
            yield f"{place}: is missing"


def _is(primitive: str, data: object) -> bool:
    if primitive == "null":
        return data is None
    if primitive == "boolean":
        return isinstance(data, bool)
    if primitive == "string":
        return isinstance(data, str) and _encodes(data)
    if isinstance(data, bool) or not isinstance(data, (int, float)):
        return False
    if primitive in _INT:
        limit = _INT[primitive]
        return (isinstance(data, int) or data.is_integer()) and -limit <= data < limit
    return math.isfinite(data) if isinstance(data, float) else abs(data) < _DOUBLE


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can spell and UTF-8 cannot
        return False
    return True


def _said(node: Any) -> str:
    if isinstance(node, str):
        return {"null": "null", "boolean": "true or false", "string": "a text", "int": "a whole number"}.get(
            node, "a whole number" if node == "long" else "a number"
        )
    if isinstance(node, list):
        return "one of several kinds"
    return {"array": "a list", "enum": f"one of {', '.join(node.get('symbols', ()))}"}.get(node["type"], "an object")


def _shown(data: object) -> str:
    text = repr(data)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _fitted(node: Any, data: Any, names: Mapping[str, Any]) -> Any:
    node = _resolved(node, names)
    if isinstance(node, list):
        fits = next((b for b in node if not any(True for _ in _faults(b, data, names, ""))), None)
        return data if fits is None else _fitted(fits, data, names)
    if isinstance(node, str):
        return int(data) if node in _INT else data
    if node["type"] == "array":
        return [_fitted(node["items"], item, names) for item in data]
    if node["type"] == "map":
        return {key: _fitted(node["values"], value, names) for key, value in data.items()}
    if node["type"] == "record":
        return {
            f["name"]: _fitted(f["type"], data[f["name"]], names) if f["name"] in data else copy.deepcopy(f["default"])
            for f in node["fields"]
        }
    return data
