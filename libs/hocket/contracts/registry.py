"""A Confluent-compatible schema registry as the codec's source of ids; needs the `registry` extra.

Subjects follow TopicNameStrategy. Ids and schemas never change once given, so both are cached for good.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

import httpx
from confluent_kafka.schema_registry import Schema as RegisteredSchema
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from hocket.contracts.codec import CodecError, RegistryError, Schema

_UNKNOWN_SCHEMA = 40403


class ConfluentRegistry:
    """Talks to the registry at `url`; `auto_register` (development) adds missing schemas instead of refusing."""

    def __init__(self, url: str, *, basic_auth: str | None = None, auto_register: bool = False) -> None:
        options: dict[str, Any] = {"url": url}
        if basic_auth:
            options["basic.auth.user.info"] = basic_auth
        self._options = options
        self._url = url
        self._auto_register = auto_register
        self._ids: dict[tuple[str, str], int] = {}

    def _client(self) -> SchemaRegistryClient:
        # A client for each question: answers are kept for good, so there are few, and no connection is left behind.
        return SchemaRegistryClient(self._options)

    def id_of(self, subject: str, schema: Schema) -> int:
        """The schema's id in the subject. Blocks on the network once per subject. Raises RegistryError."""
        key = (subject, schema["name"])
        if key not in self._ids:
            wanted = RegisteredSchema(json.dumps(schema), "AVRO")
            try:
                with self._client() as client:
                    self._ids[key] = self._asked(client, subject, wanted)
            except (SchemaRegistryError, httpx.HTTPError, OSError) as e:
                raise RegistryError(
                    f"the schema registry at {self._url} gives no id for {subject}: {e}. "
                    f"Register {schema['name']} there, or set HOCKET_REGISTRY_AUTO_REGISTER=true in development"
                ) from e
        return self._ids[key]

    def _asked(self, client: SchemaRegistryClient, subject: str, wanted: RegisteredSchema) -> int:
        conflict: SchemaRegistryError | None = None
        if self._auto_register:
            try:
                return int(client.register_schema(subject, wanted))
            except SchemaRegistryError as e:
                if e.http_status_code != HTTPStatus.CONFLICT:
                    raise
                conflict = e  # it would break others; or, with Apicurio, somebody registers the same at this moment
        try:
            return int(client.lookup_schema(subject, wanted).schema_id)
        except SchemaRegistryError as e:
            raise conflict or e from e

    def schema_of(self, schema_id: int) -> Schema:
        """The schema behind an id. Raises CodecError when it is unknown or no Avro, RegistryError on failure."""
        try:
            with self._client() as client:
                found = client.get_schema(schema_id)
        except SchemaRegistryError as e:
            if e.error_code == _UNKNOWN_SCHEMA:
                raise CodecError("undecodable", f"schema id {schema_id} is not in the registry at {self._url}") from e
            raise RegistryError(f"the schema registry at {self._url} failed: {e}") from e
        except (httpx.HTTPError, OSError) as e:
            raise RegistryError(f"the schema registry at {self._url} is out of reach: {e}") from e
        if found.schema_type not in (None, "AVRO"):
            raise CodecError("invalid", f"schema id {schema_id} is {found.schema_type}, not Avro: wrong topic?")
        loaded: Schema = json.loads(found.schema_str or "{}")
        return loaded
