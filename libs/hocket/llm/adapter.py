"""What is the same for every provider: one call over its SDK, its failures in our words, its usage billed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from hocket.llm import errors
from hocket.llm.base import ModelCall, ModelError, ModelReply
from hocket.llm.prices import Tokens
from hocket.llm.wire import Bill, Client, Endpoint, bounded, plain


class Adapter(ABC):
    """A Provider over an SDK; hocket.llm.base.Provider says what calls may raise. Subclasses know one API's words."""

    name: str
    factory: str
    """The SDK's client class; the SDK's module has the provider's name."""

    def __init__(self, endpoint: Endpoint, *, bill: Bill, now_ms: Callable[[], int]) -> None:
        self._client = Client(self.name, self.factory, endpoint)
        self._bill = bill
        self._now_ms = now_ms

    @abstractmethod
    def send(self, client: Any, call: ModelCall, seconds: float) -> Awaitable[Any]:
        """The SDK's raw response to the call."""

    @abstractmethod
    def tokens(self, body: Mapping[str, Any]) -> Tokens:
        """What the call used, cached input counted in."""

    @abstractmethod
    def data(self, engine: str, call: ModelCall, body: Mapping[str, Any]) -> dict[str, Any]:
        """The object that the model replied with. Raises ModelError when it did not, or stopped for a bad reason."""

    @abstractmethod
    def stop_reason(self, body: Mapping[str, Any]) -> str:
        """Why the model stopped, in the provider's words."""

    async def call(self, call: ModelCall) -> ModelReply:
        """One call; see Provider."""
        engine = f"{self.name}/{call.model}"
        started = self._now_ms()
        sdk, client = await self._client.get()
        try:
            async with bounded(engine, call, started) as seconds:
                body, _ = await plain(self.send(client, call, seconds))
        except sdk.APIStatusError as e:
            raise self._failed(engine, e) from e
        except sdk.APITimeoutError as e:
            raise ModelError("timeout", f"{engine}: no reply in time.") from e
        except sdk.APIConnectionError as e:
            raise ModelError("unavailable", f"{engine}: {self._said(e)}") from e
        except (sdk.APIError, ValueError) as e:
            raise ModelError("malformed", f"{engine}: unreadable answer: {self._said(e)}") from e
        usage = self._bill(call.model, self.tokens(body), started, self._now_ms())
        try:
            data = self.data(engine, call, body)
        except ModelError as e:
            e.usage = usage
            raise
        return ModelReply(data=data, usage=usage, stop_reason=self.stop_reason(body))

    async def close(self) -> None:
        """Closes idle connections; see Provider."""
        await self._client.close()

    def _failed(self, engine: str, e: Any) -> ModelError:
        secrets = (self._client.endpoint.key,)
        return errors.from_status(
            engine, e.status_code, e.body, e.response.headers, now_ms=self._now_ms(), secrets=secrets
        )

    def _said(self, e: Exception) -> str:
        cause = e.__cause__ or e
        return errors.redacted(f"{type(cause).__name__}: {cause}", (self._client.endpoint.key,))
