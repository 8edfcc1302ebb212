"""From a command line to a request."""

import json
from pathlib import Path
from typing import Any

import pytest

from hocket.cli.ask import Wish, build_request, media_type, show
from hocket.cli.base import CliError, Output
from hocket.contracts.records import Answer, Receipt
from hocket.runtime.settings import Settings

NOW = 1_700_000_000_000


def test_a_full_wish_becomes_a_request(settings: Settings, tmp_path: Path) -> None:
    mail = tmp_path / "c.eml"
    mail.write_bytes(b"From: a")
    wish = Wish(
        text="read this",
        files=[mail],
        workflow="complaint-triage",
        strategy="fast",
        timeout=1.5,
        constants=["country=DE", "formula=a=b"],
        tenant="acme",
        priority=9,
        session="claim-7",
        on_busy="enqueue",
        max_cost=0.25,
    )
    request = build_request(wish, settings, request_id="r", now_ms=NOW)
    assert (request.request_id, request.tenant, request.workflow) == ("r", "acme", "complaint-triage")
    assert request.constants == {"country": "DE", "formula": "a=b"}
    assert request.policy.model_dump() == {
        "strategy": "fast",
        "max_cost_usd": 0.25,
        "deadline": NOW + 1500,
        "priority": 9,
        "on_busy": "enqueue",
    }
    assert request.session_id == "claim-7"
    (attachment,) = request.attachments
    assert (attachment.name, attachment.media_type, attachment.data) == ("c.eml", "message/rfc822", b"From: a")
    assert attachment.size == 7


def test_without_a_timeout_there_is_no_deadline(settings: Settings) -> None:
    assert build_request(Wish(text="x"), settings, request_id="r", now_ms=NOW).policy.deadline is None


@pytest.mark.parametrize(
    ("wish", "word"),
    [
        (Wish(), "nothing is asked"),
        (Wish(text="  "), "nothing is asked"),
        (Wish(text="x", constants=["=1"]), "key=value"),
        (Wish(text="x", max_cost=0.0), "--max-cost"),
        (Wish(text="x", files=[Path("/no/such")]), "/no/such"),
        (Wish(text="x", on_busy="replace"), "--session"),
        (Wish(text="x", session=""), "1 to 200 bytes"),
        (Wish(text="x", session="é" * 101), "1 to 200 bytes"),
        (Wish(text="x", timeout=1, deadline="1h"), "give one of them"),
        (Wish(text="x", deadline="soon"), "90s, 15m, 2h, 3d"),
        (Wish(text="x", deadline="2020-01-01T00:00"), "has passed"),
    ],
)
def test_what_cannot_be_a_request_is_a_usage_error(settings: Settings, wish: Wish, word: str) -> None:
    with pytest.raises(CliError, match=word) as refused:
        build_request(wish, settings, request_id="r", now_ms=NOW)
    assert refused.value.code == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", NOW + 90_000),
        ("1.5h", NOW + 5_400_000),
        ("3d", NOW + 3 * 86_400_000),
        ("2023-11-14T23:00:00+00:00", 1_700_002_800_000),
        ("2023-11-14T23:00:00Z", 1_700_002_800_000),
    ],
)
def test_a_deadline_is_a_span_or_a_moment(settings: Settings, text: str, expected: int) -> None:
    request = build_request(Wish(text="x", deadline=text), settings, request_id="r", now_ms=NOW)
    assert request.policy.deadline == expected


def test_a_file_that_is_too_large_is_not_even_read(settings: Settings, tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(b"12345")
    small = settings.model_copy(update={"max_attachment_bytes": 4})
    with pytest.raises(CliError, match="limit is 4"):
        build_request(Wish(files=[large]), small, request_id="r", now_ms=NOW)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.png", "image/png"),
        ("a.PDF", "application/pdf"),
        ("a.eml", "message/rfc822"),
        ("a.md", "text/markdown"),
        ("a.txt", "text/plain"),
        ("a", "application/octet-stream"),
    ],
)
def test_media_types(name: str, expected: str) -> None:
    assert media_type(Path(name)) == expected


@pytest.mark.parametrize(
    ("status", "code"), [("completed", 0), ("partial", 3), ("failed", 4), ("expired", 5), ("cancelled", 6)]
)
def test_the_exit_code_tells_how_it_ended(status: Any, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    answer = Answer(request_id="r", status=status, receipt=Receipt(admitted_at=0, answered_at=1))
    assert show(answer, Output.json) == code
    assert json.loads(capsys.readouterr().out)["status"] == status
