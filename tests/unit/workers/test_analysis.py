"""workers/analysis: its numbers equal those of an independent computation over the values before they were written."""

from __future__ import annotations

import datetime as dt
import io
import math
import random
import xml.etree.ElementTree as ET
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.contracts.specialties import load_specialties
from hocket.core.work import BadInput, Document, NeedsModel, Work
from hocket.llm.schemas import faults
from services.workers.analysis.local import run

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
SCHEMA = load_specialties()["analysis"].output_schema


def csv(body: str, name: str = "a.csv", encoding: str = "utf-8") -> Document:
    return Document(name=name, media_type="text/csv", data=body.encode(encoding))


def analyse(*documents: Document) -> dict[str, Any]:
    found = run(Work(task_id="a", specialty="analysis", instruction="Analyse.", documents=documents))
    assert faults(SCHEMA, found) == []
    return found


def columns(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {c["name"]: c for c in found["tables"][0]["columns"]}


def written(cents: int, style: str) -> str:
    """An amount of cents as offices write it."""
    whole, rest = divmod(abs(cents), 100)
    group, point = {"en": (",", "."), "de": (".", ","), "fr": ("\u202f", ","), "bare": ("", ".")}[style]
    return ("-" if cents < 0 else "") + f"{whole:,}".replace(",", group) + f"{point}{rest:02}"


# The oracle: exact fractions, by the textbook, sharing no code with the engine.
def oracle(cents: list[int]) -> dict[str, float]:
    xs = sorted(Fraction(c, 100) for c in cents)
    n = len(xs)
    mean = sum(xs, Fraction(0)) / n

    def at(p: Fraction) -> Fraction:
        h = p * (n - 1)
        low = h.numerator // h.denominator
        high = min(low + 1, n - 1)
        return xs[low] + (h - low) * (xs[high] - xs[low])

    squares = sum(((x - mean) ** 2 for x in xs), Fraction(0))
    return {
        "total": float(sum(xs, Fraction(0))),
        "mean": float(mean),
        "median": float(at(Fraction(1, 2))),
        "q1": float(at(Fraction(1, 4))),
        "q3": float(at(Fraction(3, 4))),
        "minimum": float(xs[0]),
        "maximum": float(xs[-1]),
        "deviation": math.sqrt(squares / (n - 1)),
    }


def close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-7)


@given(
    cents=st.lists(st.integers(-10_000_000, 10_000_000), min_size=2, max_size=60),
    style=st.sampled_from(["en", "de", "fr", "bare"]),
    delimiter=st.sampled_from([";", "\t"]),
)
def test_every_figure_equals_an_independent_computation(cents: list[int], style: str, delimiter: str) -> None:
    # One amount that can be read in one way only, as any real column has.
    cents = [*cents, 123_456_789]
    rows = [f"item {n}{delimiter}{written(c, style)}" for n, c in enumerate(cents)]
    found = analyse(csv("\n".join([f"Name{delimiter}Amount", *rows])))
    figures = columns(found)["Amount"]
    assert figures["count"] == len(cents)
    wrong = {k: (figures[k], v) for k, v in oracle(cents).items() if not close(figures[k], v)}
    assert wrong == {}


@pytest.mark.parametrize("style", ["en", "de", "fr"])
@pytest.mark.parametrize("made", ["csv", "xlsx"])
def test_a_trend_and_sums_by_category_equal_an_independent_computation(style: str, made: str) -> None:
    chance = random.Random(7)
    rows = []
    for n in range(200):
        day = dt.date(2025, 1, 3) + dt.timedelta(days=2 * n)
        rows.append(
            (day, chance.choice(["North", "South", "East"]), 50_000 + 700 * n + chance.randint(-20_000, 20_000))
        )
    months: dict[int, Fraction] = {}
    regions: dict[str, Fraction] = {}
    for day, region, cents in rows:
        months[day.year * 12 + day.month] = months.get(day.year * 12 + day.month, Fraction(0)) + Fraction(cents, 100)
        regions[region] = regions.get(region, Fraction(0)) + Fraction(cents, 100)
    xs = [Fraction(m - min(months)) for m in sorted(months)]
    ys = [months[m] for m in sorted(months)]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    slope = sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / sum((a - x) ** 2 for a in xs)

    table = analyse(_table(rows, style, made))["tables"][0]
    (trend,) = table["trends"]
    assert (trend["column"], trend["by"], trend["period"], trend["direction"]) == ("Revenue", "Date", "month", "rising")
    assert trend["periods"] == len(months)
    assert close(trend["slope"], float(slope))
    assert close(trend["first"], float(ys[0])) and close(trend["last"], float(ys[-1]))
    assert close(trend["change_percent"], float((ys[-1] - ys[0]) / ys[0] * 100))
    assert {g["value"] for g in table["groups"]} == set(regions)
    assert all(close(g["total"], float(regions[g["value"]])) for g in table["groups"])
    assert close(sum(g["share_percent"] for g in table["groups"]), 100.0)


def _table(rows: list[tuple[dt.date, str, int]], style: str, made: str) -> Document:
    if made == "xlsx":
        import openpyxl

        book = openpyxl.Workbook()
        sheet = book.active
        sheet.append(["Sales of the year"])
        sheet.append(["Date", "Region", "Revenue"])
        for day, region, cents in rows:
            sheet.append([day, region, cents / 100])
        out = io.BytesIO()
        book.save(out)
        return Document(name="s.xlsx", media_type=XLSX, data=out.getvalue())
    form = {"en": "%m/%d/%Y", "de": "%d.%m.%Y", "fr": "%d/%m/%Y"}[style]
    delimiter = "," if style == "en" else ";"
    lines = [delimiter.join([f"{d:{form}}", r, f'"{written(c, style)}"']) for d, r, c in rows]
    return csv("\n".join([delimiter.join(["Date", "Region", "Revenue"]), *lines]))


def test_outliers_stand_beyond_tukeys_fences() -> None:
    values = [10, 11, 12, 13, 14, 15, 16, 17, 18, 500]
    found = analyse(csv("x,Amount\n" + "\n".join(f"a{v},{v}" for v in values)))
    (outlier,) = found["tables"][0]["outliers"]
    # By hand: quartiles at 2.25 and 6.75 steps are 12.25 and 16.75; fences 4.5 * 1.5 beyond.
    assert outlier == {"column": "Amount", "row": 10, "value": 500.0, "low": 5.5, "high": 23.5}


@pytest.mark.parametrize(
    ("body", "locale", "total"),
    [
        ('n,v\na,"1,234.50"\nb,2', "en", 1236.5),
        ("n;v\na;1.234,50\nb;2", "de", 1236.5),
        ("n;v\na;1 234,50\nb;2", "fr", 1236.5),
        ("n;v\na;1\u00a0234,50 €\nb;2 €", "fr", 1236.5),
        ("n\tv\na\t7\nb\t2", "plain", 9.0),
        ("n,v\na,(1.50)\nb,2.25-", "en", -3.75),
        ("n|v\na|€1.50\nb|€2.25", "en", 3.75),
        ("sep=;\nn;v\na;1,5\nb;2,5", "de", 4.0),
    ],
)
def test_numbers_are_read_as_they_are_written(body: str, locale: str, total: float) -> None:
    found = analyse(csv(body))
    assert found["tables"][0]["locale"] == locale
    assert columns(found)["v"]["total"] == total


def test_what_can_be_read_in_two_ways_is_said() -> None:
    found = analyse(csv('n,v\na,"1,234"\nb,"5,678"'))
    assert columns(found)["v"]["total"] == 6912.0
    assert "can be read in two ways (1,234)" in found["notes"][0]
    found = analyse(csv("day,v\n03/04/2026,1\n05/06/2026,2"))
    assert columns(found)["day"]["first"] == "2026-03-04"
    assert "month/day" in found["notes"][0]
    assert "month/day" in found["text"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings_of_office_programs(encoding: str) -> None:
    assert "Erlös" in columns(analyse(csv("Straße;Erlös\nÄ;1,5\nÖ;2", encoding=encoding)))


def test_missing_values_and_names_are_not_added_up() -> None:
    body = "Order no;Region;Umsatz;Leer\n1001;Süd;5,50;\n1002;k.A.;n/a;-\n1003;Nord;4,50;\nGesamt;;10,00;"
    found = analyse(csv(body))
    by_name = columns(found)
    assert by_name["Order no"]["kind"] == "text"
    assert by_name["Leer"]["kind"] == "empty"
    assert (by_name["Umsatz"]["total"], by_name["Umsatz"]["missing"], by_name["Region"]["missing"]) == (10.0, 1, 1)
    assert found["tables"][0]["rows"] == 3
    assert "1 total row(s) left out" in found["text"]


def test_several_currencies_are_not_added_up() -> None:
    found = analyse(csv("n,v\na,€1.50\nb,$2.25"))
    assert "total" not in columns(found)["v"]
    assert "mixes EUR, USD" in found["text"]


def test_the_chart_is_a_picture_that_no_cell_can_break() -> None:
    body = "Region,Revenue\n" + "\n".join(f'"</svg><script>{n % 3}",{n}.5' for n in range(12))
    chart = analyse(csv(body))["chart"]
    root = ET.fromstring(chart)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(root.findall("{http://www.w3.org/2000/svg}rect")) == 1 + 3
    assert root.findall(".//{http://www.w3.org/2000/svg}script") == []


@given(body=st.text(max_size=300), name=st.sampled_from(["a.csv", "a.tsv"]))
def test_whatever_is_sent_is_analysed_or_refused(body: str, name: str) -> None:
    document = csv(body if body.isprintable() else repr(body), name=name, encoding="utf-8-sig")
    try:
        found = analyse(document)
    except (BadInput, NeedsModel):
        return
    assert found["chart"] is None or ET.fromstring(found["chart"]).tag.endswith("svg")


@pytest.mark.parametrize(
    ("document", "error", "said"),
    [
        (Document(name="a.txt", media_type="text/plain", data=b"no table"), NeedsModel, "needs a model"),
        (Document(name="a.xlsx", media_type=XLSX, data=b"PK broken"), BadInput, "not a readable workbook"),
        (Document(name="a.xls", media_type="application/vnd.ms-excel", data=b"\xd0\xcf"), BadInput, "save it as .xlsx"),
        (csv("a,b"), NeedsModel, "with rows"),
    ],
)
def test_what_is_no_table_is_said(document: Document, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        analyse(document)


def test_the_example_finds_the_typing_error() -> None:
    document = Document(name="sales.csv", media_type="text/csv", data=Path("examples/sales.csv").read_bytes())
    found = analyse(document)
    assert found["tables"][0]["outliers"][0] | {"low": 0, "high": 0} == {
        "column": "Umsatz", "row": 77, "value": 58240.0, "low": 0, "high": 0,
    }  # fmt: skip
    assert "Outlier: Umsatz in row 77 is 58,240.00 EUR" in found["text"]


@pytest.mark.parametrize(
    ("header", "text", "said"),
    [
        ("Date,Amount", "", False),
        ("Date,Amount", "Wie war der Umsatz und was ist nicht in Ordnung?", True),
        ("Rechnung,Datum,Betrag", "", True),
        ("Facture,Montant,Échéance", "", True),
        ("Name,Value", "xyzzy", False),
    ],
)
def test_findings_say_that_they_are_worded_in_english_only(header: str, text: str, said: bool) -> None:
    rows = "\n".join(",".join([str(n), *["7"] * header.count(",")]) for n in range(3))
    document = csv(f"{header}\n{rows}\n")
    found = run(Work(task_id="a", specialty="analysis", instruction="-", text=text, documents=(document,)))
    assert found["language"] == "en"
    assert ("The findings are worded in English only." in found["notes"]) == said
    assert ("worded in English only" in found["text"]) == said


@pytest.mark.parametrize("header", ["Name;Betrag", "Betrag;Steuer"])
@pytest.mark.parametrize("rows", [3, 19, 60])
def test_a_decimal_comma_is_no_delimiter_however_many_rows_have_one(header: str, rows: int) -> None:
    first = "Posten" if header.startswith("Name") else "1,50"
    body = "\n".join([header, *(f"{first};2,25" for _ in range(rows))])
    found = columns(analyse(csv(body)))
    assert list(found) == header.split(";")
    assert found[header.split(";")[1]]["total"] == 2.25 * rows


def test_commas_between_digits_divide_when_nothing_else_does() -> None:
    assert [c["count"] for c in columns(analyse(csv("1,2,3\n4,5,6\n"))).values()] == [2, 2, 2]
