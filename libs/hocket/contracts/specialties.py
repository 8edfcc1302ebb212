"""Specialties as folders: `specialty.toml`, `prompt.md`, the output record, and `local.py` where an engine exists.

The built-in ones stand in `services/workers/<name>/` with their output record in `schemas/outputs/<name>.avsc`; a
user's own stand in any folder (`HOCKET_SPECIALTIES`) and bring `output.avsc` along. A user's folder may replace a
built-in one.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import fastavro
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hocket.core.precheck import Rules

STRATEGIES = ("fast", "balanced", "best")
_NAME = re.compile(r"[a-z][a-z0-9-]{1,39}")


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Rungs = Annotated[list[str], Field(min_length=1)]


class _Ladder(_Strict):
    fast: Rungs
    balanced: Rungs
    best: Rungs


class _Accept(_Strict):
    field: str = "confidence"
    least: float = Field(0.0, ge=0, le=1)
    quality: int = Field(1, ge=1, le=10)


class _Check(_Strict):
    input: bool = False
    max_chars: int | None = Field(None, ge=1)
    languages: list[str] = Field(default_factory=list)
    personal: Literal["send", "keep"] = "send"
    injection: Literal["send", "keep"] = "send"


class _Cache(_Strict):
    seconds: int = Field(0, ge=0, le=30 * 24 * 3600)


class _Declaration(_Strict):
    name: str
    purpose: str
    text: str
    max_output_tokens: int = Field(ge=1)
    local: Literal["whole", "part"] = "whole"
    needs_model: str = ""
    ladder: _Ladder
    accept: _Accept = _Accept()
    check: _Check = _Check()
    cache: _Cache = _Cache()


@dataclass(frozen=True, kw_only=True)
class Accept:
    """When an output is good enough: its number `field` (if it has one) is at least `least`; `quality` is the least
    that the catalogue must say of a model for it to be asked at all."""

    field: str = "confidence"
    least: float = 0.0
    quality: int = 1


class SpecialtyError(Exception):
    """A specialty's folder is wrong; the message names the file and the mend."""


@dataclass(frozen=True, kw_only=True)
class Specialty:
    """One kind of work, as its folder declares it. `ladder` maps each strategy to engines, first choice first."""

    name: str
    purpose: str
    text_field: str
    max_output_tokens: int
    ladder: Mapping[str, tuple[str, ...]]
    prompt: str
    output_schema: Mapping[str, Any] = field(repr=False)
    folder: Path
    builtin: bool
    accept: Accept = field(default_factory=Accept)
    rules: Rules = field(default_factory=Rules)
    cache_seconds: int = 0
    needs_model: str = ""
    """One sentence that says which part of the work the local engine leaves to a model; empty when it does it all."""

    @property
    def has_local(self) -> bool:
        """Whether the folder brings an engine that needs no model."""
        return (self.folder / "local.py").is_file()

    @property
    def version(self) -> str:
        """Changes whenever the prompt, the ladder, the output record or what is accepted changes."""
        parts = (self.prompt, self.ladder, self.max_output_tokens, self.output_schema, asdict(self.accept))
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def load_specialty(folder: Path, *, builtin: bool) -> Specialty:
    """The specialty in a folder. Raises SpecialtyError that names what is missing or wrong."""
    said = _declaration(folder)
    if said.name != folder.name or not _NAME.fullmatch(folder.name):
        raise SpecialtyError(
            f"{folder}: name = {said.name!r} must equal the folder's name, in small letters, digits and -"
        )
    schema = _output_schema(folder, builtin=builtin)
    try:
        prompt = (folder / "prompt.md").read_text("utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise SpecialtyError(f"{folder}/prompt.md: {e}") from e
    found = Specialty(
        name=said.name,
        purpose=said.purpose,
        text_field=said.text,
        max_output_tokens=said.max_output_tokens,
        accept=Accept(**said.accept.model_dump()),
        rules=Rules(**said.check.model_dump() | {"languages": tuple(said.check.languages)}),
        cache_seconds=said.cache.seconds,
        needs_model=said.needs_model.strip(),
        ladder={strategy: tuple(rungs) for strategy, rungs in said.ladder},
        prompt=prompt,
        output_schema=schema,
        folder=folder,
        builtin=builtin,
    )
    if (said.local == "part") != bool(said.needs_model.strip()):
        raise SpecialtyError(
            f'{folder}/specialty.toml: local = "part" and needs_model = "..." (one sentence that says what needs a '
            "model) belong together: give both or none"
        )
    if said.local == "part" and not found.has_local:
        raise SpecialtyError(f'{folder}/specialty.toml: local = "part", but there is no local.py')
    if found.text_field not in {f["name"] for f in schema["fields"]}:
        raise SpecialtyError(
            f"{folder}/specialty.toml: text = {found.text_field!r} is not a field of the output record"
        )
    return found


def _declaration(folder: Path) -> _Declaration:
    path = folder / "specialty.toml"
    try:
        return _Declaration.model_validate(tomllib.loads(path.read_text("utf-8")))
    except OSError as e:
        raise SpecialtyError(f"{path}: {e.strerror}") from e
    except ValidationError as e:
        wrong = "; ".join(f"{'.'.join(map(str, x['loc']))}: {x['msg']}" for x in e.errors())
        raise SpecialtyError(f"{path}: {wrong}") from e
    except ValueError as e:  # not TOML, or not UTF-8
        raise SpecialtyError(f"{path}: {e}") from e


def _output_schema(folder: Path, *, builtin: bool) -> dict[str, Any]:
    path = Path(str(files("schemas"))) / "outputs" / f"{folder.name}.avsc" if builtin else folder / "output.avsc"
    try:
        schema: dict[str, Any] = json.loads(path.read_text("utf-8"))
        fastavro.parse_schema(schema)
    except OSError as e:
        raise SpecialtyError(f"{path}: {e.strerror}: every specialty needs its output record") from e
    except Exception as e:  # fastavro and json have many ways to say no
        raise SpecialtyError(f"{path}: not an Avro record: {e}") from e
    if schema.get("type") != "record":
        raise SpecialtyError(f"{path}: must be an Avro record")
    return schema


def load_specialties(own: Path | None = None) -> dict[str, Specialty]:
    """All specialties by name: the built-in ones, then those in `own`. Raises SpecialtyError."""
    found = {}
    for root, builtin in ((Path(str(files("services.workers"))), True), (own, False)):
        if root is None:
            continue
        if not root.is_dir():
            raise SpecialtyError(f"HOCKET_SPECIALTIES: {root} is not a folder")
        for folder in sorted(p for p in root.iterdir() if (p / "specialty.toml").is_file()):
            found[folder.name] = load_specialty(folder, builtin=builtin)
    return found
