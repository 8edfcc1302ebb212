"""Can readers with one schema read what writers with another wrote? Avro's schema resolution, as a list of faults.

FULL_TRANSITIVE, which Hocket promises for its records, means: every version reads every other version, old and new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_PROMOTIONS = {
    "int": {"long", "float", "double"},
    "long": {"float", "double"},
    "float": {"double"},
    "string": {"bytes"},
    "bytes": {"string"},
}
_NAMED = ("record", "enum", "fixed")
Names = dict[str, Any]
Seen = frozenset[tuple[int, int]]


def full_transitive(versions: Mapping[str, Any]) -> list[str]:
    """Everything that breaks FULL_TRANSITIVE among the versions of one record, each as a sentence; empty when sound."""
    return [
        f"{new} cannot read {old}: {fault}"
        for new, reader in versions.items()
        for old, writer in versions.items()
        if new != old
        for fault in unreadable(reader, writer)
    ]


def unreadable(reader: Any, writer: Any) -> list[str]:
    """Why a reader with the first schema cannot read every record written with the second; empty when it can."""
    return _Comparison(_names(reader), _names(writer)).types(reader, writer, "", frozenset())


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _names(node: Any) -> Names:
    """Every named type below a node, by its short name: Hocket has one namespace."""
    if isinstance(node, list):
        return {k: v for x in node for k, v in _names(x).items()}
    if not isinstance(node, dict):
        return {}
    found = {_short(node["name"]): node} if node.get("type") in _NAMED else {}
    inner = [node["type"], node.get("items"), node.get("values"), *(f["type"] for f in node.get("fields", ()))]
    for x in inner:
        found |= _names(x)
    return found


def _kind(node: Any) -> str:
    kind: str = node["type"] if isinstance(node, dict) else node
    return kind


class _Comparison:
    def __init__(self, reader_names: Names, writer_names: Names) -> None:
        self._reader_names = reader_names
        self._writer_names = writer_names

    def types(self, reader: Any, writer: Any, at: str, seen: Seen) -> list[str]:
        """Faults between two types that stand at the same place; `seen` ends the walk of a recursive type."""
        reader = _resolve(reader, self._reader_names)
        writer = _resolve(writer, self._writer_names)
        if isinstance(writer, list):
            return [fault for branch in writer for fault in self.types(reader, branch, at, seen)]
        if isinstance(reader, list):
            return self._union(reader, writer, at, seen)
        have, want = _kind(writer), _kind(reader)
        if have != want:
            fits = want in _PROMOTIONS.get(have, ())
            return [] if fits else [f"{at or 'the record'} was {have} and is read as {want}"]
        pair = (id(reader), id(writer))
        if pair in seen or not isinstance(reader, dict):
            return []
        return self._same_kind(reader, writer, at, seen | {pair})

    def _union(self, reader: Sequence[Any], writer: Any, at: str, seen: Seen) -> list[str]:
        if any(not self.types(branch, writer, at, seen) for branch in reader):
            return []
        return [f"{at or 'the record'} was {_kind(writer)}, which none of its types can hold"]

    def _same_kind(self, reader: Any, writer: Any, at: str, seen: Seen) -> list[str]:
        kind = reader["type"]
        if kind in _NAMED and _short(writer["name"]) not in {_short(reader["name"]), *_aliases(reader)}:
            return [f"{at or 'the record'} was {writer['name']} and is read as {reader['name']}"]
        if kind == "record":
            return self._fields(reader, writer, at, seen)
        if kind == "enum":
            lost = [s for s in writer["symbols"] if s not in reader["symbols"]]
            known = not lost or "default" in reader
            return [] if known else [f"{at} may be {', '.join(lost)}, which the reader does not know"]
        if kind == "fixed":
            return [] if reader["size"] == writer["size"] else [f"{at} had {writer['size']} bytes"]
        part = "items" if kind == "array" else "values"
        return self.types(reader[part], writer[part], f"{at}[]", seen) if kind in ("array", "map") else []

    def _fields(self, reader: Any, writer: Any, at: str, seen: Seen) -> list[str]:
        written = {f["name"]: f for f in writer["fields"]}
        faults = []
        for field in reader["fields"]:
            place = f"{at}.{field['name']}".lstrip(".")
            found = next((written[n] for n in (field["name"], *field.get("aliases", ())) if n in written), None)
            if found is not None:
                faults += self.types(field["type"], found["type"], place, seen)
            elif "default" not in field:
                faults.append(f"{place} is not written, and has no default")
        return faults


def _aliases(node: Any) -> set[str]:
    return {_short(a) for a in node.get("aliases", ())}


def _resolve(node: Any, names: Names) -> Any:
    """A type by its definition: a reference by name, or a primitive wrapped as {"type": ...}, is looked through."""
    if isinstance(node, dict) and (isinstance(node["type"], (dict, list)) or _short(node["type"]) in names):
        return _resolve(node["type"], names)
    if isinstance(node, str) and _short(node) in names:
        return names[_short(node)]
    return node
