"""Topics as `schemas/topics.yaml` declares them, with the configured prefix in front."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml

PER_SPECIALTY = "tasks-{specialty}"
_UNITS = {"h": 3_600_000, "d": 86_400_000}
_NAME = re.compile(r"[a-zA-Z0-9_-]*")


@dataclass(frozen=True, kw_only=True)
class TopicSpec:
    """One topic as declared; `partitions` is "joined", "tasks" or a number, `retention_ms` milliseconds.

    A compacted one keeps the newest record of each key, for ever unless it also expires: only then does `retention_ms`
    say something about it.
    """

    name: str
    purpose: str
    record: str
    key: str
    partitions: str | int
    retention_ms: int
    max_message_bytes: int | None
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    compacted: bool = False
    expires: bool = True
    groupless: tuple[str, ...] = ()
    """Those of the consumers that read it without a consumer group, so that it has no lag for them."""

    @property
    def joined(self) -> bool:
        """Whether the aggregator's join needs this topic to have the common partition count."""
        return self.partitions == "joined"


def retention_ms(text: str) -> int:
    """Milliseconds of a span such as 7d or 1h. Raises ValueError on anything else."""
    if not re.fullmatch(r"\d+[hd]", text):
        raise ValueError(f"retention must look like 7d or 1h, not {text!r}")
    return int(text[:-1]) * _UNITS[text[-1]]


def _spec(name: str, raw: Mapping[str, Any], default_retention: str) -> TopicSpec:
    return TopicSpec(
        name=name,
        purpose=raw["purpose"],
        record=raw["record"],
        key=raw["key"],
        partitions=raw["partitions"],
        retention_ms=retention_ms(raw.get("retention", default_retention)),
        max_message_bytes=raw.get("max_message_bytes"),
        producers=tuple(raw["producers"]),
        consumers=tuple(raw["consumers"]),
        compacted="compact" in raw.get("cleanup", "delete"),
        expires="delete" in raw.get("cleanup", "delete"),
        groupless=tuple(raw.get("groupless", ())),
    )


def load_specs() -> dict[str, TopicSpec]:
    """All declared topics by their unprefixed name, `tasks-{specialty}` still as a pattern."""
    raw = yaml.safe_load((files("schemas") / "topics.yaml").read_text("utf-8"))
    return {name: _spec(name, body, raw["retention_default"]) for name, body in raw["topics"].items()}


class Topics:
    """Full topic names under one prefix, such as `prod-requests`. No dots in the prefix (they collide with _)."""

    def __init__(self, prefix: str = "", specs: Mapping[str, TopicSpec] | None = None) -> None:
        if not _NAME.fullmatch(prefix):
            raise ValueError(f"topic prefix {prefix!r}: use letters, digits, - and _ only (no dots); set HOCKET_PREFIX")
        self.prefix = prefix
        self.specs = dict(specs or load_specs())

    def __getattr__(self, name: str) -> str:
        """`topics.dead_letters` is the full name of `dead-letters`."""
        plain = name.replace("_", "-")
        if name.startswith("__") or plain not in self.specs:
            raise AttributeError(f"no topic {plain!r} in schemas/topics.yaml")
        return self.prefix + plain

    def tasks(self, specialty: str) -> str:
        """The task topic of a specialty; `planning` is the planner's."""
        return f"{self.prefix}tasks-{specialty}"

    def plain(self, full: str) -> str:
        """A full name without the prefix."""
        return full.removeprefix(self.prefix)

    def spec(self, full: str) -> TopicSpec | None:
        """The declaration behind a full name, None for a foreign topic."""
        if not full.startswith(self.prefix):
            return None
        plain = self.plain(full)
        if plain in self.specs:
            return self.specs[plain]
        return self.specs[PER_SPECIALTY] if plain.startswith("tasks-") else None

    def all(self, specialties: Iterable[str]) -> dict[str, TopicSpec]:
        """Every full topic name that an installation with these specialties needs."""
        named = {self.prefix + name: spec for name, spec in self.specs.items() if name != PER_SPECIALTY}
        return named | {self.tasks(s): self.specs[PER_SPECIALTY] for s in specialties}
