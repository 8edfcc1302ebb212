"""No test reaches a real provider by accident, not even with the product's own switch off."""

from __future__ import annotations

import asyncio
import socket
import traceback

import pytest

from hocket.llm.base import ModelCall, ModelError
from hocket.llm.models import Models
from tests.support.guard import LeavesTheMachineError

CALL = ModelCall(
    model="", system="s", prompt="p", tool_name="t", tool_description="d", tool_schema={}, max_output_tokens=100
)


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_no_socket_leaves_the_machine(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as s, pytest.raises(LeavesTheMachineError):
        s.connect((host, 443))


async def test_no_loop_leaves_the_machine() -> None:
    with pytest.raises(LeavesTheMachineError):
        await asyncio.open_connection("192.0.2.1", 443)


@pytest.mark.parametrize("provider", ["anthropic", "openai"])
async def test_no_sdk_leaves_the_machine(provider: str) -> None:
    name = provider.upper()
    models = Models.from_env({f"{name}_API_KEY": "sk-xxxxxxxx", f"{name}_BASE_URL": "http://192.0.2.1:9/v1"})
    with pytest.raises((ExceptionGroup, ModelError)) as caught:
        await models.call(models.choices("small")[0], CALL)
    assert "LeavesTheMachineError: a test connects to 192.0.2.1" in "".join(traceback.format_exception(caught.value))
    await models.close()
