from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from hocket.cli.app import app
from hocket.cli.base import CliError
from hocket.cli.letters import details, span_ms
from hocket.cli.mend import encoded, mend, readable
from hocket.contracts.codec import Codec, schema
from hocket.contracts.records import Control, DeadLetter, Task
from hocket.kafka.letters import Letter, Wanted
from hocket.runtime.settings import Settings

CODEC = Codec()
SETTINGS = Settings()
CONTROL = Control(request_id="r", action="cancel", at=1)


def letter(value: bytes | None, topic: str = "control") -> DeadLetter:
    return DeadLetter(
        topic=topic, partition=0, offset=7, key=b"r", value=value, kind="invalid", reason="x", service="worker/a", at=50
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["replay"],
        ["replay", "1:2", "--all"],
        ["replay", "--edit", "1:1", "1:2"],
        ["ls", "--since", "soon"],
        ["show"],
        ["show", "first"],
        ["replay", "first"],
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    outcome = CliRunner().invoke(app, ["--bootstrap", "127.0.0.1:1", "dlq", *arguments])
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert outcome.stderr


def test_no_kafka_is_exit_code_4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hocket.cli.letters.CONNECT_SECONDS", 0.0)
    outcome = CliRunner().invoke(app, ["--bootstrap", "127.0.0.1:1", "dlq", "ls", "-o", "json"])
    assert outcome.exit_code == 4
    assert '"kafka_unreachable"' in outcome.stdout


def test_spans() -> None:
    assert [span_ms(x) for x in ("90s", "30m", "2h", "7d")] == [90_000, 1_800_000, 7_200_000, 604_800_000]


def test_filters_leave_what_is_wanted() -> None:
    assert letter(b"") in Wanted(topic="control", kind="invalid", service="worker", request_id="r", since_ms=50)
    assert letter(b"") in Wanted(service="worker/a")
    for other in (
        Wanted(topic="t"),
        Wanted(kind="k"),
        Wanted(service="w"),
        Wanted(request_id="q"),
        Wanted(since_ms=51),
    ):
        assert letter(b"") not in other


def test_a_value_is_shown_decoded_or_with_the_reason_why_not() -> None:
    good = Letter(partition=1, offset=2, record=letter(CODEC.encode(CONTROL, "control")))
    assert details(good, SETTINGS, CODEC)["record"] == CONTROL.model_dump(mode="json")
    bad = details(Letter(partition=1, offset=2, record=letter(b"{}")), SETTINGS, CODEC)
    assert (bad["id"], bad["value"]) == ("1:2", "e30=")
    assert "C3 01" in bad["error"]
    assert "value" in details(Letter(partition=1, offset=2, record=letter(None)), SETTINGS, CODEC)


def test_what_the_editor_begins_with() -> None:
    assert readable(CODEC.encode(CONTROL, "control"), Control, CODEC) == CONTROL.model_dump(mode="json")
    assert readable(b'{"request_id": 1}', Control, CODEC) == {"request_id": 1}
    blank = readable(b"\x00rubbish", Task, CODEC)
    assert set(blank) == {f["name"] for f in schema("Task")["fields"]}
    assert (blank["request_id"], blank["priority"], blank["dispatched_at"]) == ("", 5, 0)
    below = CODEC.encode(
        Control.model_construct(request_id="r", action="cancel", task_id=None, reason="", by="", at=-1), "control"
    )
    assert readable(below, Control, CODEC)["at"] == -1, "Avro can read it though it does not fit"


def test_every_field_that_does_not_fit_is_named() -> None:
    with pytest.raises(CliError) as caught:
        encoded('{"request_id": 1, "at": -1, "more": 2}', Control, "control", CODEC)
    assert caught.value.code == 2
    for word in ("request_id: ", "action: Field required", "at: ", "more: Extra inputs"):
        assert word in str(caught.value)
    with pytest.raises(CliError, match="Invalid JSON"):
        encoded("{", Control, "control", CODEC)
    with pytest.raises(CliError, match="shorten it"):
        encoded(CONTROL.model_copy(update={"reason": "x" * 1_000_000}).model_dump_json(), Control, "control", CODEC)


def test_an_editor_that_fails_replays_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for command, word in (("false", "ended with 1"), (str(tmp_path / "none"), "cannot be started")):
        monkeypatch.setenv("VISUAL", command)
        with pytest.raises(CliError, match=word):
            mend(letter(b"{}"), Control, CODEC)


def test_a_record_that_fits_comes_back_as_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", "true")
    value = CODEC.encode(CONTROL, "control")
    assert mend(letter(value), Control, CODEC) == value
