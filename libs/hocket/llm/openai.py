"""OpenAI's Chat Completions, by its own SDK, retries off. Gemini, vLLM, Ollama and gateways speak it too."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from hocket.llm import errors
from hocket.llm.adapter import Adapter
from hocket.llm.base import ModelCall, ModelError, OnText
from hocket.llm.prices import Tokens
from hocket.llm.streams import Completion
from hocket.llm.wire import STALL_MS, Bill, Endpoint, count, object_in

BASE_URL = "https://api.openai.com/v1"


class OpenAI(Adapter):
    """Provider over Chat Completions."""

    name = "openai"
    factory = "AsyncOpenAI"

    def __init__(self, endpoint: Endpoint, *, bill: Bill, now_ms: Callable[[], int], stall_ms: int = STALL_MS) -> None:
        super().__init__(endpoint, bill=bill, now_ms=now_ms, stall_ms=stall_ms)
        # Ollama and others know only the old name of the output limit, OpenAI's own models only the new one.
        own = (urlsplit(endpoint.base_url).hostname or "").endswith(("openai.com", "openai.azure.com"))
        self._limit = "max_completion_tokens" if own else "max_tokens"

    def send(self, client: Any, call: ModelCall, seconds: float) -> Awaitable[Any]:
        """A completion, raw."""
        request = request_of(call, self._limit)
        sending: Awaitable[Any] = client.chat.completions.with_raw_response.create(**request, timeout=seconds)
        return sending

    def stream(self, client: Any, call: ModelCall, seconds: float) -> Awaitable[Any]:
        """A completion's chunks, the last of them with the usage."""
        request = request_of(call, self._limit)
        request["stream_options"] = {"include_usage": True}
        streaming: Awaitable[Any] = client.chat.completions.create(**request, stream=True, timeout=seconds)
        return streaming

    def assembly(self, call: ModelCall, on_text: OnText) -> Completion:
        """See Adapter."""
        return Completion(call.text_field, on_text)

    def tokens(self, body: Mapping[str, Any]) -> Tokens:
        """See tokens_of."""
        return tokens_of(body)

    def data(self, engine: str, call: ModelCall, body: Mapping[str, Any]) -> dict[str, Any]:
        """See data_of."""
        return data_of(engine, call, body)

    def stop_reason(self, body: Mapping[str, Any]) -> str:
        """Such as tool_calls or length."""
        return str(_choice(body).get("finish_reason"))


def request_of(call: ModelCall, limit_name: str) -> dict[str, Any]:
    """The request's parameters; `limit_name` is what the server calls the output limit. Pure."""
    content: list[dict[str, Any]] = [
        {
            "type": "image_url",
            "image_url": {"url": f"data:{i.media_type};base64,{base64.b64encode(i.data).decode('ascii')}"},
        }
        for i in call.images
    ]
    content.append({"type": "text", "text": call.prompt})
    order = f"\n\nReply only by calling the function {call.tool_name}, once, and write nothing else."
    request: dict[str, Any] = {
        "model": call.model,
        limit_name: call.max_output_tokens,
        "messages": [
            {"role": "system", "content": call.system + (order if call.form == "auto" else "")},
            {"role": "user", "content": content if call.images else call.prompt},
        ],
        **_form(call),
    }
    if call.effort is not None:
        request["reasoning_effort"] = call.effort
    return request


def _form(call: ModelCall) -> dict[str, Any]:
    schema = dict(call.tool_schema)
    if call.form == "schema":
        # Not strict: strict schemas know neither maps nor optional fields; the caller checks the reply anyway.
        asked = {
            "name": call.tool_name,
            "description": call.tool_description,
            "schema": schema,
            "strict": False,
        }
        return {"response_format": {"type": "json_schema", "json_schema": asked}}
    function = {"name": call.tool_name, "description": call.tool_description, "parameters": schema}
    forced = {"type": "function", "function": {"name": call.tool_name}}
    return {
        "tools": [{"type": "function", "function": function}],
        "tool_choice": forced if call.form == "tool" else "auto",
    }


def tokens_of(body: Mapping[str, Any]) -> Tokens:
    """The call's tokens; OpenAI's input includes the cached part. Pure."""
    usage = body.get("usage")
    return Tokens(
        input=count(usage, "prompt_tokens"),
        cached=count(usage, "prompt_tokens_details", "cached_tokens"),
        cache_writes=count(usage, "prompt_tokens_details", "cache_write_tokens"),
        output=count(usage, "completion_tokens"),
    )


def data_of(engine: str, call: ModelCall, body: Mapping[str, Any]) -> dict[str, Any]:
    """The object the model replied with. Pure. Raises ModelError when it did not, or stopped for a bad reason."""
    choice = _choice(body)
    stopped = errors.from_stop(engine, str(choice.get("finish_reason")))
    if stopped is not None:
        raise stopped
    message = choice.get("message")
    message = message if isinstance(message, Mapping) else {}
    if message.get("refusal"):
        raise ModelError("refused", f"{engine}: the model refused: {errors.redacted(str(message['refusal']))}")
    calls = message.get("tool_calls")
    for tool in calls if isinstance(calls, list) else ():
        function = tool.get("function") if isinstance(tool, Mapping) else None
        if isinstance(function, Mapping) and function.get("name") == call.tool_name:
            return object_in(engine, function.get("arguments"))
    try:
        # Ollama ignores a forced tool choice; its models then often write the object as text.
        return object_in(engine, message.get("content"))
    except ModelError as e:
        raise ModelError("malformed", f"{engine}: the model did not call {call.tool_name}.") from e


def _choice(body: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, Mapping) else {}
