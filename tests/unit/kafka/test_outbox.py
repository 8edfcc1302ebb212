from __future__ import annotations

import pytest

from hocket.contracts import headers
from hocket.contracts.codec import Codec, CodecError, RegistryError, schema
from hocket.contracts.records import DeadLetter, Wakeup
from hocket.kafka import outbox as module
from hocket.kafka.log import Raw, TooLarge
from hocket.kafka.outbox import Outbox, Outgoing, dead_letter
from hocket.testing.log import FakeLog

TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
WAKEUP = Outgoing(topic="t", key="r", record=Wakeup(request_id="r", due_at=1, at=2), event_id="r/1")


class Registry:
    """Out of reach for the first calls."""

    def __init__(self, failures: int) -> None:
        self.left = failures
        self.calls = 0

    def id_of(self, subject: str, avsc: object) -> int:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise RegistryError("down")
        return 7

    def schema_of(self, schema_id: int) -> dict[str, object]:
        self.calls += 1
        if schema_id != 7:
            raise CodecError("undecodable", "unknown id")
        return schema("Wakeup")


def make(codec: Codec, log: FakeLog | None = None) -> Outbox:
    producer = (log or FakeLog()).producer()
    return Outbox(producer=producer, codec=codec, source="worker/w", clock=lambda: 3, on_drop=lambda: None)


async def test_records_carry_cloudevents_and_trace():
    log = FakeLog(partitions=1)
    outbox = make(Codec(), log)
    await outbox.send([await outbox.encode(WAKEUP, TRACE)])
    [raw] = log.records("t")
    found = {name: headers.get(raw.headers, name) for name, _ in raw.headers}
    assert found["ce_id"] == "r/1"
    assert (found["ce_type"], found["ce_source"], found["ce_subject"]) == ("hocket.Wakeup", "/hocket/worker/w", "r")
    assert found["traceparent"] == TRACE
    assert Codec().decode(raw.value, Wakeup) == WAKEUP.record


async def test_above_the_limit_nothing_is_encoded():
    with pytest.raises(TooLarge, match="Wakeup has"):
        await make(Codec()).encode(WAKEUP, TRACE, limit=3)


async def test_a_registry_that_is_down_is_waited_for(monkeypatch):
    monkeypatch.setattr(module, "_REGISTRY_PAUSE_S", 0.01)
    registry = Registry(failures=2)
    outbox = make(Codec(registry))
    first = await outbox.encode(WAKEUP, TRACE)
    assert first.value[:5] == b"\x00\x00\x00\x00\x07"
    assert registry.calls == 3
    assert await outbox.decode(first.value, Wakeup) == WAKEUP.record


async def test_an_unknown_schema_is_a_codec_error_not_an_outage():
    with pytest.raises(CodecError, match="unknown id"):
        await make(Codec(Registry(failures=0))).decode(b"\x00\x00\x00\x00\x09x", Wakeup)


def test_a_dead_letter_keeps_the_last_of_equal_headers_and_a_key_that_is_none():
    raw = Raw(topic="t", partition=1, offset=2, key=None, value=None, headers=(("a", b"1"), ("a", b"2")), timestamp=-1)
    letter = dead_letter(raw, kind="invalid", reason="why", service="s", at_ms=9)
    expected = DeadLetter(
        topic="t",
        partition=1,
        offset=2,
        headers={"a": b"2"},
        kind="invalid",
        reason="why",
        service="s",
        timestamp=0,
        at=9,
    )
    assert letter == expected
