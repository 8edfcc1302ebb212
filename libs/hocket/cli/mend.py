"""A dead letter's record as JSON in the user's editor, and back into bytes."""

from __future__ import annotations

import base64
import io
import json
import os
import shlex
import struct
import subprocess
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import fastavro
from pydantic import ValidationError

from hocket.cli.base import USAGE, CliError
from hocket.contracts.codec import SINGLE_OBJECT, Codec, CodecError, known_schemas, record_types
from hocket.contracts.records import DeadLetter, Record
from hocket.kafka.client import MAX_RECORD_BYTES, topics_of
from hocket.runtime.settings import Settings

_BLANKS: dict[Any, Any] = {str: "", bool: False, float: 0.0}


def expected_type(settings: Settings, topic: str) -> type[Record]:
    """The record that a topic holds. Raises CliError for a foreign topic."""
    spec = topics_of(settings).spec(topic)
    if spec is None:
        raise CliError(f"{topic} is not a topic of this installation (prefix {settings.prefix!r})", kind="topics")
    return record_types()[spec.record]


def readable(value: bytes | None, expected: type[Record], codec: Codec) -> dict[str, Any]:
    """The bytes as JSON to begin with: decoded; else what Avro or JSON there is; else every field of the record."""
    try:
        return codec.decode(value, expected).model_dump(mode="json")
    except CodecError:
        given = _as_avro(value or b"") or _as_json(value or b"")
    if given is not None:
        return given
    return {name: _blank(field) for name, field in expected.model_fields.items()}


def _blank(field: Any) -> Any:
    if field.is_required():
        return _BLANKS.get(field.annotation, 0)
    value = field.get_default(call_default_factory=True)
    return value.model_dump(mode="json") if isinstance(value, Record) else value


def _as_json(value: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(value)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _as_avro(value: bytes) -> dict[str, Any] | None:
    """A record of ours that Avro can read though it does not fit."""
    schema = known_schemas().get(value[2:10]) if value[:2] == SINGLE_OBJECT else None
    if schema is None:
        return None
    try:
        found = fastavro.schemaless_reader(io.BytesIO(value[10:]), schema, None)
    except (ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError, struct.error):  # damaged bytes
        return None
    plain = json.loads(json.dumps(found, default=_plain))
    return plain if isinstance(plain, dict) else None


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return round(value.timestamp() * 1000)
    return base64.b64encode(value).decode()


def encoded(text: str, expected: type[Record], topic: str, codec: Codec) -> bytes:
    """The bytes of an edited record. Raises CliError that names every field that does not fit."""
    try:
        record = expected.model_validate_json(text)
    except ValidationError as e:
        faults = "\n".join(f"  {'.'.join(map(str, x['loc'])) or '(record)'}: {x['msg']}" for x in e.errors())
        raise CliError(f"this is no {expected.__name__}:\n{faults}", code=USAGE, kind="invalid") from e
    value = codec.encode(record, topic)
    if len(value) > MAX_RECORD_BYTES:
        message = f"the {expected.__name__} has {len(value)} bytes, the limit is {MAX_RECORD_BYTES}: shorten it"
        raise CliError(message, code=USAGE, kind="too_large")
    return value


def mend(letter: DeadLetter, expected: type[Record], codec: Codec) -> bytes:
    """Opens the record in $VISUAL or $EDITOR and returns what came of it. A record that does not fit is kept in a
    file that the error names. Blocks until the editor ends."""
    shown = json.dumps(readable(letter.value, expected, codec), indent=2, ensure_ascii=False)
    handle, name = tempfile.mkstemp(prefix="hocket-dlq-", suffix=".json")
    path = Path(name)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(shown + "\n")
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        ended = subprocess.run([*shlex.split(editor), name], check=False).returncode  # noqa: S603 - the user's own editor
    except OSError as e:
        path.unlink()
        raise CliError(f"the editor {editor!r} cannot be started: {e}. Set EDITOR", code=USAGE, kind="editor") from e
    if ended:
        path.unlink()
        raise CliError(f"the editor ended with {ended}: nothing was replayed", kind="editor")
    try:
        value = encoded(path.read_text("utf-8"), expected, letter.topic, codec)
    except CliError as e:
        raise CliError(f"{e}\nNothing was replayed; your text is in {name}", code=e.code, kind=e.kind) from e
    path.unlink()
    return value
