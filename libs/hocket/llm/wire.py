"""What both provider adapters share: where the provider is, the client made at first use, bounds, reading replies."""

from __future__ import annotations

import asyncio
import importlib
import ipaddress
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import structlog

from hocket.contracts.records import Usage
from hocket.llm.base import ModelCall, ModelError
from hocket.llm.prices import Tokens

log = structlog.get_logger(__name__)
MAX_CALL_MS = 300_000
"""No call lasts longer, whatever its deadline: a provider that hangs must not hold a worker for ever."""
STALL_MS = 60_000
"""How long a stream that has begun may stand still; providers' keep-alive events do not count."""
Bill = Callable[[str, Tokens, int, int], Usage]
"""Makes the usage record of a call: model id, tokens, start and end in ms."""
_FENCED = re.compile(r"\A```(?:json)?\s*\n(.*)\n```\Z", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where a provider is reached and with which key. `allow_real` False admits loopback addresses only."""

    key: str = field(repr=False)
    base_url: str
    allow_real: bool = True


def is_loopback(url: str) -> bool:
    """Whether the URL's host is this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Client:
    """An SDK's client, made at the first call; the import (some 50 MB, up to a second) runs in a thread."""

    def __init__(self, module: str, factory: str, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._module, self._factory = module, factory
        self._sdk: Any = None
        self._client: Any = None
        self._making = asyncio.Lock()
        self._seen: set[str] = set()

    async def get(self, model: str) -> tuple[Any, Any]:
        """The SDK's module and its client. Raises ModelError when real providers are switched off."""
        if not self.endpoint.allow_real and not is_loopback(self.endpoint.base_url):
            host = urlsplit(self.endpoint.base_url).hostname
            raise ModelError("auth", f"HOCKET_ALLOW_REAL_MODELS=0 forbids calls to {host}; only loopback is called.")
        async with self._making:
            if self._client is None:
                self._sdk = await asyncio.to_thread(importlib.import_module, self._module)
                await asyncio.to_thread(importlib.import_module, "genai_prices.data")
                make = getattr(self._sdk, self._factory)
                self._client = make(api_key=self.endpoint.key, base_url=self.endpoint.base_url, max_retries=0)
        if model not in self._seen and len(self._seen) < 100:
            self._seen.add(model)
            if said := deprecation(self._module, model):
                log.warning("deprecated model", provider=self._module, model=model, said=said)
        return self._sdk, self._client

    async def close(self) -> None:
        """Closes the client's connections, if one was ever made."""
        if self._client is not None:
            await self._client.close()
            self._client = None


def deprecation(provider: str, model: str) -> str | None:
    """What the provider's SDK or the price list knows of the model's end; None for a model that stays. Loads both."""
    if provider == "anthropic":
        from anthropic.resources.messages.messages import DEPRECATED_MODELS

        if model in DEPRECATED_MODELS:
            return f"ends on {DEPRECATED_MODELS[model]}: name another one in HOCKET_MODELS"
    from genai_prices.data import providers

    known = next((p for p in providers if p.id == provider), None)
    found = known.find_model(model) if known is not None else None
    return "the provider has deprecated it: name another one in HOCKET_MODELS" if found and found.deprecated else None


@asynccontextmanager
async def bounded(engine: str, call: ModelCall, now_ms: int) -> Any:
    """Bounds the body by the call's deadline; yields the seconds that are left. Raises ModelError `timeout`."""
    left_ms = MAX_CALL_MS if call.deadline_ms is None else min(MAX_CALL_MS, call.deadline_ms - now_ms)
    if left_ms <= 0:
        raise ModelError("timeout", f"{engine}: not called, the deadline has passed.")
    try:
        async with asyncio.timeout(left_ms / 1000):
            yield left_ms / 1000
    except TimeoutError as e:
        raise ModelError("timeout", f"{engine}: no reply within {left_ms / 1000:.1f} s.", spent=True) from e


async def plain(sending: Awaitable[Any]) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    """A raw response's body and headers as plain data. Raises ValueError when the body is no JSON object.

    The SDKs build their models without validating, so that a broken answer would fail wherever it is first touched.
    """
    response = await sending
    body = json.loads(await _text(response), parse_constant=_no_constant)
    if not isinstance(body, dict):
        raise ValueError("not an object")  # noqa: TRY004 - to the caller it is one more unreadable body
    return body, response.headers


def plain_event(event: Any) -> Mapping[str, Any]:
    """A stream's event as plain data, however broken. Raises ValueError when it is no object."""
    found = event.model_dump(mode="json", warnings=False) if hasattr(event, "model_dump") else event
    if not isinstance(found, Mapping):
        raise ValueError("not an object")  # noqa: TRY004 - see plain
    return found


async def _text(response: Any) -> str:
    text = response.text() if callable(response.text) else response.text
    return str(await text if hasattr(text, "__await__") else text)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def object_in(engine: str, text: object) -> dict[str, Any]:
    """The JSON object in a model's text, with or without a code fence. Raises ModelError `malformed`."""
    if isinstance(text, str):
        stripped = text.strip()
        fenced = _FENCED.match(stripped)
        try:
            found = json.loads(fenced.group(1) if fenced else stripped, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            return found
    raise ModelError("malformed", f"{engine}: the reply is not a JSON object.")


def count(usage: object, *path: str) -> int:
    """A token count somewhere in a usage object; 0 when it is not there."""
    at = usage
    for name in path:
        at = at.get(name) if isinstance(at, Mapping) else None
    return at if isinstance(at, int) and at > 0 else 0
