"""What the accounts share: refusing the malformed, and answering a repeated command as before. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from hocket.contracts.records import AccountCommand, Grant, Millis, Record

_D = TypeVar("_D", bound=Record)


class MalformedCommand(ValueError):  # noqa: N818 - the name says what is the case
    """The command cannot be understood; its producer must be mended. The message says what is wrong with it."""


class Answered(Record):
    """A grant as it was given, without its account and asker."""

    granted: bool
    amount: float = 0.0
    detail: str = "{}"
    expires_at: Millis | None = None
    at: Millis


Memory = dict[str, Answered]
"""Answers by the digest of their command's id, the oldest first."""


def digest(text: str) -> str:
    """A short stand-in for an id, so that a row stays small: 64 bits of BLAKE2b."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def reply(
    command: AccountCommand,
    now: int,
    *,
    granted: bool,
    amount: float = 0.0,
    expires_at: int | None = None,
    detail: Mapping[str, Any] | None = None,
) -> Grant:
    """The grant that answers a command."""
    return Grant(
        asker=command.asker,
        account_id=command.account_id,
        command_id=command.command_id,
        granted=granted,
        amount=amount,
        detail=json.dumps(detail or {}, ensure_ascii=False, separators=(",", ":")),
        expires_at=expires_at,
        at=now,
    )


def remember(memory: Mapping[str, Answered], grant: Grant, limit: int, *, detail: str | None = None) -> Memory:
    """The memory with one answer more, and never more than `limit`: the oldest are forgotten."""
    kept = dict(memory)
    kept[digest(grant.command_id)] = Answered(
        granted=grant.granted,
        amount=grant.amount,
        detail=grant.detail if detail is None else detail,
        expires_at=grant.expires_at,
        at=grant.at,
    )
    while len(kept) > limit:
        del kept[next(iter(kept))]
    return kept


def recall(memory: Mapping[str, Answered], command: AccountCommand) -> Grant | None:
    """The same answer again; None for a command that was not answered yet, or too long ago."""
    known = memory.get(digest(command.command_id))
    if known is None:
        return None
    return Grant(
        asker=command.asker,
        account_id=command.account_id,
        command_id=command.command_id,
        granted=known.granted,
        amount=known.amount,
        detail=known.detail,
        expires_at=known.expires_at,
        at=known.at,
    )


def details(kind: type[_D], command: AccountCommand) -> _D:
    """The command's detail as a value. Raises MalformedCommand."""
    try:
        return kind.model_validate_json(command.detail)
    except ValueError as e:
        first = str(e).replace("\n", " ")[:200]
        raise MalformedCommand(f"the detail of {command.action!r} is not as it must be: {first}") from e
