"""Avro on the wire: records to bytes and back.

Without a schema registry, values use Avro's single-object encoding (Avro 1.12 specification, "Single object encoding":
C3 01, the CRC-64-AVRO fingerprint of the writer's schema in little-endian order, the body). With one, values use
Confluent's framing (00, the schema's id as four big-endian bytes, the body) under TopicNameStrategy subjects. Readers
accept both.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Protocol, TypeVar

import fastavro
from fastavro.schema import SchemaParseException, UnknownType, fingerprint, to_parsing_canonical_form
from pydantic import ValidationError

from hocket.contracts import internal, records
from hocket.contracts.records import Record

SINGLE_OBJECT = b"\xc3\x01"
CONFLUENT = b"\x00"
R = TypeVar("R", bound=Record)
Schema = dict[str, Any]
_SCALARS = (str, int, float, bool, bytes)
_HOMES = (records.__name__, internal.__name__)


class CodecError(Exception):
    """Bytes that are no record of the expected type: the producer must be mended. `kind`: undecodable or invalid."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class RegistryError(Exception):
    """The schema registry is out of reach or refuses: check HOCKET_REGISTRY_URL and its credentials."""


class SchemaIds(Protocol):
    """What the codec asks of a schema registry; both calls may block on the network the first time."""

    def id_of(self, subject: str, schema: Schema) -> int:
        """The id under which the schema stands in the subject. Raises RegistryError when it is not to be had."""

    def schema_of(self, schema_id: int) -> Schema:
        """The schema behind an id. Raises CodecError when there is none, RegistryError without an answer."""


def record_types() -> dict[str, type[Record]]:
    """The record types that have a schema file of their own, by Avro name."""
    found = {t.__name__: t for t in Record.__subclasses__() if t.__module__ in _HOMES}
    return {name: t for name, t in found.items() if _path(name).is_file()}


def _path(name: str) -> Any:
    snake = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
    return files("schemas") / f"{snake}.avsc"


@cache
def schema(name: str) -> Schema:
    """The schema file of a record, as committed. `name` is the record's Avro name, such as Task."""
    loaded: Schema = json.loads(_path(name).read_text("utf-8"))
    return loaded


def _plain(node: Any) -> Any:
    """The schema without logical types, so that times stay integers, and without docs."""
    if isinstance(node, list):
        return [_plain(x) for x in node]
    if not isinstance(node, dict):
        return node
    kept = {k: _plain(v) for k, v in node.items() if k not in ("logicalType", "doc")}
    return kept["type"] if set(kept) == {"type"} else kept


@cache
def _parsed(name: str) -> Any:
    return fastavro.parse_schema(_plain(schema(name)))


def fingerprint_of(avsc: Schema) -> bytes:
    """CRC-64-AVRO of the schema's parsing canonical form, in wire order."""
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(avsc), "CRC-64-AVRO"))


@cache
def known_schemas() -> Mapping[bytes, Schema]:
    """Every schema version that was ever released, by fingerprint: the current files and `schemas/history/`."""
    found = [schema(name) for name in record_types()]
    history = files("schemas") / "history"
    if history.is_dir():
        found += [json.loads(p.read_text("utf-8")) for p in history.iterdir() if p.name.endswith(".avsc")]
    return {fingerprint_of(s): s for s in found}


class Codec:
    """Encodes and decodes records. Without `registry` it never touches the network."""

    def __init__(self, registry: SchemaIds | None = None) -> None:
        self._registry = registry
        self._writers: dict[bytes, Any] = {}

    def encode(self, record: Record, topic: str) -> bytes:
        """The record's bytes for the topic. Raises RegistryError when a configured registry is out of reach."""
        name = type(record).__name__
        out = io.BytesIO()
        out.write(self._head(name, topic))
        fastavro.schemaless_writer(out, _parsed(name), _fields(record))
        return out.getvalue()

    def _head(self, name: str, topic: str) -> bytes:
        if self._registry is None:
            return SINGLE_OBJECT + _fingerprint(name)
        return CONFLUENT + self._registry.id_of(f"{topic}-value", schema(name)).to_bytes(4, "big")

    def decode(self, data: bytes | None, expected: type[R]) -> R:
        """The record in `data`. Raises CodecError when it is none, or of another type, or does not fit."""
        writer, body = self._writer(data)
        name = expected.__name__
        if writer["name"].rpartition(".")[2] != name:
            raise CodecError("invalid", f"expected a {name} record, found {writer['name']}: wrong topic?")
        reader = None if writer is _parsed(name) else _parsed(name)
        try:
            stream = io.BytesIO(body)
            raw = fastavro.schemaless_reader(stream, writer, reader)
            trailing = len(body) - stream.tell()
        except Exception as e:  # fastavro raises whatever the damaged bytes lead it to
            raise CodecError("undecodable", f"not a readable {name}: {type(e).__name__}: {e}") from e
        if trailing:
            raise CodecError("undecodable", f"{trailing} bytes too many after the {name} record")
        return build(expected, raw)

    def _writer(self, data: bytes | None) -> tuple[Any, bytes]:
        if not data:
            raise CodecError("undecodable", "empty value (tombstones mean nothing here)")
        if data[:2] == SINGLE_OBJECT and len(data) >= 10:
            return self._by_fingerprint(data[2:10]), data[10:]
        if data[:1] == CONFLUENT and len(data) >= 5:
            return self._by_id(data[1:5]), data[5:]
        raise CodecError(
            "undecodable",
            "not Avro as Hocket reads it: the value must start with C3 01 (single-object encoding) "
            "or 00 (schema registry)",
        )

    def _by_fingerprint(self, mark: bytes) -> Any:
        if mark not in self._writers:
            found = known_schemas().get(mark)
            if found is None:
                raise CodecError("undecodable", f"schema fingerprint {mark.hex()} is not one of Hocket's")
            name = found["name"]
            self._writers[mark] = _parsed(name) if _fingerprint(name) == mark else fastavro.parse_schema(_plain(found))
        return self._writers[mark]

    def _by_id(self, mark: bytes) -> Any:
        if mark not in self._writers:
            if self._registry is None:
                raise CodecError(
                    "undecodable", "framed with a registry's schema id, but HOCKET_REGISTRY_URL is not set"
                )
            self._writers[mark] = _foreign(self._registry.schema_of(int.from_bytes(mark, "big")))
        return self._writers[mark]


def _fields(record: Record) -> dict[str, Any]:
    """What fastavro writes. A record with nothing nested is that already, and a dump costs half as much as writing."""
    fields = record.__dict__
    for value in fields.values():
        if value and value.__class__ not in _SCALARS:
            return record.model_dump()
    return fields


def _foreign(found: object) -> Any:
    """A registry's schema as a writer's schema. Others register there too, and not everything is a record."""
    if not isinstance(found, dict) or found.get("type") != "record":
        raise CodecError("invalid", "the registry's schema for this id is not an Avro record: wrong topic?")
    try:
        return fastavro.parse_schema(_plain(found))
    except (SchemaParseException, UnknownType, KeyError, ValueError) as e:
        raise CodecError("undecodable", f"the registry's schema for this id cannot be used: {e!r}") from e


@cache
def _fingerprint(name: str) -> bytes:
    return fingerprint_of(schema(name))


def build(expected: type[R], raw: object) -> R:
    """The model from decoded data. Raises CodecError that names each field that does not fit."""
    try:
        return expected.model_validate(raw)
    except ValidationError as e:
        faults = "; ".join(f"{'.'.join(map(str, x['loc'])) or '(record)'}: {x['msg']}" for x in e.errors())
        raise CodecError("invalid", f"{expected.__name__} does not fit: {faults}") from e
