"""A provider on a loopback port: speaks Anthropic's `/v1/messages` and OpenAI's `/v1/chat/completions`, as scripted.

    def script(request: dict) -> Reply:          # the decoded request body, plus "api": "anthropic" | "openai"
        return Reply(data={"text": "hello"})     # the arguments of the tool call that was asked for

    async with SimulatedProvider(script) as provider:
        env = provider.env()                     # ANTHROPIC_BASE_URL, OPENAI_BASE_URL, keys

`log` (and the file `log_path`, one JSON object per line) tells what was asked and when each call started and ended;
`start_in_thread` serves tests and subprocess set-ups that have no event loop of their own.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

from aiohttp import ClientConnectionResetError, web


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the provider answers. With `status` other than 200, an error in the provider's own format."""

    data: Any = None
    text: str | None = None
    arguments: str | None = None
    tool: str | None = None
    status: int = 200
    code: str = ""
    message: str = "scripted"
    headers: dict[str, str] = field(default_factory=dict)
    stop: str | None = None
    refusal: str | None = None
    raw: str | None = None
    drop: bool = False
    delay_s: float = 0.0
    fault: str | None = None
    """Of a stream, after its first piece of content: drop, truncate, malform, stall, or error (in the stream)."""
    stall_s: float = 30.0
    input_tokens: int = 100
    cached_tokens: int = 0
    output_tokens: int = 20


@dataclass(kw_only=True)
class Logged:
    """One call as the provider saw it. `ended_at` is None while it runs; `outcome`: done, dropped or cancelled."""

    api: str
    model: str
    started_at: float
    ended_at: float | None = None
    outcome: str = "running"
    status: int = 0
    request: dict[str, Any] = field(default_factory=dict)


Script = Callable[[dict[str, Any]], "Reply | Awaitable[Reply]"]


class SimulatedProvider:
    """Starts on a free loopback port; see the module's docstring. Times in the log are `time.time()` seconds."""

    def __init__(self, script: Script, *, log_path: Path | None = None) -> None:
        self.script = script
        self.log: list[Logged] = []
        self._log_path = log_path
        self._runner: web.AppRunner | None = None
        self._port = 0
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def base_url(self) -> str:
        """Root of the server; the OpenAI SDK wants `/v1` behind it."""
        return f"http://127.0.0.1:{self._port}"

    def env(self, *apis: str) -> dict[str, str]:
        """The variables that point Hocket at this server; both providers, or only those named."""
        urls = {"anthropic": self.base_url, "openai": f"{self.base_url}/v1"}
        found = {}
        for api in apis or tuple(urls):
            found[f"{api.upper()}_BASE_URL"] = urls[api]
            found[f"{api.upper()}_API_KEY"] = f"sk-test-{api}-key"
        return found | {"HOCKET_ALLOW_REAL_MODELS": "0"}

    async def start(self) -> Self:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/messages", partial(self._handle, "anthropic"))
        app.router.add_post("/v1/chat/completions", partial(self._handle, "openai"))
        # Without handler_cancellation aiohttp lets a handler run on after its client has gone.
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    def start_in_thread(self) -> Self:
        """Serves from a thread with an event loop of its own; end it with `stop_thread`."""
        ready = threading.Event()

        def serve() -> None:
            self._loop = asyncio.new_event_loop()
            self._loop.run_until_complete(self.start())
            ready.set()
            self._loop.run_forever()
            self._loop.run_until_complete(self.stop())
            self._loop.close()

        self._thread = threading.Thread(target=serve, name="simulated-provider", daemon=True)
        self._thread.start()
        assert ready.wait(10)
        return self

    def stop_thread(self) -> None:
        assert self._loop is not None and self._thread is not None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _handle(self, api: str, http: web.Request) -> web.StreamResponse:
        request = json.loads(await http.read()) | {"api": api}
        logged = Logged(api=api, model=request["model"], started_at=time.time(), request=request)
        self.log.append(logged)
        try:
            given = self.script(request)
            reply = given if isinstance(given, Reply) else await given
            await asyncio.sleep(reply.delay_s)
            logged.outcome, logged.status = ("dropped", 0) if reply.drop else ("done", reply.status)
            if reply.drop:
                assert http.transport is not None
                http.transport.abort()
                return web.Response()
            if request.get("stream") and reply.status == 200 and reply.raw is None:
                return await _stream(reply, request, http)
            return _response(reply, request)
        except asyncio.CancelledError:
            logged.outcome = "cancelled"
            raise
        except ClientConnectionResetError:
            logged.outcome = "cancelled"
            return web.Response()  # nobody reads it
        finally:
            logged.ended_at = time.time()
            if self._log_path is not None:
                with self._log_path.open("a") as file:
                    file.write(json.dumps(asdict(logged)) + "\n")


@contextmanager
def running_provider(script: Script) -> Iterator[SimulatedProvider]:
    """A provider in a thread of its own, for the length of the block."""
    provider = SimulatedProvider(script).start_in_thread()
    try:
        yield provider
    finally:
        provider.stop_thread()


def tool_of(request: dict[str, Any]) -> str:
    """The name of the tool (or of the JSON schema) that the request asks to be answered with."""
    if "response_format" in request:
        return str(request["response_format"]["json_schema"]["name"])
    tool = request["tools"][0]
    return str(tool["name"] if request["api"] == "anthropic" else tool["function"]["name"])


def prompt_of(request: dict[str, Any]) -> str:
    """The text of the request's user message."""
    content = request["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(b.get("text", "") for b in content)


async def _stream(reply: Reply, request: dict[str, Any], http: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream"} | reply.headers)
    await response.prepare(http)
    events = _anthropic_events(reply, request) if request["api"] == "anthropic" else _openai_events(reply, request)
    named = request["api"] == "anthropic"
    for number, event in enumerate(events):
        if reply.fault is not None and number == 3 and await _fault(reply, response, http, named=named):
            return response
        head = f"event: {event['type']}\n" if named else ""
        await response.write(f"{head}data: {json.dumps(event)}\n\n".encode())
    if not named:
        await response.write(b"data: [DONE]\n\n")
    return response


async def _fault(reply: Reply, response: web.StreamResponse, http: web.Request, *, named: bool) -> bool:
    """Does the stream's fault; whether the stream is over by it."""
    if reply.fault == "stall":
        await asyncio.sleep(reply.stall_s)
        return False
    if reply.fault == "malform":
        await response.write(b'event: content_block_delta\ndata: {"type": "content_blo\n\n')
    elif reply.fault == "error":
        error = {"type": "error", "error": {"type": reply.code or "overloaded_error", "message": reply.message}}
        await response.write(f"{'event: error' + chr(10) if named else ''}data: {json.dumps(error)}\n\n".encode())
    elif reply.fault == "drop":
        assert http.transport is not None
        http.transport.abort()
    return True


def _pieces(text: str) -> list[str]:
    return [text[n : n + 7] for n in range(0, len(text), 7)]


def _anthropic_events(reply: Reply, request: dict[str, Any]) -> list[dict[str, Any]]:
    whole = _anthropic(reply, request)
    usage = whole["usage"]
    events: list[dict[str, Any]] = [
        {
            "type": "message_start",
            "message": whole | {"content": [], "stop_reason": None, "usage": usage | {"output_tokens": 1}},
        }
    ]
    for index, block in enumerate(whole["content"]):
        is_tool = block["type"] == "tool_use"
        text = reply.arguments or json.dumps(block["input"]) if is_tool else block["text"]
        start = block | ({"input": {}} if is_tool else {"text": ""})
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        for piece in _pieces(text):
            delta = (
                {"type": "input_json_delta", "partial_json": piece}
                if is_tool
                else {"type": "text_delta", "text": piece}
            )
            events.append({"type": "content_block_delta", "index": index, "delta": delta})
        events.append({"type": "content_block_stop", "index": index})
    end = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    events.append({"type": "message_delta", "delta": end, "usage": {"output_tokens": usage["output_tokens"]}})
    return [*events, {"type": "message_stop"}]


def _openai_events(reply: Reply, request: dict[str, Any]) -> list[dict[str, Any]]:
    whole = _openai(reply, request)
    choice = whole["choices"][0]
    message = choice["message"]
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": request["model"]}

    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return head | {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}], "usage": None}

    events = [chunk({"role": "assistant", "content": ""})]
    for call in message.get("tool_calls", ()):
        start = call | {"index": 0, "function": {"name": call["function"]["name"], "arguments": ""}}
        events.append(chunk({"tool_calls": [start]}))
        for piece in _pieces(call["function"]["arguments"]):
            events.append(chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}))
    events += [chunk({"content": piece}) for piece in _pieces(message["content"] or "")]
    if message.get("refusal"):
        events.append(chunk({"refusal": message["refusal"]}))
    return [*events, chunk({}, choice["finish_reason"]), head | {"choices": [], "usage": whole["usage"]}]


def _response(reply: Reply, request: dict[str, Any]) -> web.Response:
    if reply.raw is not None:
        return web.Response(text=reply.raw, status=reply.status, headers=reply.headers, content_type="application/json")
    if reply.status != 200:
        error = {"type": reply.code or "api_error", "code": reply.code or None, "message": reply.message}
        return web.json_response({"type": "error", "error": error}, status=reply.status, headers=reply.headers)
    body = _anthropic(reply, request) if request["api"] == "anthropic" else _openai(reply, request)
    return web.json_response(body, headers=reply.headers)


def _anthropic(reply: Reply, request: dict[str, Any]) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    if reply.text is not None:
        content.append({"type": "text", "text": reply.text})
    if reply.data is not None:
        content.append(
            {"type": "tool_use", "id": "toolu_1", "name": reply.tool or tool_of(request), "input": reply.data}
        )
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": content,
        "stop_reason": reply.stop or ("tool_use" if reply.data is not None else "end_turn"),
        "stop_sequence": None,
        "usage": {
            "input_tokens": reply.input_tokens - reply.cached_tokens,
            "cache_read_input_tokens": reply.cached_tokens,
            "cache_creation_input_tokens": 0,
            "output_tokens": reply.output_tokens,
        },
    }


def _openai(reply: Reply, request: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": reply.refusal}
    arguments = reply.arguments or (json.dumps(reply.data) if reply.data is not None else None)
    if arguments is not None and "response_format" in request:
        message["content"] = arguments
    elif arguments is not None:
        function = {"name": reply.tool or tool_of(request), "arguments": arguments}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
    stop = {"max_tokens": "length", "refusal": "content_filter"}.get(reply.stop or "", reply.stop)
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": request["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": stop or ("tool_calls" if arguments else "stop")}],
        "usage": {
            "prompt_tokens": reply.input_tokens,
            "completion_tokens": reply.output_tokens,
            "total_tokens": reply.input_tokens + reply.output_tokens,
            "prompt_tokens_details": {"cached_tokens": reply.cached_tokens},
        },
    }
