"""The catalogue of models: `models.toml`, and a file of the user's own that replaces entries of it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from hocket.llm.base import Form

Alias = Literal["small", "middle", "frontier"]
ALIASES: tuple[Alias, ...] = ("small", "middle", "frontier")
ProviderName = Literal["anthropic", "openai"]
Usd = Annotated[float, Field(ge=0)]


class CatalogueError(Exception):
    """A catalogue file is wrong; the message names the file, the place and the mend."""


class Entry(BaseModel):
    """One model as the catalogue describes it; `models.toml` says what the fields mean."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: ProviderName
    id: str = Field(min_length=1)
    alias: Alias
    quality: int = Field(5, ge=1, le=10)
    latency_ms: int = Field(5_000, ge=1)
    output_limit: int = Field(8_192, ge=256)
    context: int | None = Field(None, ge=1_024)
    form: Form = "tool"
    effort: str | None = None
    thinking: str | None = None
    thinking_tokens: int = Field(0, ge=0)
    chars_per_token: float = Field(1.0, ge=1)
    rpm: int | None = Field(None, ge=1)
    tpm: int | None = Field(None, ge=1)
    input_usd: Usd | None = None
    cached_usd: Usd | None = None
    cache_write_usd: Usd | None = None
    output_usd: Usd | None = None
    shipped: bool = Field(default=False, exclude=True)

    @model_validator(mode="after")
    def _possible(self) -> Entry:
        if self.provider == "anthropic" and self.form == "schema":
            raise ValueError("form = 'schema' is for openai; use 'tool' or 'auto'")
        if (self.input_usd is None) != (self.output_usd is None):
            raise ValueError("give input_usd and output_usd, or neither")
        return self

    @property
    def engine(self) -> str:
        """How attempts and receipts name it."""
        return f"{self.provider}/{self.id}"


class Price(BaseModel):
    """What a model costs, in US dollars per million tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_usd: Usd
    output_usd: Usd
    cached_usd: Usd | None = None
    cache_write_usd: Usd | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    models: tuple[Entry, ...]


def parse(text: str, where: str, *, shipped: bool = False) -> tuple[Entry, ...]:
    """The entries of a catalogue file's text. Raises CatalogueError with every fault found."""
    found: tuple[Entry, ...] = _validated(text, where, TypeAdapter(_File)).models
    places = [(e.provider, e.alias) for e in found]
    twice = {f"{p} {a}" for p, a in places if places.count((p, a)) > 1}
    if twice:
        raise CatalogueError(f"{where}: stands twice: {', '.join(sorted(twice))}; one model per provider and alias")
    return tuple(e.model_copy(update={"shipped": shipped}) for e in found)


def _validated(text: str, where: str, form: TypeAdapter[Any]) -> Any:
    try:
        return form.validate_python(tomllib.loads(text))
    except tomllib.TOMLDecodeError as e:
        raise CatalogueError(f"{where}: {e}") from e
    except ValidationError as e:
        wrong = "; ".join(f"{'.'.join(map(str, x['loc'])) or 'file'}: {x['msg']}" for x in e.errors())
        raise CatalogueError(f"{where}: {wrong}") from e


def _read(variable: str, path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as e:
        raise CatalogueError(f"{variable}: {path}: {e.strerror}") from e


def priced(entries: Iterable[Entry], path: Path) -> tuple[Entry, ...]:
    """The entries with the prices of a file, one table per model: `["anthropic/claude-haiku-5-5"]`.

    Raises CatalogueError, also for a table whose model is not in the catalogue: its price would silently not be used.
    """
    text = _read("HOCKET_PRICES", path)
    prices: dict[str, Price] = _validated(text, str(path), TypeAdapter(dict[str, Price]))
    found = tuple(e.model_copy(update=prices[e.engine].model_dump()) if e.engine in prices else e for e in entries)
    if unknown := sorted(set(prices) - {e.engine for e in found}):
        raise CatalogueError(f"{path}: not in the catalogue: {', '.join(unknown)}")
    return found


def load_catalogue(own: Path | None = None) -> tuple[Entry, ...]:
    """The shipped entries, replaced one by one by those of the user's own file. Raises CatalogueError."""
    shipped = parse((files("hocket.llm") / "models.toml").read_text("utf-8"), "models.toml", shipped=True)
    if own is None:
        return shipped
    return merged(shipped, parse(_read("HOCKET_MODELS", own), str(own)))


def merged(shipped: Iterable[Entry], own: Iterable[Entry]) -> tuple[Entry, ...]:
    """Both, the later ones in the place of the earlier ones with the same provider and alias."""
    by_place: dict[tuple[Any, Any], Entry] = {(e.provider, e.alias): e for e in (*shipped, *own)}
    return tuple(by_place.values())
