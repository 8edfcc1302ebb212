from __future__ import annotations

import pytest

from hocket.contracts.codec import Codec, RegistryError
from hocket.contracts.records import Control, Wakeup
from hocket.kafka import broadcast
from hocket.kafka.broadcast import Broadcast
from hocket.runtime.settings import Settings

CODEC = Codec()


class LateRegistry(Codec):
    """A codec whose registry answers only the second time."""

    asked = 0

    def decode(self, data, expected):  # type: ignore[no-untyped-def]
        self.asked += 1
        if self.asked == 1:
            raise RegistryError("away")
        return super().decode(data, expected)


def reader(heard: list[str], codec: Codec = CODEC) -> Broadcast[Control]:
    def hear(said: Control) -> None:
        heard.append(said.request_id)

    return Broadcast(Settings(), topic="control", record=Control, codec=codec, heard=hear)


def command(request_id: str, action: str = "cancel") -> bytes:
    return CODEC.encode(Control(request_id=request_id, action=action, at=1), "control")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [None, b"", b"{}", CODEC.encode(Wakeup(request_id="r", due_at=1, at=2), "wakeups")])
async def test_what_is_no_command_is_skipped_and_counted(value: bytes | None) -> None:
    cancelled: list[str] = []
    mine = reader(cancelled)
    await mine.take(value)
    await mine.take(command("a"))
    assert (cancelled, mine.skipped) == (["a"], 1)


async def test_a_registry_that_is_away_delays_a_command_and_loses_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "_PAUSE_S", 0.0)
    cancelled: list[str] = []
    await reader(cancelled, LateRegistry()).take(command("a"))
    assert cancelled == ["a"]
