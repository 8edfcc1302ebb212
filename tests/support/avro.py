"""An independent reading of the Avro specification, to hold the codec against something that is not itself."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

PRIMITIVES = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
EMPTY = 0xC15D213AA4D7A795


def crc64(data: bytes) -> int:
    """CRC-64-AVRO, by the specification's algorithm, bit by bit."""
    table = []
    for i in range(256):
        fp = i
        for _ in range(8):
            fp = (fp >> 1) ^ (EMPTY & -(fp & 1) & 0xFFFFFFFFFFFFFFFF)
        table.append(fp)
    fp = EMPTY
    for byte in data:
        fp = (fp >> 8) ^ table[(fp ^ byte) & 0xFF]
    return fp


def canonical(node: Any, namespace: str = "") -> str:
    """The parsing canonical form: primitives plain, full names, only the attributes that matter, in the fixed order."""
    if isinstance(node, list):
        return "[" + ",".join(canonical(x, namespace) for x in node) + "]"
    if isinstance(node, str):
        return json.dumps(node if node in PRIMITIVES else _full(node, namespace))
    kind = node["type"]
    if kind in PRIMITIVES or isinstance(kind, (dict, list)):
        return canonical(kind, namespace)
    if kind == "array":
        return '{"type":"array","items":' + canonical(node["items"], namespace) + "}"
    if kind == "map":
        return '{"type":"map","values":' + canonical(node["values"], namespace) + "}"
    namespace = node.get("namespace", namespace)
    name = _full(node["name"], namespace)
    if kind == "fixed":
        return json.dumps({"name": name, "type": "fixed", "size": node["size"]}, separators=(",", ":"))
    if kind == "enum":
        return json.dumps({"name": name, "type": "enum", "symbols": node["symbols"]}, separators=(",", ":"))
    fields = ",".join(
        f'{{"name":{json.dumps(f["name"])},"type":{canonical(f["type"], namespace)}}}' for f in node["fields"]
    )
    return f'{{"name":{json.dumps(name)},"type":"record","fields":[{fields}]}}'


def _full(name: str, namespace: str) -> str:
    return name if "." in name or not namespace else f"{namespace}.{name}"


def named_types(node: Any) -> list[dict[str, Any]]:
    """Every record and enum defined in a schema, the outermost first."""
    if isinstance(node, list):
        return [t for x in node for t in named_types(x)]
    if not isinstance(node, dict):
        return []
    own = [node] if node.get("type") in ("record", "enum", "fixed") else []
    inner = [node.get("items"), node.get("values"), *(f["type"] for f in node.get("fields", ()))]
    if isinstance(node["type"], (dict, list)):
        inner.append(node["type"])
    return own + [t for x in inner for t in named_types(x)]


def _integers(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


_SIMPLE: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": _integers(32),
    "long": _integers(64),
    "double": st.floats(allow_nan=False),
    "bytes": st.binary(max_size=40),
    "string": st.text(max_size=40),
}


def data(node: Any, names: dict[str, Any] | None = None) -> st.SearchStrategy[Any]:
    """Everything that fits a schema, as plain data. Times are not negative."""
    names = {t["name"]: t for t in named_types(node)} if names is None else names
    if isinstance(node, list):
        return st.one_of([data(x, names) for x in node])
    if isinstance(node, str):
        return _SIMPLE[node] if node in _SIMPLE else data(names[node], names)
    if node.get("logicalType") == "timestamp-millis":
        return st.integers(0, 2**62)
    kind = node["type"]
    if kind == "enum":
        return st.sampled_from(node["symbols"])
    if kind == "array":
        return st.lists(data(node["items"], names), max_size=2)
    if kind == "map":
        return st.dictionaries(st.text(max_size=8), data(node["values"], names), max_size=2)
    if kind == "record":
        return st.fixed_dictionaries({f["name"]: data(f["type"], names) for f in node["fields"]})
    return data(kind, names)
