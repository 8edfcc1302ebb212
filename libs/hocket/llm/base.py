"""What a model call is: plain values, the error it may end with, and the protocol that every provider fulfils."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from hocket.contracts.records import Usage
from hocket.core.work import Document

Form = Literal["tool", "auto", "schema"]
"""How the structured reply is asked for.

`tool`: a forced tool call. `auto`: the tool is offered and the prompt asks for it, for models that reject forcing
(Claude Opus 5.5, Claude Sonnet 5.5). `schema`: a JSON schema for the reply's text, for OpenAI's reasoning models,
which take function tools on Chat Completions only with reasoning off.
"""

Kind = Literal[
    "rate_limited",
    "overloaded",
    "unavailable",
    "timeout",
    "quota",
    "auth",
    "too_long",
    "refused",
    "truncated",
    "malformed",
    "bad_request",
    "over_budget",
]
RETRYABLE: frozenset[Kind] = frozenset({"rate_limited", "overloaded", "unavailable", "timeout"})
QUALITY: frozenset[Kind] = frozenset({"refused", "truncated", "malformed"})
"""The model answered, but not usably: a better one may; the same one elsewhere hardly."""

OnText = Callable[[str], None]
"""Takes the reply's readable text while it comes, piece by piece. Must return at once."""


OnHeaders = Callable[[str, Mapping[str, str]], None]


@dataclass(frozen=True, kw_only=True)
class ModelCall:
    """One call. The reply is always an object that should fit `tool_schema`; the caller checks that it does.

    `max_output_tokens` bounds what the model writes, thinking included. `deadline_ms` is absolute, UTC. `text_field`
    is the field of the object that a person reads, the one that is streamed. System and tool stay the same from call to
    call of a specialty: providers may cache them.
    """

    model: str
    system: str
    prompt: str
    images: tuple[Document, ...] = ()
    tool_name: str
    tool_description: str
    tool_schema: Mapping[str, Any] = field(repr=False)
    max_output_tokens: int
    deadline_ms: int | None = None
    form: Form = "tool"
    effort: str | None = None
    thinking: str | None = None
    text_field: str = "text"


@dataclass(frozen=True, kw_only=True)
class ModelReply:
    """The object the model replied with, and what the call cost."""

    data: dict[str, Any]
    usage: Usage
    stop_reason: str


class ModelError(Exception):
    """A call failed. `kind` says how and so who must act; the message is safe to show: secrets are taken out of it.

    `usage` is set when the failed call still cost tokens (truncated, refused, malformed); `spent` when it was broken
    off after the provider had begun, so that nobody tells what it cost.
    """

    def __init__(
        self,
        kind: Kind,
        message: str,
        *,
        retry_after_ms: int | None = None,
        usage: Usage | None = None,
        spent: bool = False,
    ) -> None:
        super().__init__(message)
        self.kind: Kind = kind
        self.message = message
        self.retry_after_ms = retry_after_ms
        self.usage = usage
        self.spent = spent

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later without a change."""
        return self.kind in RETRYABLE


class Provider(Protocol):
    """One way to reach models. Safe for any number of calls at once."""

    name: str
    heard: OnHeaders | None
    """Gets the headers of every reply, with provider/model."""

    async def call(self, call: ModelCall, on_text: OnText | None = None) -> ModelReply:
        """Makes one call, once: retries are the caller's. With `on_text` the reply is streamed.

        Waits on the network until the deadline at most. Raises ModelError for everything that the provider or the
        network does; a cancelled call closes its connection, so that the provider stops generating.
        """

    async def ready(self, model: str) -> None:
        """Loads what the first call needs (an SDK: up to a second), so that calls are timed without it.

        Raises ModelError when the provider must not be called.
        """

    async def close(self) -> None:
        """Closes idle connections. Calls under way fail."""
