"""workers/translation: conversions are exact, ambiguity is refused, and no language is pretended."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.core.work import BadInput, Document, NeedsModel, Work
from services.workers.translation.local import run
from services.workers.translation.locales import LOCALES, rewritten


def convert(
    text: str = "", instruction: str = "", documents: tuple[Document, ...] = (), **options: Any
) -> dict[str, Any]:
    return run(
        Work(
            task_id="t",
            specialty="translation",
            instruction=instruction,
            text=text,
            documents=documents,
            options=options,
        )
    )


CELLS = st.text(alphabet="aZé 0,.;|\"'<&*_€", max_size=8).map(lambda s: " ".join(s.split()))


@given(rows=st.lists(st.lists(CELLS, min_size=2, max_size=2), min_size=1, max_size=5))
def test_a_table_survives_every_way_round(rows: list[list[str]]) -> None:
    rows = [["one", "two"], *(r for r in rows if any(r))]
    objects = [dict(zip(rows[0], r, strict=True)) for r in rows[1:]]
    if not objects:
        return
    start = json.dumps(objects)
    html = convert(start, to="html")["text"]
    assert json.loads(convert(html, to="json")["text"]) == objects
    as_csv = convert(start, to="csv")["text"]
    assert list(csv.reader(io.StringIO(as_csv))) == rows
    document = Document(name="a.csv", media_type="text/csv", data=as_csv.encode())
    if "|" not in as_csv and ";" not in as_csv:
        assert json.loads(convert(documents=(document,), to="json")["text"]) == objects


@pytest.mark.parametrize(
    ("text", "to", "expected"),
    [
        ("# A\n\n- *b*\n", "html", "<h1>A</h1>\n<ul>\n<li><em>b</em></li>\n</ul>\n"),
        ("**a** <script>x</script>", "html", "<p><strong>a</strong> &lt;script&gt;x&lt;/script&gt;</p>\n"),
        ("<h2>A</h2><p>b <strong>c</strong></p>", "markdown", "## A\n\nb **c**\n"),
        ("<ol><li>one</li><li>two</li></ol>", "markdown", "1. one\n2. two\n"),
        ("<p>2 * 3 * 4</p>", "markdown", "2 \\* 3 \\* 4\n"),
        ("<p>a</p><script>alert(1)</script>", "text", "a\n"),
        ("a < b\n\nc", "html", "<p>a &lt; b</p>\n<p>c</p>\n"),
        ('[{"a": 1, "b": null}]', "markdown", "| a | b |\n| --- | --- |\n| 1 |  |\n"),
        ("| a | b |\n|---|---|\n| 1 | 2 |\n", "csv", "a,b\n1,2\n"),
    ],
)
def test_conversions(text: str, to: str, expected: str) -> None:
    assert convert(text, to=to)["text"] == expected


@pytest.mark.parametrize(
    ("text", "source", "target", "expected"),
    [
        ("€1,234.50 on 2026-03-05", "en-GB", "de-DE", "1.234,50\u00a0€ on 05.03.2026"),
        ("1.234,50 € am 5. März 2026", "de-DE", "en-US", "€1,234.50 am March 5, 2026"),
        ("1.234,50 € am 05.03.2026", "de-DE", "fr-FR", "1\u202f234,50\u00a0€ am 05/03/2026"),
        ("1 234,50 € le 5 mars 2026", "fr-FR", "en-GB", "€1,234.50 le 5 March 2026"),
        ("on 03/04/2026", "en-US", "de-DE", "on 04.03.2026"),
        ("on 03/04/2026", "en-GB", "de-DE", "on 03.04.2026"),
        ("-€5.25 and EUR 3.10", "en-GB", "de-DE", "-5,25\u00a0€ and 3,10\u00a0EUR"),
    ],
)
def test_values_are_written_as_the_target_writes_them(text: str, source: str, target: str, expected: str) -> None:
    assert rewritten(text, LOCALES[source], LOCALES[target])[0] == expected


@pytest.mark.parametrize(
    "kept",
    [
        "DE89 3704 0044 0532 0130 00", "v1.2.3", "192.168.1.10", "+49 30 1234567", "in 2026", "order 20261114",
        "12 items", "2026-13-45", "http://x.y/1,234.5",
    ],
)  # fmt: skip
def test_what_is_no_value_stays(kept: str) -> None:
    assert rewritten(kept, LOCALES["en-GB"], LOCALES["de-DE"]) == (kept, [])


@given(
    number=st.integers(0, 10**9),
    cents=st.integers(0, 99),
    way=st.permutations(list(LOCALES)),
)
def test_an_amount_keeps_its_value_on_any_way_round(number: int, cents: int, way: list[str]) -> None:
    start = f"{number:,}.{cents:02}"
    text = start
    source = "en-GB"
    for target in [*way, "en-GB"]:
        text, _ = rewritten(text, LOCALES[source], LOCALES[target])
        source = target
    assert text == start


def test_a_text_that_is_a_table_may_be_called_one() -> None:
    found = convert("name;price\na;1,50\n", to="json", **{"from": "csv"})
    assert (json.loads(found["text"]), found["source_format"]) == ([{"name": "a", "price": "1,50"}], "csv")


def test_changes_are_listed() -> None:
    found = convert("Bitte zahlen Sie 1.234,50 € bis zum 14.11.2026 auf das Konto.", locale="en-GB")
    assert [(c["kind"], c["before"]) for c in found["changes"]] == [("currency", "1.234,50 €"), ("date", "14.11.2026")]


def test_the_instruction_may_name_the_format_and_not_the_language() -> None:
    assert convert("# A", "Convert this to HTML")["text"] == "<h1>A</h1>\n"
    with pytest.raises(NeedsModel, match="Translating from one language into another needs a model"):
        convert("# A", "Translate this to HTML in German")
    with pytest.raises(NeedsModel):
        convert("Hello", language="de")


@pytest.mark.parametrize(
    ("given_text", "options", "said"),
    [
        ('{"a": {"b": 1}}', {"to": "csv"}, "flat objects"),
        ("just text", {"to": "csv"}, "no table"),
        ("# no table", {"to": "json"}, "exactly one table"),
        ("x", {"to": "pdf"}, "must be one of text"),
        ("x", {"to": "csv", "from": "xls"}, "from must be one of text"),
        ("please pay the total of the invoice on 03/04/2026", {"locale": "de"}, "two days"),
        ("12,5", {"locale": "de"}, "from_locale"),
        ("the total", {"locale": "xx"}, "locale must be one of"),
        (" ", {"to": "html"}, "nothing to convert"),
    ],
)
def test_what_cannot_be_converted_is_said(given_text: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        convert(given_text, **options)
