"""The wire format, held against the Avro specification's own test vectors and an independent reading of it."""

from __future__ import annotations

import copy
import io
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.contracts import codec as codec_module
from hocket.contracts.codec import Codec, CodecError, Schema, fingerprint_of, known_schemas, record_types, schema
from hocket.contracts.records import Control, Record, Request, Wakeup
from tests.support.avro import canonical, crc64, data
from tests.support.registry import FakeIds

NAMES = sorted(record_types())
WAKEUP = Wakeup(request_id="r-1", due_at=10, at=12)


# From Avro's share/test/data/schema-tests.txt: canonical form and its fingerprint as a signed integer.
VECTORS = [
    ("null", 7195948357588979594),
    ("boolean", -6970731678124411036),
    ("int", 8247732601305521295),
    ("long", -3434872931120570953),
    ("string", -8142146995180207161),
    (["int", "boolean"], 5392556393470105090),
    ({"type": "fixed", "name": "foo", "size": 15}, 1756455273707447556),
]


@pytest.mark.parametrize(("avsc", "signed"), VECTORS)
def test_fingerprints_are_those_of_the_specification(avsc: Any, signed: int) -> None:
    unsigned = signed % 2**64
    assert fingerprint_of(avsc) == unsigned.to_bytes(8, "little")
    assert crc64(canonical(avsc).encode()) == unsigned


def test_the_fingerprint_of_int_as_the_specification_spells_it() -> None:
    assert int.from_bytes(fingerprint_of("int"), "little") == 0x7275D51A3F395C8F  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_a_record_starts_with_the_mark_and_the_fingerprint_of_its_committed_schema(name: str) -> None:
    assert fingerprint_of(schema(name)) == crc64(canonical(schema(name)).encode()).to_bytes(8, "little")
    assert known_schemas()[fingerprint_of(schema(name))] == schema(name)


def test_the_bytes_of_a_record_to_the_letter() -> None:
    body = b"\x06r-1" + bytes([20]) + bytes([24])  # zig-zag: 3 -> 6, 10 -> 20, 12 -> 24
    assert Codec().encode(WAKEUP, "wakeups") == b"\xc3\x01" + fingerprint_of(schema("Wakeup")) + body


RAW_RECORDS = {name: data(schema(name)) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
@given(draw=st.data())
def test_whatever_fits_the_schema_survives_the_trip(name: str, draw: st.DataObject) -> None:
    record = record_types()[name].model_validate(draw.draw(RAW_RECORDS[name]))
    codec = Codec()
    assert codec.decode(codec.encode(record, "t"), type(record)) == record


def test_with_a_registry_values_carry_the_id_of_the_topics_subject() -> None:
    ids = FakeIds({258: schema("Wakeup")})
    written = Codec(ids).encode(WAKEUP, "prod-wakeups")
    assert written[:5] == b"\x00\x00\x00\x01\x02"
    assert ids.asked == ["prod-wakeups-value"]
    assert Codec(ids).decode(written, Wakeup) == WAKEUP


def test_with_a_registry_unframed_single_objects_are_still_read() -> None:
    assert Codec(FakeIds()).decode(Codec().encode(WAKEUP, "wakeups"), Wakeup) == WAKEUP


def test_registry_framing_without_a_registry_names_the_setting() -> None:
    written = Codec(FakeIds()).encode(WAKEUP, "wakeups")
    with pytest.raises(CodecError, match="HOCKET_REGISTRY_URL is not set"):
        Codec().decode(written, Wakeup)


FOREIGN: list[Any] = [
    "string",
    ["null", "string"],
    {"type": "enum", "name": "E", "symbols": ["A"]},
    {"type": "record", "name": "Wakeup", "fields": [{"name": "x", "type": "nowhere.Defined"}]},
    {"type": "record", "name": "Wakeup"},
    {"type": "record", "name": "Order", "fields": []},
]


@pytest.mark.parametrize("foreign", FOREIGN)
def test_what_others_registered_is_a_bad_record_and_not_a_crash(foreign: Any) -> None:
    with pytest.raises(CodecError):
        Codec(FakeIds({7: foreign})).decode(b"\x00\x00\x00\x00\x07\x02", Wakeup)


def test_an_unknown_id_is_a_bad_record() -> None:
    with pytest.raises(CodecError, match="id 9 is not in the registry"):
        Codec(FakeIds()).decode(b"\x00\x00\x00\x00\x09\x02", Wakeup)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "empty value"),
        (b"", "empty value"),
        (b"{}", "must start with C3 01"),
        (b'{"text": "hello"}', "must start with C3 01"),
        (b"\xc3", "must start with C3 01"),
        (b"\xc3\x01\x00\x00", "must start with C3 01"),
        (b"\x00\x00\x00", "must start with C3 01"),
        (b"\xc3\x01" + bytes(8), "fingerprint 0000000000000000 is not one of Hocket's"),
    ],
)
def test_what_is_no_avro_is_refused_with_a_reason(value: bytes | None, said: str) -> None:
    with pytest.raises(CodecError, match=said) as caught:
        Codec().decode(value, Wakeup)
    assert caught.value.kind == "undecodable"


def test_a_record_of_another_type_is_invalid_and_both_types_are_named() -> None:
    with pytest.raises(CodecError, match=r"expected a Request record, found hocket\.Wakeup: wrong topic\?") as caught:
        Codec().decode(Codec().encode(WAKEUP, "t"), Request)
    assert caught.value.kind == "invalid"


@given(st.data())
def test_a_truncated_record_is_undecodable(draw: st.DataObject) -> None:
    whole = Codec().encode(WAKEUP, "t")
    cut = draw.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(CodecError):
        Codec().decode(whole[:cut], Wakeup)


@given(st.binary(min_size=1, max_size=20))
def test_trailing_bytes_are_refused(more: bytes) -> None:
    with pytest.raises(CodecError, match="too many after the Wakeup record"):
        Codec().decode(Codec().encode(WAKEUP, "t") + more, Wakeup)


@given(name=st.sampled_from(NAMES), body=st.binary(max_size=200))
def test_any_bytes_end_in_a_record_or_in_a_codec_error(name: str, body: bytes) -> None:
    expected = record_types()[name]
    try:
        found: object = Codec().decode(b"\xc3\x01" + fingerprint_of(schema(name)) + body, expected)
    except CodecError as e:
        found = e
    assert isinstance(found, (Record, CodecError))


def test_a_field_that_does_not_fit_is_named() -> None:
    with pytest.raises(CodecError, match=r"Wakeup does not fit: due_at: .*greater than or equal to 0.*; at: "):
        codec_module.build(Wakeup, {"request_id": "r", "due_at": -1, "at": None})


def _evolved(change: str) -> Schema:
    found: Schema = copy.deepcopy(schema("Control"))
    if change == "extra":
        found["fields"].insert(1, {"name": "ticket", "type": ["null", "string"], "default": None})
    if change == "missing":
        found["fields"] = [f for f in found["fields"] if f["name"] != "reason"]
    if change == "new symbol":
        next(f for f in found["fields"] if f["name"] == "action")["type"]["symbols"].append("pause")
    return found


def _written(writer: Schema, raw: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(writer), raw)
    return b"\x00\x00\x00\x00\x01" + out.getvalue()


RAW = {"request_id": "r", "action": "approve", "task_id": None, "reason": "fine", "by": "ann", "at": 5, "ticket": "T-1"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("extra", Control(request_id="r", action="approve", reason="fine", by="ann", at=5)),
        ("missing", Control(request_id="r", action="approve", reason="", by="ann", at=5)),
    ],
)
def test_producers_with_another_version_of_the_schema_are_read(change: str, expected: Control) -> None:
    writer = _evolved(change)
    assert Codec(FakeIds({1: writer})).decode(_written(writer, RAW), Control) == expected


def test_a_symbol_from_a_newer_version_reads_as_the_enums_default() -> None:
    writer = _evolved("new symbol")
    read = Codec(FakeIds({1: writer})).decode(_written(writer, RAW | {"action": "pause"}), Control)
    assert read.action == "cancel"


def test_a_version_from_the_history_is_read_by_its_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = _evolved("missing")
    known = {**known_schemas(), fingerprint_of(writer): writer}
    monkeypatch.setattr(codec_module, "known_schemas", lambda: known)
    value = b"\xc3\x01" + fingerprint_of(writer) + _written(writer, RAW)[5:]
    assert Codec().decode(value, Control).by == "ann"
