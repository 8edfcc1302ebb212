"""`hocket export`: pairs in both providers' forms, personal data masked, nothing that was not accepted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.cli.base import CliError
from hocket.cli.export import accepted, line_of, pair_of
from hocket.cli.masking import load_rules, masked
from hocket.contracts.claims import Blobs
from hocket.contracts.records import Attachment, Output, Result, Task
from hocket.contracts.specialties import load_specialties
from hocket.core.work import BadInput
from hocket.llm.schemas import faults

SUMMARY = load_specialties()["summarisation"]
MAIL = b"From: Jane Doe <jane@shop.example>\nTo: x@y.example\nSubject: s\n\nCall +44 20 7946 0958.\n\nJane Doe"


CALLS = {"summary": "Jane Doe (jane@shop.example) calls."}


def task(**changes: Any) -> Task:
    mail = Attachment(name="m.eml", media_type="message/rfc822", data=MAIL)
    base = {
        "request_id": "r",
        "task_id": "t",
        "specialty": "summarisation",
        "instruction": "x",
        "dispatched_at": 1,
    }
    return Task(**{**base, "attachments": (mail,), **changes})


def result(output: dict[str, Any] | None = None, **changes: Any) -> Result:
    said = Output(specialty="summarisation", data=json.dumps(output or CALLS))
    base = {"request_id": "r", "task_id": "t", "specialty": "summarisation", "status": "completed", "output": said}
    return Result(**{**base, "worker": "w", "engine": "local", "started_at": 1, "ended_at": 2, **changes})


def hidden(text: str) -> str:
    return masked([text], load_rules()).texts[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to a.b+c@d-e.co.uk.", "write to [EMAIL_1]."),
        ("call +49 30 1234567 or 020 7946 0958", "call [PHONE_1] or [PHONE_2]"),
        ("IBAN DE89 3704 0044 0532 0130 00", "IBAN [IBAN_1]"),
        ("IBAN GB82WEST12345698765432", "IBAN [IBAN_1]"),
        ("card 4111 1111 1111 1111", "card [CARD_1]"),
        ("From: Jane Doe <j@d.example>\nDear Jane Doe,", "From: [NAME_1] <[EMAIL_1]>\nDear [NAME_1],"),
        ("Von: Jörg Äpfel\nGruß, Jörg Äpfel", "Von: [NAME_1]\nGruß, [NAME_1]"),
        ("a@b.example and a@b.example, c@d.example", "[EMAIL_1] and [EMAIL_1], [EMAIL_2]"),
    ],
)
def test_personal_data_is_masked(text: str, expected: str) -> None:
    assert hidden(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "order 4111 1111 1111 1112",
        "2026-11-14",
        "EUR 1,849.00",
        "order KH-20418",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert hidden(text) == text


@given(before=st.text(max_size=20), number=st.integers(0, 10**14 - 1))
def test_no_valid_card_number_survives(before: str, number: int) -> None:
    body = f"4{number:014}"
    twice = [int(c) if n % 2 else sum(divmod(2 * int(c), 10)) for n, c in enumerate(reversed(body))]
    card = f"{body}{-sum(twice) % 10}"
    assert card not in hidden(f"{before} {card}.")


@pytest.mark.parametrize("form", ["openai", "anthropic"])
def test_a_pair_is_masked_alike_on_both_sides(form: Any, tmp_path: Path) -> None:
    pair, count = pair_of(SUMMARY, task(), result(), Blobs(tmp_path.as_uri()), load_rules())
    line = line_of(pair, form)
    text = json.dumps(line)
    assert not any(secret in text for secret in ("Jane", "jane@", "7946"))
    assert count == 4
    if form == "openai":
        system, asked, called = line["messages"]
        assert (system["role"], asked["role"], called["role"]) == ("system", "user", "assistant")
        function = called["tool_calls"][0]["function"]
        assert function["name"] == line["tools"][0]["function"]["name"]
        output = json.loads(function["arguments"])
    else:
        asked, said = line["messages"]
        assert line["system"] == SUMMARY.prompt
        assert (asked["role"], said["role"]) == ("user", "assistant")
        output = json.loads(said["content"])
    assert faults(SUMMARY.output_schema, output) == []
    assert output["summary"] == "[NAME_1] ([EMAIL_1]) calls."
    assert "From: [NAME_1] <[EMAIL_1]>" in asked["content"]


def test_only_what_was_accepted_counts() -> None:
    assert accepted(result(), "summarisation", None)
    assert accepted(result(engine="anthropic/claude-x"), "summarisation", "anthropic/*")
    assert not accepted(result(), "summarisation", "anthropic/*")
    assert not accepted(result(status="failed"), "summarisation", None)
    assert not accepted(result(), "research", None)


def test_a_picture_is_no_text_to_learn_from(tmp_path: Path) -> None:
    picture = Attachment(name="a.png", media_type="image/png", data=b"\x89PNG\r\n\x1a\n")
    with pytest.raises(BadInput, match="pictures"):
        pair_of(SUMMARY, task(attachments=(picture,)), result(), Blobs(tmp_path.as_uri()), load_rules())


@pytest.mark.parametrize("text", ["[[rules]]\nas = 'X'\npattern = '('\n", "rules = 3", "[[rules]]\nas = 'x'\n"])
def test_wrong_rules_are_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(CliError, match=r"rules\.toml"):
        load_rules(path)
