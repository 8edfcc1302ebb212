"""One call, its only good reply and the models of the catalogue that tests of asking meet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hocket.llm.base import ModelCall

CALL = ModelCall(
    model="", system="s", prompt="p", tool_name="t", tool_description="d", tool_schema={}, max_output_tokens=100
)
GOOD = {"text": "good"}
HAIKU, SONNET, LUNA = "anthropic/claude-haiku-5-5", "anthropic/claude-sonnet-5-5", "openai/gpt-6-luna"


def check(data: dict[str, Any]) -> Sequence[str]:
    return [] if data == GOOD else ["text: is missing"]
