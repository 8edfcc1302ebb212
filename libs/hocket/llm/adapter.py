"""What is the same for every provider: one call over its SDK, its failures in our words, its usage billed."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from hocket.llm import errors
from hocket.llm.base import ModelCall, ModelError, ModelReply, OnHeaders, OnText
from hocket.llm.prices import Tokens
from hocket.llm.streams import Assembly
from hocket.llm.wire import STALL_MS, Bill, Client, Endpoint, bounded, plain, plain_event


class Adapter(ABC):
    """A Provider over an SDK; hocket.llm.base.Provider says what calls may raise. Subclasses know one API's words."""

    name: str
    factory: str
    """The SDK's client class; the SDK's module has the provider's name."""

    def __init__(self, endpoint: Endpoint, *, bill: Bill, now_ms: Callable[[], int], stall_ms: int = STALL_MS) -> None:
        self.heard: OnHeaders | None = None
        self._client = Client(self.name, self.factory, endpoint)
        self._bill = bill
        self._now_ms = now_ms
        self._stall_s = stall_ms / 1000

    @abstractmethod
    def send(self, client: Any, call: ModelCall, seconds: float) -> Awaitable[Any]:
        """The SDK's raw response to the call."""

    @abstractmethod
    def stream(self, client: Any, call: ModelCall, seconds: float) -> Awaitable[Any]:
        """The SDK's stream of events for the call."""

    @abstractmethod
    def assembly(self, call: ModelCall, on_text: OnText) -> Assembly:
        """What puts the stream's events together."""

    @abstractmethod
    def tokens(self, body: Mapping[str, Any]) -> Tokens:
        """What the call used, cached input counted in."""

    @abstractmethod
    def data(self, engine: str, call: ModelCall, body: Mapping[str, Any]) -> dict[str, Any]:
        """The object that the model replied with. Raises ModelError when it did not, or stopped for a bad reason."""

    @abstractmethod
    def stop_reason(self, body: Mapping[str, Any]) -> str:
        """Why the model stopped, in the provider's words."""

    async def call(self, call: ModelCall, on_text: OnText | None = None) -> ModelReply:
        """One call; see Provider."""
        engine = f"{self.name}/{call.model}"
        started = self._now_ms()
        body = await self._body(engine, call, on_text, started)
        usage = self._bill(call.model, self.tokens(body), started, self._now_ms())
        try:
            data = self.data(engine, call, body)
        except ModelError as e:
            e.usage = usage
            raise
        return ModelReply(data=data, usage=usage, stop_reason=self.stop_reason(body))

    async def _body(self, engine: str, call: ModelCall, on_text: OnText | None, started: int) -> Mapping[str, Any]:
        """The reply as plain data. Raises ModelError for all that SDK, network and provider do."""
        sdk, client = await self._client.get(call.model)
        # The SDKs let some errors of their HTTP client through while a stream is read.
        from httpx2 import HTTPError, StreamError, TimeoutException

        try:
            async with bounded(engine, call, started) as seconds:
                if on_text is not None:
                    return await self._streamed(engine, client, call, on_text, seconds)
                body, said = await plain(self.send(client, call, seconds))
                self._hear(engine, said)
                return body
        except sdk.APIStatusError as e:
            self._hear(engine, e.response.headers)
            raise self._failed(engine, e) from e
        except (sdk.APITimeoutError, TimeoutException) as e:
            raise ModelError("timeout", f"{engine}: no reply in time.", spent=True) from e
        except (sdk.APIConnectionError, HTTPError, StreamError) as e:
            raise ModelError("unavailable", f"{engine}: {self._said(e)}", spent=on_text is not None) from e
        except sdk.APIError as e:
            if on_text is not None and e.body is not None:
                raise errors.from_stream(engine, e.body, secrets=self._secrets) from e
            raise self._unreadable(engine, e) from e
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            # What a broken answer makes an SDK stumble over.
            raise self._unreadable(engine, e) from e

    async def _streamed(
        self, engine: str, client: Any, call: ModelCall, on_text: OnText, seconds: float
    ) -> Mapping[str, Any]:
        on_text("")
        parts = self.assembly(call, on_text)
        stream = await self.stream(client, call, seconds)
        self._hear(engine, stream.response.headers)
        stalled = False
        try:
            events = aiter(stream)
            async with asyncio.timeout(None) as stall:
                async for event in events:
                    # The first event may take its time: the model reads and thinks. From then on something must come.
                    stall.reschedule(asyncio.get_running_loop().time() + self._stall_s)
                    parts.feed(plain_event(event))
        except TimeoutError:
            stalled = stall.expired()
            if not stalled:
                raise
        finally:
            await stream.close()
        if stalled:
            raise ModelError("timeout", f"{engine}: the stream stood still for {self._stall_s:.0f} s.", spent=True)
        body = parts.body()
        if body is None:
            raise ModelError("unavailable", f"{engine}: the stream broke off without a stop reason.", spent=True)
        return body

    def _hear(self, engine: str, headers: Mapping[str, str]) -> None:
        if self.heard is not None:
            self.heard(engine, headers)

    async def ready(self, model: str) -> None:
        """See Provider."""
        await self._client.get(model)

    async def close(self) -> None:
        """Closes idle connections; see Provider."""
        await self._client.close()

    @property
    def _secrets(self) -> tuple[str, ...]:
        return (self._client.endpoint.key,)

    def _failed(self, engine: str, e: Any) -> ModelError:
        if e.status_code == 200:
            return errors.from_stream(engine, e.body, secrets=self._secrets)
        return errors.from_status(
            engine, e.status_code, e.body, e.response.headers, now_ms=self._now_ms(), secrets=self._secrets
        )

    def _unreadable(self, engine: str, e: Exception) -> ModelError:
        """What came is no answer of the API: something on the way broke it. A retry can mend that, the model cannot."""
        return ModelError("unavailable", f"{engine}: unreadable answer: {self._said(e)}", spent=True)

    def _said(self, e: Exception) -> str:
        cause = e.__cause__ or e
        return errors.redacted(f"{type(cause).__name__}: {cause}", self._secrets)
