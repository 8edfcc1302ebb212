"""Anthropic's Messages API, through its own SDK with its retries off."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Mapping
from typing import Any

from hocket.llm import errors
from hocket.llm.adapter import Adapter
from hocket.llm.base import ModelCall, ModelError, OnText
from hocket.llm.prices import Tokens
from hocket.llm.streams import Message
from hocket.llm.wire import count, object_in

BASE_URL = "https://api.anthropic.com"


class Anthropic(Adapter):
    """Provider over the Messages API."""

    name = "anthropic"
    factory = "AsyncAnthropic"

    def send(self, client: Any, call: ModelCall, seconds: float) -> Awaitable[Any]:
        """A message, raw."""
        sending: Awaitable[Any] = client.messages.with_raw_response.create(**request_of(call), timeout=seconds)
        return sending

    def stream(self, client: Any, call: ModelCall, seconds: float) -> Awaitable[Any]:
        """A message's events."""
        request = request_of(call)
        # Otherwise the API holds back each field of the tool's input until the field is complete.
        request["tools"] = [tool | {"eager_input_streaming": True} for tool in request["tools"]]
        streaming: Awaitable[Any] = client.messages.create(**request, stream=True, timeout=seconds)
        return streaming

    def assembly(self, call: ModelCall, on_text: OnText) -> Message:
        """See Adapter."""
        return Message(call.text_field, on_text)

    def tokens(self, body: Mapping[str, Any]) -> Tokens:
        """See tokens_of."""
        return tokens_of(body)

    def data(self, engine: str, call: ModelCall, body: Mapping[str, Any]) -> dict[str, Any]:
        """See data_of."""
        return data_of(engine, call, body)

    def stop_reason(self, body: Mapping[str, Any]) -> str:
        """Such as tool_use or max_tokens."""
        return str(body.get("stop_reason"))


def request_of(call: ModelCall) -> dict[str, Any]:
    """The request's parameters. Pure."""
    content: list[dict[str, Any]] = [
        {
            "type": "image",
            "source": {
                "type": "base64",
                "media_type": image.media_type,
                "data": base64.b64encode(image.data).decode("ascii"),
            },
        }
        for image in call.images
    ]
    content.append({"type": "text", "text": call.prompt})
    tool = {"name": call.tool_name, "description": call.tool_description, "input_schema": dict(call.tool_schema)}
    forced = {"type": "tool", "name": call.tool_name, "disable_parallel_tool_use": True}
    offered = {"type": "auto", "disable_parallel_tool_use": True}
    order = f"\n\nReply only by calling the tool {call.tool_name}, once, and write nothing else."
    request: dict[str, Any] = {
        "model": call.model,
        "max_tokens": call.max_output_tokens,
        # Everything up to here, the tool included, is the same for all tasks of a specialty: it may be cached.
        "system": [
            {
                "type": "text",
                "text": call.system + ("" if call.form == "tool" else order),
                "cache_control": {"type": "ephemeral"},
            }
        ],
        "messages": [{"role": "user", "content": content}],
        "tools": [tool],
        "tool_choice": forced if call.form == "tool" else offered,
    }
    if call.thinking is not None:
        request["thinking"] = {"type": call.thinking}
    if call.effort is not None:
        request["output_config"] = {"effort": call.effort}
    return request


def tokens_of(body: Mapping[str, Any]) -> Tokens:
    """The call's tokens: Anthropic counts cached input apart, Hocket counts it in. Pure."""
    usage = body.get("usage")
    cached = count(usage, "cache_read_input_tokens")
    writes = count(usage, "cache_creation_input_tokens")
    return Tokens(
        input=count(usage, "input_tokens") + cached + writes,
        cached=cached,
        cache_writes=writes,
        output=count(usage, "output_tokens"),
    )


def data_of(engine: str, call: ModelCall, body: Mapping[str, Any]) -> dict[str, Any]:
    """The object the model replied with. Pure. Raises ModelError when it did not, or stopped for a bad reason."""
    stopped = errors.from_stop(engine, str(body.get("stop_reason")))
    if stopped is not None:
        raise stopped
    content = body.get("content")
    blocks = [b for b in content if isinstance(b, Mapping)] if isinstance(content, list) else []
    for block in blocks:
        if block.get("type") == "tool_use" and block.get("name") == call.tool_name:
            found = block.get("input")
            if isinstance(found, dict):
                return found
    said = "".join(str(b.get("text", "")) for b in blocks if b.get("type") == "text")
    try:
        return object_in(engine, said)
    except ModelError as e:
        raise ModelError("malformed", f"{engine}: the model did not call {call.tool_name}.") from e
