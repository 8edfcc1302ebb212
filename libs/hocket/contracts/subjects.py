"""Subjects of a schema registry, one for each topic's values (TopicNameStrategy): what is missing, what is refused.

Decisions are pure (`decide`). A schema that is not FULL_TRANSITIVE with every version in its subject is never
registered, whatever level the registry itself enforces: old and new services run side by side during an upgrade, and
topics are read again from their start.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hocket.contracts.compat import full_transitive
from hocket.contracts.topics import TopicSpec

LEVEL = "FULL_TRANSITIVE"
_NEW = "this version of Hocket"

Action = Literal["current", "register", "refused"]
Schema = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class SubjectState:
    """A subject as it stands in the registry. `versions` holds None for what is no Avro; `found` tells whether the
    wanted schema is among them; `level` is the subject's own compatibility level, None where it has none."""

    versions: Mapping[int, Schema | None]
    found: bool
    level: str | None


NOTHING = SubjectState(versions={}, found=False, level=None)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What is to be done for a subject. `faults` are sentences and `diff` is a unified diff from the newest registered
    version, both only where it is refused. `relevel` tells that the subject's level is not FULL_TRANSITIVE yet."""

    subject: str
    record: str
    action: Action
    relevel: bool = False
    faults: tuple[str, ...] = ()
    diff: str = ""


def subjects(wanted: Mapping[str, TopicSpec]) -> dict[str, str]:
    """The value subject of every topic (full names), with the record that stands in it."""
    return {f"{topic}-value": spec.record for topic, spec in sorted(wanted.items())}


def decide(subject: str, record: str, schema: Schema, state: SubjectState) -> Finding:
    """What one subject needs."""
    relevel = state.level != LEVEL
    if state.found:
        return Finding(subject=subject, record=record, action="current", relevel=relevel)
    foreign = [f"version {n} is no Avro schema: something else uses this subject" for n in _foreign(state)]
    known = {f"version {n}": s for n, s in state.versions.items() if s is not None}
    mine = [f for f in full_transitive({**known, _NEW: schema}) if _NEW in f]
    faults = (*foreign, *mine)
    if not faults:
        return Finding(subject=subject, record=record, action="register", relevel=relevel)
    newest = max((n for n, s in state.versions.items() if s is not None), default=None)
    diff = "" if newest is None else _diff(newest, state.versions[newest], schema)
    return Finding(subject=subject, record=record, action="refused", relevel=relevel, faults=faults, diff=diff)


def _foreign(state: SubjectState) -> list[int]:
    return [n for n, schema in sorted(state.versions.items()) if schema is None]


def _diff(number: int, old: object, new: object) -> str:
    before, after = (json.dumps(s, indent=2, sort_keys=True, ensure_ascii=False).splitlines() for s in (old, new))
    return "\n".join(difflib.unified_diff(before, after, f"version {number}", _NEW, lineterm=""))
