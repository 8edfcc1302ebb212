"""A provider without a network: the script answers each call with an object, or raises a ModelError."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hocket.contracts.records import Usage
from hocket.llm.base import ModelCall, ModelError, ModelReply
from hocket.llm.catalogue import load_catalogue
from hocket.llm.models import Models

Script = Callable[[ModelCall], "dict[str, Any] | ModelError"]


class ScriptedProvider:
    """Fulfils hocket.llm.base.Provider; `calls` holds what was asked."""

    def __init__(self, name: str, script: Script) -> None:
        self.name = name
        self.script = script
        self.calls: list[ModelCall] = []
        self.closed = False

    async def call(self, call: ModelCall, on_text: Any = None) -> ModelReply:
        self.calls.append(call)
        answer = self.script(call)
        if isinstance(answer, ModelError):
            raise answer
        usage = Usage(provider=self.name, model=call.model, input_tokens=10, output_tokens=5, cost_usd=0.001, millis=7)
        return ModelReply(data=answer, usage=usage, stop_reason="tool_use")

    async def ready(self, model: str) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        self.closed = True


def in_turn(*answers: dict[str, Any] | ModelError) -> Script:
    """A script that gives the answers one after the other, the last one for ever."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def models_of(*providers: ScriptedProvider) -> Models:
    """Models over these providers, preferred in this order, with the shipped catalogue."""
    return Models(providers={p.name: p for p in providers}, entries=load_catalogue())


class Clock:
    """Time that passes only when something sleeps."""

    def __init__(self, at_ms: int = 1_000_000) -> None:
        self.at_ms = at_ms
        self.slept: list[float] = []

    def now_ms(self) -> int:
        return self.at_ms

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at_ms += round(seconds * 1000)


def engines_tried(attempts: Sequence[Any]) -> list[tuple[str, str]]:
    """Engine and outcome of each attempt."""
    return [(a.engine, a.outcome) for a in attempts]
