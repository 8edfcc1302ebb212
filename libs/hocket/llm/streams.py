"""Streamed replies put together again, in the form in which the same API replies without streaming. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from hocket.llm.base import OnText
from hocket.llm.partial import PartialField

_MAX_CHARS = 4_000_000
"""More than any model's output limit; a stream that goes on beyond is broken."""


class Assembly(Protocol):
    """Takes a stream's events one by one."""

    def feed(self, event: Mapping[str, Any]) -> None:
        """One event, as plain data. Raises ValueError for one that cannot be."""

    def body(self) -> dict[str, Any] | None:
        """The reply, in the API's form without streaming; None if the stream gave no reason for its end."""


class _Told:
    """Tells the readable part of what is being written, and bounds it all."""

    def __init__(self, field: str, on_text: OnText) -> None:
        self._partial, self._on_text, self._chars = PartialField(field), on_text, 0

    def tell(self, piece: str) -> None:
        self._chars += len(piece)
        if self._chars > _MAX_CHARS:
            raise ValueError("the stream does not end")
        text = self._partial.feed(piece)
        if text:
            self._on_text(text)


class Message:
    """Anthropic's events."""

    def __init__(self, field: str, on_text: OnText) -> None:
        self._told = _Told(field, on_text)
        self._body: dict[str, Any] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._inputs: dict[int, list[str]] = {}
        self._usage: dict[str, Any] = {}
        self._ended = False

    def feed(self, event: Mapping[str, Any]) -> None:
        """See Assembly."""
        kind = event.get("type")
        if kind == "message_start":
            self._body = dict(_mapping(event.get("message")))
            self._count(self._body.get("usage"))
        elif kind == "content_block_start":
            self._blocks[int(event["index"])] = dict(_mapping(event.get("content_block")))
        elif kind == "content_block_delta":
            self._delta(int(event["index"]), _mapping(event.get("delta")))
        elif kind == "message_delta":
            self._body["stop_reason"] = _mapping(event.get("delta")).get("stop_reason")
            self._count(event.get("usage"))
        elif kind == "message_stop":
            self._ended = True

    def _delta(self, index: int, delta: Mapping[str, Any]) -> None:
        block = self._blocks.setdefault(index, {})
        if delta.get("type") == "input_json_delta":
            piece = str(delta.get("partial_json") or "")
            self._inputs.setdefault(index, []).append(piece)
            self._told.tell(piece)
        elif delta.get("type") == "text_delta":
            block["text"] = str(block.get("text") or "") + str(delta.get("text") or "")

    def _count(self, usage: object) -> None:
        # The last word on every count holds; a null says nothing.
        self._usage |= {name: value for name, value in _mapping(usage).items() if value is not None}

    def body(self) -> dict[str, Any] | None:
        """See Assembly. A tool's input that is no JSON is left out: the reply is then malformed, or cut."""
        if not self._ended or self._body.get("stop_reason") is None:
            return None
        for index, pieces in self._inputs.items():
            self._blocks[index]["input"] = _object_or_none("".join(pieces))
        content = [self._blocks[i] for i in sorted(self._blocks)]
        return self._body | {"content": content, "usage": self._usage}


class Completion:
    """OpenAI's chunks."""

    def __init__(self, field: str, on_text: OnText) -> None:
        self._told = _Told(field, on_text)
        self._content: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[int, dict[str, Any]] = {}
        self._reason: str | None = None
        self._usage: Mapping[str, Any] = {}

    def feed(self, event: Mapping[str, Any]) -> None:
        """See Assembly."""
        self._usage = _mapping(event.get("usage")) or self._usage
        choices = event.get("choices")
        choice = _mapping(choices[0]) if isinstance(choices, list) and choices else {}
        self._reason = choice.get("finish_reason") or self._reason
        delta = _mapping(choice.get("delta"))
        if delta.get("content"):
            self._content.append(str(delta["content"]))
            self._told.tell(self._content[-1])
        if delta.get("refusal"):
            self._refusal.append(str(delta["refusal"]))
        for call in delta.get("tool_calls") or ():
            self._call(_mapping(call))

    def _call(self, call: Mapping[str, Any]) -> None:
        index, given = call.get("index"), _mapping(call.get("function"))
        known = self._calls.setdefault(index if isinstance(index, int) else 0, {"name": "", "arguments": ""})
        known["name"] += str(given.get("name") or "")
        piece = str(given.get("arguments") or "")
        known["arguments"] += piece
        self._told.tell(piece)

    def body(self) -> dict[str, Any] | None:
        """See Assembly."""
        if self._reason is None:
            return None
        message: dict[str, Any] = {"content": "".join(self._content) or None}
        message["refusal"] = "".join(self._refusal) or None
        message["tool_calls"] = [{"type": "function", "function": self._calls[i]} for i in sorted(self._calls)]
        return {"choices": [{"message": message, "finish_reason": self._reason}], "usage": dict(self._usage)}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _object_or_none(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
