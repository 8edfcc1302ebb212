"""A schema registry without a network."""

from __future__ import annotations

from typing import Any

from hocket.contracts.codec import CodecError, Schema


class FakeIds:
    """A schema registry in memory; contract as SchemaIds."""

    def __init__(self, schemas: dict[int, Any] | None = None) -> None:
        self.schemas = schemas or {}
        self.asked: list[str] = []

    def id_of(self, subject: str, schema: Schema) -> int:
        self.asked.append(subject)
        known = [i for i, s in self.schemas.items() if s == schema]
        if known:
            return known[0]
        new = len(self.schemas) + 1
        self.schemas[new] = schema
        return new

    def schema_of(self, schema_id: int) -> Schema:
        if schema_id not in self.schemas:
            raise CodecError("undecodable", f"schema id {schema_id} is not in the registry")
        found: Schema = self.schemas[schema_id]
        return found
