"""Registers every value schema of an installation; needs the `registry` extra. What to do is decided in `subjects`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import httpx
from confluent_kafka.schema_registry import Schema as RegisteredSchema
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from hocket.contracts.codec import RegistryError, schema
from hocket.contracts.subjects import LEVEL, NOTHING, Finding, SubjectState, decide

_ABSENT = 404
_PAUSE_SECONDS = 0.5


class Registrar:
    """Talks to the registry at `url`. Every call blocks on the network and raises RegistryError when it fails."""

    def __init__(self, url: str, *, basic_auth: str | None = None) -> None:
        self._url = url
        self._options: dict[str, object] = {"url": url, "max.retries": 1}
        if basic_auth:
            self._options["basic.auth.user.info"] = basic_auth

    def wait(self, seconds: float) -> None:
        """Returns once the registry lists its subjects; it may take so long to come up."""
        give_up = time.monotonic() + seconds
        while True:
            try:
                with self._asking("does not answer") as client:
                    client.get_subjects()
            except RegistryError:
                if time.monotonic() >= give_up:
                    raise
                time.sleep(_PAUSE_SECONDS)
            else:
                return

    def look(self, subjects: Mapping[str, str]) -> list[Finding]:
        """What each subject (with its record's name) needs. Changes nothing."""
        with self._asking("cannot be read") as client:
            existing = set(client.get_subjects())
            return [
                decide(name, record, schema(record), _state(client, name, record) if name in existing else NOTHING)
                for name, record in subjects.items()
            ]

    def register(self, findings: list[Finding], told: Callable[[Finding], None]) -> None:
        """Registers what is missing and sets levels; does nothing at all when one is refused, so that no installation
        stands half on new schemas. Tells each finding that changed something."""
        if any(f.action == "refused" for f in findings):
            return
        with self._asking("refuses") as client:
            for f in findings:
                if f.action == "register":
                    client.register_schema(f.subject, _registered(f.record))
                if f.relevel:
                    client.set_compatibility(f.subject, LEVEL)
                if f.relevel or f.action == "register":
                    told(f)

    @contextmanager
    def _asking(self, what: str) -> Iterator[SchemaRegistryClient]:
        try:
            with SchemaRegistryClient(self._options) as client:
                yield client
        except (SchemaRegistryError, httpx.HTTPError, OSError) as e:
            raise RegistryError(
                f"the schema registry at {self._url} {what}: {e}. Check HOCKET_REGISTRY_URL and "
                "HOCKET_REGISTRY_BASIC_AUTH, and that this user may write to it"
            ) from e


def _registered(record: str) -> RegisteredSchema:
    return RegisteredSchema(json.dumps(schema(record)), "AVRO")


def _state(client: SchemaRegistryClient, subject: str, record: str) -> SubjectState:
    versions = {}
    for number in client.get_versions(subject):
        found = client.get_version(subject, number).schema
        avro = found is not None and found.schema_type in (None, "AVRO")
        versions[number] = json.loads(found.schema_str or "{}") if found is not None and avro else None
    return SubjectState(versions=versions, found=_found(client, subject, record), level=_level(client, subject))


def _found(client: SchemaRegistryClient, subject: str, record: str) -> bool:
    try:
        client.lookup_schema(subject, _registered(record))
    except SchemaRegistryError as e:
        if e.http_status_code == _ABSENT:
            return False
        raise
    return True


def _level(client: SchemaRegistryClient, subject: str) -> str | None:
    try:
        return str(client.get_compatibility(subject))
    except SchemaRegistryError as e:
        if e.http_status_code == _ABSENT:
            return None
        raise
